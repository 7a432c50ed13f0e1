import { Server, type ServerCredentials, setLogger } from '@grpc/grpc-js'
import type { Check, Clock, Log } from '../types.ts'
import { cannotListen, freeSocket, isLocal } from './address.ts'
import { readCredentials, type TlsSettings } from './credentials.ts'
import { CONNECTIONS_MS, drain } from './drain.ts'
import { definition, extAuthz } from './ext-authz.ts'
import { addHealth } from './health.ts'

/** Well above our own limit on a message, so that the refusal of a large one is ours. */
const MOST_RECEIVED = 64 * 1024 * 1024
/** Envoy keeps a connection as long as it may: this spreads them anew over instances that came later. */
const CONNECTION_AGE_MS = 30 * 60_000

/**
 * Envoy resets a stream for every client that leaves. Node takes over 1,000 at once, and over 33 a second
 * after that, for an attack and drops the connection with everyone's checks on it. The peer is Envoy, which
 * has limits of its own for its clients.
 */
const RESETS = { streamResetBurst: 1_000_000, streamResetRate: 100_000 }

export interface GrpcSettings {
  readonly grpc: string
  readonly check_timeout: number
  readonly tls?: TlsSettings | undefined
}

export interface GrpcServer {
  /** As given, with the port that was really taken. */
  readonly address: string
  serving(is: boolean): void
  /** Health first, then connections, then stop; whatever still runs after 10 s is cut. */
  drain(): Promise<void>
}

/**
 * `envoy.service.auth.v3.Authorization` and `grpc.health.v1` on one address. Unusable when it cannot be
 * bound.
 */
export async function createGrpcServer(
  settings: GrpcSettings,
  deps: { check: Check; clock: Clock; log: Log },
): Promise<GrpcServer> {
  // Its errors reach us as values; printed beside our log they would be a second message, and no JSON.
  setLogger({ error() {}, info: console.error, debug: console.error })
  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': MOST_RECEIVED,
    'grpc.max_connection_age_ms': CONNECTION_AGE_MS,
    'grpc.max_connection_age_grace_ms': CONNECTIONS_MS,
    'grpc.keepalive_time_ms': 30_000,
  })
  // grpc-js has no option for it, and hands these on to node:http2.
  Object.assign((server as unknown as { commonServerOptions: object }).commonServerOptions, RESETS)
  const { service, ended } = extAuthz({ ...deps, checkTimeout: settings.check_timeout })
  server.addService(definition, service)
  const health = addHealth(server)
  const credentials = readCredentials(settings.tls)
  await freeSocket(settings.grpc)
  const address = await bind(server, settings.grpc, credentials)
  if (!settings.tls && !isLocal(address))
    deps.log.warn({ grpc: address }, 'reachable from elsewhere without TLS: who stands in between decides')

  let leaving = false
  return {
    address,
    serving: is => health.serving(is && !leaving),
    drain: () =>
      drain(server, {
        address,
        leaving() {
          leaving = true
          health.serving(false)
        },
        ended,
      }),
  }
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) {
        reject(cannotListen('listen.grpc', address, /\bE[A-Z]{3,}\b/.exec(error.message)?.[0]))
      } else resolve(address.startsWith('unix:') ? address : address.replace(/:\d+$/, `:${port}`))
    })
  })
}
