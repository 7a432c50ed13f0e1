import { readFileSync, statSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import type { Check, Clock, Log } from '../types.ts'
import { Unusable } from '../unusable.ts'
import { AUTHORIZATION, definition, extAuthz } from './ext-authz.ts'

/** Well above our own limit on a message, so that the refusal of a large one is ours. */
const MOST_RECEIVED = 64 * 1024 * 1024
/** Envoy asks for our health; it needs a while to hear that we are leaving, and calls it has begun are answered. */
const LEAVING_MS = 2_000
const CONNECTIONS_MS = 8_000
const CONNECTION_AGE_MS = 30 * 60_000

export interface GrpcSettings {
  readonly grpc: string
  readonly check_timeout: number
  readonly tls?:
    | { readonly cert: string; readonly key: string; readonly client_ca?: string | undefined }
    | undefined
}

export interface GrpcServer {
  readonly address: string
  serving(is: boolean): void
  /** Health first, then connections, then stop; whatever still runs after 10 s is cut. */
  drain(): Promise<void>
}

/** `envoy.service.auth.v3.Authorization` and `grpc.health.v1` on one address. Unusable when it cannot be bound. */
export async function createGrpcServer(
  settings: GrpcSettings,
  deps: { check: Check; clock: Clock; log: Log },
): Promise<GrpcServer> {
  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': MOST_RECEIVED,
    'grpc.max_connection_age_ms': CONNECTION_AGE_MS,
    'grpc.max_connection_age_grace_ms': CONNECTIONS_MS,
    'grpc.keepalive_time_ms': 30_000,
  })
  server.addService(definition, extAuthz({ ...deps, checkTimeout: settings.check_timeout }))
  const health = new HealthImplementation({ '': 'NOT_SERVING', [AUTHORIZATION]: 'NOT_SERVING' })
  health.addToServer(server)
  const credentials = readCredentials(settings.tls)
  await freeSocket(settings.grpc)
  const address = await bind(server, settings.grpc, credentials)

  let leaving = false
  const status = (is: boolean) => {
    health.setStatus('', is ? 'SERVING' : 'NOT_SERVING')
    health.setStatus(AUTHORIZATION, is ? 'SERVING' : 'NOT_SERVING')
  }
  return {
    address,
    serving: is => status(is && !leaving),
    async drain() {
      leaving = true
      status(false)
      await pause(LEAVING_MS)
      const stopped = new Promise<void>(resolve => server.tryShutdown(() => resolve()))
      await Promise.race([stopped, pause(CONNECTIONS_MS, undefined, { ref: false })])
      server.forceShutdown()
    },
  }
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error)
        reject(new Unusable(`listen.grpc: cannot listen on ${address}; is another process using it?`))
      else resolve(address.startsWith('unix:') ? address : address.replace(/:\d+$/, `:${port}`))
    })
  })
}

function readCredentials(tls: GrpcSettings['tls']): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure()
  const [cert, key] = [readPem('cert', tls.cert), readPem('key', tls.key)]
  const clientCa = tls.client_ca === undefined ? null : readPem('client_ca', tls.client_ca)
  try {
    const credentials = ServerCredentials.createSsl(
      clientCa,
      [{ private_key: key, cert_chain: cert }],
      clientCa !== null,
    )
    // Made here once, so that a key that does not fit ends the start and not the first handshake.
    credentials._getSecureContextOptions?.()
    return credentials
  } catch {
    throw new Unusable(`listen.tls: ${tls.cert} and ${tls.key} are not a certificate and its key`)
  }
}

function readPem(name: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new Unusable(`listen.tls.${name}: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** A socket that a killed process left behind is removed; one that answers, or anything else of that name, is not ours. */
async function freeSocket(address: string): Promise<void> {
  if (!address.startsWith('unix:')) return
  const path = address.slice('unix:'.length)
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found) return
  if (!found.isSocket()) throw new Unusable(`listen.grpc: ${path} exists and is not a socket`)
  const answered = await new Promise<boolean>(resolve => {
    const probe = connect(path, () => {
      probe.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })
  if (answered) throw new Unusable(`listen.grpc: another process is listening on ${path}`)
  unlinkSync(path)
}
