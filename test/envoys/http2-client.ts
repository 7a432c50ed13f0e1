import { once } from 'node:events'
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2'
import { text } from 'node:stream/consumers'
import { type Field, type Headers, headersOf } from './http1.ts'
import type { Answer, Upgraded } from './raw-client.ts'

export interface Sent2 {
  readonly method?: string
  readonly path?: string
  readonly headers?: readonly Field[]
  readonly body?: Buffer
}

export interface Answer2 extends Answer {
  readonly trailers: Headers
}

/** One request over HTTP/2, on a connection of its own. */
export async function send2(port: number, sent: Sent2): Promise<Answer2> {
  const session = open(port)
  try {
    return await sendOn(session, sent)
  } finally {
    session.destroy()
  }
}

/** A connection for many requests. When it fails, so does what is sent on it. */
export function open(port: number): ClientHttp2Session {
  return connect(`http://127.0.0.1:${port}`).on('error', () => undefined)
}

/** One request of many on one connection. */
export function sendOn(session: ClientHttp2Session, sent: Sent2): Promise<Answer2> {
  const { method = 'GET', path = '/', headers = [], body } = sent
  const named = [
    [':method', method],
    [':path', path],
    [':scheme', 'http'],
    [':authority', 'mail.example.com'],
  ]
  return new Promise((resolve, reject) => {
    const stream = session.request([...named, ...headers].flat() as unknown as OutgoingHttpHeaders, {
      endStream: body === undefined,
    })
    const chunks: Buffer[] = []
    const answer = { status: 0, headers: {}, trailers: {} }
    stream
      .on('response', (head, _, raw) => {
        answer.status = Number(head[':status'])
        answer.headers = headersOf(pairs(raw))
      })
      .on('trailers', (_, __, raw) => {
        answer.trailers = headersOf(pairs(raw))
      })
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('error', reject)
      .on('close', () => resolve({ ...answer, body: Buffer.concat(chunks).toString('latin1') }))
    if (body !== undefined) stream.end(body)
  })
}

/** Asks for a WebSocket (RFC 8441), on a connection of its own. */
export async function upgrade2(port: number, path: string, headers: readonly Field[]): Promise<Upgraded> {
  const session = open(port)
  // Until then it is not known whether it may be asked for.
  await once(session, 'remoteSettings')
  const named = [
    [':method', 'CONNECT'],
    [':protocol', 'websocket'],
    [':path', path],
    [':scheme', 'http'],
    [':authority', 'mail.example.com'],
    ['sec-websocket-version', '13'],
  ]
  const stream = session.request([...named, ...headers].flat() as unknown as OutgoingHttpHeaders)
  stream.on('error', () => undefined)
  const [head, , raw] = await once(stream, 'response')
  const status = Number(head[':status'])
  return {
    status,
    headers: headersOf(pairs(raw)),
    body: status === 200 ? '' : await text(stream),
    async exchange(bytes) {
      stream.write(bytes)
      return (await once(stream, 'data'))[0]
    },
    close: () => session.destroy(),
  }
}

/** A message of gRPC as it goes over the wire, not compressed. */
export function grpcMessage(content: string): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(Buffer.byteLength(content), 1)
  return Buffer.concat([head, Buffer.from(content)])
}

/** Names and values in turn, as node:http2 hands over what came. */
export function pairs(raw: readonly string[]): Field[] {
  return raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1] ?? ''] as const] : []))
}
