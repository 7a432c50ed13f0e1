import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse, stringify } from 'yaml'
import { comeUp, ok, type Processes, type Started } from './processes.ts'

const ROOT = join(import.meta.dirname, '../..')

export interface Service {
  /** Where it listens, as `host:port`. */
  readonly grpc: string
  readonly grpcPort: number
  readonly adminUrl: string
  readonly process: Started
  close(): Promise<void>
}

/** The parts of the configuration that a start changes; anything else may be put in by `edit`. */
export interface ServiceConfig {
  listen: { grpc: string; admin: string; [key: string]: unknown }
  issuers: { issuer: string; [key: string]: unknown }[]
  policy: { bundle: string; canaries?: string; [key: string]: unknown }
  decision_log: unknown
  [key: string]: unknown
}

/** Writes `deploy/demo/agent-authz.yaml` to `<folder>/agent-authz.yaml`, its paths made absolute, then edited. */
export function writeConfig(folder: string, edit: (config: ServiceConfig) => void): string {
  const config: ServiceConfig = parse(readFileSync(join(import.meta.dirname, 'agent-authz.yaml'), 'utf8'))
  const { bundle, canaries = '' } = config.policy
  Object.assign(config.policy, { bundle: absolute(bundle), canaries: absolute(canaries) })
  config.decision_log = { file: resolve(folder, 'decisions.jsonl') }
  edit(config)
  const file = join(folder, 'agent-authz.yaml')
  writeFileSync(file, stringify(config))
  return file
}

function absolute(path: string): string {
  return resolve(import.meta.dirname, path)
}

/** agent-authz as an operator starts it, up when `page` answers 200. */
export async function startService(
  processes: Processes,
  config: string,
  page: '/readyz' | '/healthz' = '/readyz',
): Promise<Service> {
  const started = processes.start('agent-authz', process.execPath, [
    join(ROOT, 'src/main.ts'),
    'serve',
    '--config',
    config,
  ])
  const listening = await comeUp('agent-authz', started, async () => {
    const line = /^\{.*"msg":"listening"\}$/m.exec(started.output())
    const { grpc, admin } = line ? (JSON.parse(line[0]) as { grpc: string; admin: string }) : {}
    if (grpc === undefined || (await ok(`http://${admin}${page}`)) === undefined) return undefined
    return { grpc, admin }
  })
  return {
    grpc: listening.grpc,
    grpcPort: Number(listening.grpc.split(':').at(-1)),
    adminUrl: `http://${listening.admin}`,
    process: started,
    close: started.stop,
  }
}
