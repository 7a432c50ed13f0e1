import { once } from 'node:events'
import { type ClientHttp2Session, connect, type SecureClientSessionOptions } from 'node:http2'
import type { ChannelCredentials } from '@grpc/grpc-js'
import { expect, onTestFinished } from 'vitest'
import { createGrpcServer, type GrpcSettings } from '../../../src/listen/grpc-server.ts'
import type { Check, Deadline, Reply } from '../../../src/types.ts'
import { Unusable } from '../../../src/unusable.ts'
import {
  type Answer,
  allowed,
  type Caller,
  caller,
  keptEvents,
  keptLog,
  read,
  SETTINGS,
  stop,
} from './callers.ts'

/* Servers and connections to them, by which a test goes about its subject. None outlives its test. */

export async function started(settings: Partial<GrpcSettings> = {}, check: Check = () => allowed) {
  const [log, events] = [keptLog(), keptEvents()]
  const server = await createGrpcServer({ ...SETTINGS, ...settings }, { check, clock: Date.now, log, events })
  onTestFinished(() => stop(server))
  const { address } = server
  return { server, address, port: Number(address.split(':').at(-1)), log, events }
}

/** Why a server does not begin. */
export async function refusal(settings: Partial<GrpcSettings>): Promise<string> {
  const error = await started(settings).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(Unusable)
  return (error as Unusable).message
}

export function calling(address: string, as?: ChannelCredentials): Caller {
  const made = caller(address, as)
  onTestFinished(made.close)
  return made
}

/** A connection by hand. */
export function connection(address: string, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const session = connect(address, options)
  onTestFinished(() => session.destroy())
  return session
}

/** One call by hand: the bytes of its messages, and what came back. */
export async function call(
  session: ClientHttp2Session,
  frames: Buffer,
  headers: Record<string, string> = {},
): Promise<{ status: unknown; answer: Answer }> {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/envoy.service.auth.v3.Authorization/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  })
  let status: unknown
  stream.on('trailers', trailers => {
    status = trailers['grpc-status']
  })
  stream.on('error', () => undefined)
  stream.end(frames)
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(stream, 'close')
  return { status, answer: read(Buffer.concat(chunks).subarray(5)) }
}

/** A message as gRPC frames it. */
export function frame(message: Buffer, { packed = false, length = message.length } = {}): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(packed ? 1 : 0, 0)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}

/** A check that holds its first call until a test ends it; the others are allowed. */
export function heldCheck() {
  const begun = Promise.withResolvers<Deadline>()
  const reply = Promise.withResolvers<Reply>()
  let calls = 0
  const check: Check = (_, deadline) => {
    begun.resolve(deadline)
    return calls++ === 0 ? reply.promise : allowed
  }
  return { check, begun: begun.promise, end: reply.resolve }
}
