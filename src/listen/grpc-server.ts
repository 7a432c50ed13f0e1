import type { Http2Server } from 'node:http2'
import { Server, ServerCredentials, setLogger } from '@grpc/grpc-js'
import type { Check, Clock, Log } from '../types.ts'
import { cannotListen, freeSocket, isLocal } from './address.ts'
import { limitConnections, limitTlsConnections } from './connection-limit.ts'
import { type CertificateEvents, reloadedCredentials } from './credentials.ts'
import { CONNECTIONS_MS, drain } from './drain.ts'
import { CHECK_PATH, definition, extAuthz } from './ext-authz.ts'
import { addHealth } from './health.ts'
import { heldAnswers } from './held-answer.ts'
import type { TlsSettings } from './key-pair.ts'

/** Well above our own limit on a message, so that the refusal of a large one is ours. */
const MOST_RECEIVED = 64 * 1024 * 1024
/** After a keepalive ping. */
const LONGEST_SILENCE_MS = 20_000
/** Of a connection that begins with TLS and goes no further. */
const HANDSHAKE_MS = 10_000

/**
 * Envoy resets a stream for every client that leaves. Node takes over 1,000 at once, and over 33 a second
 * after that, for an attack and drops the connection with everyone's checks on it. The peer is Envoy, which
 * has limits of its own for its clients.
 */
const RESETS = { streamResetBurst: 1_000_000, streamResetRate: 100_000 }

export interface GrpcEvents extends CertificateEvents {
  /** There were as many connections, or as many in the middle of TLS, as there may be. */
  connectionRefused(): void
}

export interface GrpcSettings {
  readonly grpc: string
  readonly check_timeout: number
  readonly max_connections: number
  readonly max_concurrent_streams: number
  readonly max_connection_age: number
  readonly keepalive: number
  readonly reflection: boolean
  readonly tls?: TlsSettings | undefined
}

export interface GrpcServer {
  /** As given, with the port that was really taken. */
  readonly address: string
  serving(is: boolean): void
  /** Health first, then connections, then stop; whatever still runs after 10 s is cut. */
  drain(): Promise<void>
}

/** What grpc-js hands on to node:http2 and has no option for, and what it made of it. */
interface Internals {
  readonly commonServerOptions: object
  readonly http2Servers: ReadonlyMap<Http2Server, unknown>
}

/**
 * `envoy.service.auth.v3.Authorization` and `grpc.health.v1` on one address. Unusable when that, or a file of
 * TLS, cannot be used.
 */
export async function createGrpcServer(
  settings: GrpcSettings,
  deps: { check: Check; clock: Clock; log: Log; events: GrpcEvents },
): Promise<GrpcServer> {
  // Its errors reach us as values; printed beside our log they would be a second message, and no JSON.
  setLogger({ error() {}, info: console.error, debug: console.error })
  const { service, refuse, ended } = extAuthz({ ...deps, checkTimeout: settings.check_timeout })
  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': MOST_RECEIVED,
    'grpc.max_concurrent_streams': settings.max_concurrent_streams,
    'grpc.max_connection_age_ms': settings.max_connection_age,
    'grpc.max_connection_age_grace_ms': CONNECTIONS_MS,
    'grpc.keepalive_time_ms': settings.keepalive,
    'grpc.keepalive_timeout_ms': Math.min(settings.keepalive, LONGEST_SILENCE_MS),
    interceptors: [heldAnswers(CHECK_PATH, refuse)],
  })
  const internals = server as unknown as Internals
  Object.assign(internals.commonServerOptions, RESETS, { handshakeTimeout: HANDSHAKE_MS })
  server.addService(definition, service)
  const health = addHealth(server)
  if (settings.reflection) (await import('./reflection.ts')).addReflection(server)
  const tls = settings.tls && reloadedCredentials(settings.tls, deps)
  const address = await freeSocket(settings.grpc)
    .then(() => bind(server, settings.grpc, tls?.credentials ?? ServerCredentials.createInsecure()))
    .catch((error: unknown) => {
      tls?.close()
      throw error
    })
  const limit = tls ? limitTlsConnections : limitConnections
  const leave: (() => void)[] = []
  for (const listener of internals.http2Servers.keys()) {
    leave.push(limit(listener, settings.max_connections, deps.events.connectionRefused))
    // Such as Envoy's health checks without `alpn_protocols`: Node would keep them for 10 s, past any drain.
    listener.on('unknownProtocol', socket => socket.destroy())
  }
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
          tls?.close()
        },
        heard() {
          health.endWatches()
          for (const each of leave) each()
        },
        ended,
      }),
  }
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(cannotListen('listen.grpc', address, /\bE[A-Z]{3,}\b/.exec(error.message)?.[0]))
      else resolve(address.startsWith('unix:') ? address : address.replace(/:\d+$/, `:${port}`))
    })
  })
}
