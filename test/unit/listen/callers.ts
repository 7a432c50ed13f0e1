import {
  type ChannelCredentials,
  Client,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  type ServiceError,
} from '@grpc/grpc-js'
import { service as health } from 'grpc-health-check'
import { vi } from 'vitest'
import type { GrpcEvents, GrpcServer, GrpcSettings } from '../../../src/listen/grpc-server.ts'
import type { AllowReply, DenyReply, Log } from '../../../src/types.ts'
import { encodeHttp, responseOf } from './wire/oracle.ts'

/** A port of its own, and time enough. */
export const SETTINGS: GrpcSettings = {
  grpc: '127.0.0.1:0',
  check_timeout: 60_000,
  max_connections: 1024,
  max_concurrent_streams: 1024,
  max_connection_age: 30 * 60_000,
  keepalive: 30_000,
  reflection: false,
}

/** What the server counted, kept. */
export function keptEvents(): GrpcEvents & { readonly seen: string[] } {
  const seen: string[] = []
  return {
    seen,
    connectionRefused: () => void seen.push('connection refused'),
    certificateLoaded: () => void seen.push('certificate loaded'),
    certificateFailed: () => void seen.push('certificate failed'),
  }
}

export const allowed: AllowReply = {
  kind: 'allow',
  headers: [['x-agent-id', 'mail-summary']],
  headersToRemove: [],
  responseHeaders: [],
  queryToSet: [],
  queryToRemove: [],
  metadata: { outcome: 'allow' },
}

export const refused = (status = 403, reason = 'policy_denied'): DenyReply => ({
  kind: 'deny',
  status,
  headers: [],
  body: `{"error":"${reason}"}`,
  metadata: { outcome: 'deny', reason },
})

/** A CheckRequest as small as it may be. */
export const REQUEST = encodeHttp({ method: 'GET', path: '/' })

/** What Envoy would make of the bytes of an answer. */
export interface Answer {
  /** Envoy allows on 0 and on nothing else. */
  readonly code: number
  readonly status: number | undefined
  readonly headers: readonly string[]
  readonly body: string | undefined
  readonly metadata: unknown
}

interface Loaded {
  status: { code?: number }
  deniedResponse?: { status: { code: number }; headers?: { header: { key: string } }[]; body: string }
  dynamicMetadata: unknown
}

export function read(bytes: Buffer): Answer {
  const { status, deniedResponse, dynamicMetadata } = responseOf(bytes) as unknown as Loaded
  return {
    code: status.code ?? 0,
    status: deniedResponse?.status.code,
    headers: (deniedResponse?.headers ?? []).map(({ header }) => header.key),
    body: deniedResponse?.body,
    metadata: dynamicMetadata,
  }
}

/** The service log, kept. */
export function keptLog(): Log & { readonly lines: { level: string; fields: object; message: string }[] } {
  const lines: { level: string; fields: object; message: string }[] = []
  const level = (name: string) => (fields: object, message: string) =>
    void lines.push({ level: name, fields, message })
  return { lines, info: level('info'), warn: level('warn'), error: level('error') }
}

/** One gRPC connection of its own. Every failure is a ServiceError with the code of gRPC. */
export interface Caller {
  check(
    request?: Buffer,
    options?: { deadline?: number; begun?: (call: ClientUnaryCall) => void },
  ): Promise<Answer>
  health(service: string): Promise<string>
  watch(service: string): ClientReadableStream<{ status: string }>
  close(): void
}

export function caller(address: string, as: ChannelCredentials = credentials.createInsecure()): Caller {
  const client = new Client(address, as, {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.ssl_target_name_override': 'authz.example.com',
  })
  const asIs = (bytes: Buffer) => bytes
  return {
    check: (request = REQUEST, { deadline, begun } = {}) =>
      new Promise((resolve, reject) => {
        const call = client.makeUnaryRequest<Buffer, Buffer>(
          '/envoy.service.auth.v3.Authorization/Check',
          asIs,
          asIs,
          request,
          deadline === undefined ? {} : { deadline },
          (error: ServiceError | null, bytes) => (error ? reject(error) : resolve(read(bytes as Buffer))),
        )
        begun?.(call)
      }),
    health: service =>
      new Promise((resolve, reject) => {
        const { path, requestSerialize, responseDeserialize } = health.Check as (typeof health)[string]
        client.makeUnaryRequest<object, { status: string }>(
          path,
          requestSerialize,
          responseDeserialize as never,
          { service },
          (error, answer) => (error ? reject(error) : resolve(answer?.status as string)),
        )
      }),
    watch(service) {
      const { path, requestSerialize, responseDeserialize } = health.Watch as (typeof health)[string]
      return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize as never, { service })
    },
    close: () => client.close(),
  }
}

/** Stops a server without the pauses of `drain`, which a test of something else need not wait for. */
export async function stop(server: Pick<GrpcServer, 'drain'>): Promise<void> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const over = server.drain()
    await vi.advanceTimersByTimeAsync(10_000)
    await over
  } finally {
    vi.useRealTimers()
  }
}
