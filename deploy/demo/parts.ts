import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { type Envoy, startEnvoy } from './envoy.ts'
import { type Issuer, startIssuer } from './issuer.ts'
import { createProcesses, type Processes } from './processes.ts'
import { type Service, type ServiceConfig, startService, writeConfig } from './service.ts'
import { listen, startUpstream, type Upstream } from './upstream.ts'

/** Where each part listens, on loopback; 0: any free port. */
export interface Ports {
  readonly issuer: number
  readonly upstream: number
  readonly grpc: number
  readonly admin: number
  readonly envoy: number
  readonly envoyAdmin: number
}

export const PORTS: Ports = {
  issuer: 9400,
  upstream: 9401,
  grpc: 9191,
  admin: 9192,
  envoy: 10000,
  envoyAdmin: 9901,
}

export const FREE_PORTS: Ports = { issuer: 0, upstream: 0, grpc: 0, admin: 0, envoy: 0, envoyAdmin: 0 }

export interface Parts {
  readonly issuer: Issuer
  readonly upstream: Upstream
  readonly service: Service
  readonly envoy: Envoy
  readonly processes: Processes
  /** The file that agent-authz reads its configuration from. */
  readonly config: string
  readonly decisionLog: string
  stop(): Promise<void>
}

export interface Edits {
  service?(config: ServiceConfig): void
  envoy?(config: string): string
}

/** Everything up, in the order in which each needs the one before. What has started is stopped when one fails. */
export async function startParts(folder: string, ports: Ports, edits: Edits = {}): Promise<Parts> {
  mkdirSync(folder, { recursive: true })
  const decisionLog = join(folder, 'decisions.jsonl')
  rmSync(decisionLog, { force: true })
  const processes = createProcesses(folder)
  const closers: (() => Promise<void>)[] = [() => processes.stop()]
  const stop = async () => {
    for (const close of closers) await close()
  }
  try {
    const issuer = await startIssuer(ports.issuer)
    closers.push(issuer.close)
    const upstream = await startUpstream(ports.upstream)
    closers.push(upstream.close)
    const config = writeConfig(folder, settings => {
      settings.listen.grpc = `127.0.0.1:${ports.grpc}`
      settings.listen.admin = `127.0.0.1:${ports.admin}`
      for (const trusted of settings.issuers) trusted.issuer = issuer.url
      edits.service?.(settings)
    })
    const service = await startService(processes, config)
    const envoy = await startEnvoy(
      processes,
      folder,
      {
        listener: ports.envoy,
        admin: ports.envoyAdmin,
        authz: service.grpcPort,
        upstream: upstream.port,
      },
      edits.envoy,
    )
    return { issuer, upstream, service, envoy, processes, config, decisionLog, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/**
 * Which of these ports are taken. Asked before anything starts: Envoy shares its listening port with another Envoy
 * without a word, and each would get a part of the requests.
 */
export async function takenPorts(ports: Ports): Promise<string[]> {
  const taken: string[] = []
  for (const [part, port] of Object.entries(ports)) {
    const free = await listen(createServer(), port).catch(() => undefined)
    if (free) await free.close()
    else taken.push(`${port} (${part})`)
  }
  return taken
}

/** What must be there before a start, each with what to do. */
export function missing(): string[] {
  const root = join(import.meta.dirname, '../..')
  const needed: [path: string, command: string][] = [
    [process.env.ENVOY ?? join(root, '.tools/bin/envoy'), 'make setup'],
    [join(root, 'policies/build/bundle.tar.gz'), 'make policy'],
  ]
  return needed
    .filter(([path]) => !existsSync(path))
    .map(([path, command]) => `${path} is missing: run ${command}`)
}
