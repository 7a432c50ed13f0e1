import { z } from 'zod'
import { duration } from '../duration.ts'
import type { Check, Clock, Log } from '../types.ts'
import { type AdminDeps, createAdmin } from './admin.ts'
import { createGrpcServer, type GrpcEvents, type GrpcServer } from './grpc-server.ts'

export type { GrpcEvents as ListenEvents } from './grpc-server.ts'
export { heldRequestFromProtojson } from './protojson.ts'

const HOST_PORT = /^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/
const portFits = (text: string) => text.startsWith('unix:') || Number(/\d+$/.exec(text)?.[0]) <= 65_535
const LONGEST_CHECK_MS = 60_000
const DAY_MS = 24 * 60 * 60_000
const most = z.int().min(1).max(1_000_000)
const secondToDay = duration.refine(ms => ms >= 1_000 && ms <= DAY_MS, 'from 1s to 24h')

export const listenSettings = z.strictObject({
  grpc: z
    .string()
    .regex(new RegExp(`${HOST_PORT.source}|^unix:.+`), { error: 'host:port or unix:/path', abort: true })
    .refine(portFits, 'a port is at most 65535')
    .default('127.0.0.1:9191')
    .describe('Where Envoy asks: host:port or unix:/path.'),
  admin: z
    .string()
    .regex(HOST_PORT, { error: 'host:port', abort: true })
    .refine(portFits, 'a port is at most 65535')
    .default('127.0.0.1:9192')
    .describe('Where /metrics, /healthz and /readyz are.'),
  check_timeout: duration
    .refine(ms => ms >= 1 && ms <= LONGEST_CHECK_MS, 'from 1ms to 60s')
    .prefault('150ms')
    .describe(
      'Past it the answer is 503 deadline; the smaller of this and what Envoy waits, less 20 ms, counts.',
    ),
  max_connections: most
    .default(1024)
    .describe('At a time, with TLS of those that have finished it; further ones are closed, and counted.'),
  max_concurrent_streams: most
    .default(1024)
    .describe(
      'Checks at a time on one connection; Envoy opens another one for more where its cluster has the same.',
    ),
  max_connection_age: secondToDay
    .prefault('30m')
    .describe('Then a connection is ended, its checks answered; what crosses its end is asked again.'),
  keepalive: secondToDay
    .prefault('30s')
    .describe(
      'After so long without a word a connection is asked, and cut after as long again, at most 20 s.',
    ),
  reflection: z
    .boolean()
    .default(false)
    .describe('Whether grpc.reflection tells what is spoken here, for tools such as grpcurl.'),
  tls: z
    .strictObject({
      cert: z.string().min(1).describe('The certificate chain, PEM.'),
      key: z.string().min(1).describe('Its private key, PEM.'),
      client_ca: z
        .string()
        .min(1)
        .optional()
        .describe('The CA of the clients; given, they must show a certificate.'),
    })
    .optional()
    .describe('TLS on the gRPC port.'),
})

export type ListenSettings = z.infer<typeof listenSettings>

export interface ListenRoom extends Omit<GrpcServer, 'address'> {
  /** The bound addresses, with the ports that were really taken. */
  readonly grpc: string
  readonly admin: string
}

/** Opens both doors to the world. Unusable when an address or a certificate cannot be used. */
export async function createListen(
  settings: ListenSettings,
  {
    check,
    clock,
    log,
    events,
    ...admin
  }: { check: Check; clock: Clock; log: Log; events: GrpcEvents } & AdminDeps,
): Promise<ListenRoom> {
  const pages = await createAdmin(settings.admin, admin)
  const server = await createGrpcServer(settings, { check, clock, log, events }).catch(
    async (error: unknown) => {
      await pages.close()
      throw error
    },
  )
  return {
    grpc: server.address,
    admin: pages.address,
    serving: server.serving,
    async drain() {
      await server.drain()
      await pages.close()
    },
  }
}
