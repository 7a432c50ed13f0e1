import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { Client, credentials } from '@grpc/grpc-js'
import type { Answer } from '../../deploy/demo/client.ts'
import { CHECK_PATH } from '../../src/listen/ext-authz.ts'
import { encodeRequest, responseOf } from '../unit/listen/wire/oracle.ts'
import type { Asked } from './requests.ts'
import type { Arrival } from './upstream.ts'

const HOST = 'mail.example.com'
/** What every client tries. */
const LIES = [
  ['x-delegator-id', 'admin@example.com'],
  ['x-delegator-issuer', 'demo'],
  ['x-agent-id', 'admin'],
  ['x.agent.id', 'admin'],
  ['x-agent-issuer', 'demo'],
  ['x-agent-chain', 'admin'],
  ['x-authz-decision-id', 'none'],
] as const
/** As long as a field of the log gets, and twice that as JSON. */
const LONG = '"'.repeat(2048)

export interface How {
  /** The client goes away then, answered or not. */
  readonly leaves?: Promise<unknown>
  /** The body comes in pieces, with so many milliseconds between them. */
  readonly drips?: number
  /** The gRPC deadline, in milliseconds from now. */
  readonly deadline?: number
}

/** Undefined where there was none: the client left, or the connection broke. */
export type Sent = { readonly answer?: Answer; readonly passed?: Arrival }

export const pathOf = ({ path }: Asked, mark: number): string => `/${path}/${mark}`

const headersOf = ({ token, headers = [] }: Asked): (readonly [string, string])[] => [
  ...LIES,
  ...(token ? [['authorization', `Bearer ${token.jwt}`] as const] : []),
  ...headers,
]

/** Through Envoy, on a connection of its own. */
export function sendByEnvoy(port: number, asked: Asked, mark: number, how: How): Promise<Sent> {
  const { method = 'GET', body = '' } = asked
  const length = body === '' ? [] : [['content-length', `${Buffer.byteLength(body)}`]]
  const headers = [['host', HOST], ...length, ...headersOf(asked)].flat()
  return new Promise(resolve => {
    const nothing = () => resolve({})
    const sent = request(
      { host: '127.0.0.1', port, method, path: pathOf(asked, mark), agent: false, headers },
      response => {
        text(response).then(
          body => resolve({ answer: { status: response.statusCode ?? 0, headers: response.headers, body } }),
          nothing,
        )
      },
    )
    sent.once('error', nothing)
    void how.leaves?.then(() => sent.destroy())
    const drip = (rest: string) => {
      if (rest === '') sent.end()
      else {
        sent.write(rest.slice(0, 1))
        setTimeout(drip, how.drips, rest.slice(1))
      }
    }
    if (how.drips === undefined) sent.end(body)
    else drip(body)
  })
}

export interface DirectCaller {
  send(asked: Asked, mark: number, how: How): Promise<Sent>
  close(): void
}

interface Header {
  readonly header: { readonly key: string; readonly value: string }
}

interface Response {
  readonly status: { readonly code?: number }
  readonly okResponse?: { readonly headers?: readonly Header[]; readonly headersToRemove?: readonly string[] }
  readonly deniedResponse?: {
    readonly status: { readonly code: number }
    readonly headers?: readonly Header[]
    readonly body: string
  }
}

/** Asks the service itself: what it lets through counts as having arrived. */
export function directCaller(address: string): DirectCaller {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  })
  return {
    send: (asked, mark, { deadline, leaves }) =>
      new Promise(resolve => {
        const call = client.makeUnaryRequest<Buffer, Buffer>(
          CHECK_PATH,
          bytes => bytes,
          bytes => bytes,
          asked.bytes ?? checkRequest(asked, mark),
          deadline === undefined ? {} : { deadline: Date.now() + deadline },
          (error, bytes) =>
            resolve(error || !bytes ? {} : read(asked, responseOf(bytes) as unknown as Response)),
        )
        void leaves?.then(() => call.cancel())
      }),
    close: () => client.close(),
  }
}

function read(asked: Asked, { status: { code = 0 }, okResponse = {}, deniedResponse }: Response): Sent {
  const named = (headers: readonly Header[] = []) =>
    Object.fromEntries(headers.map(({ header }) => [header.key, header.value]))
  if (code === 0) {
    // What Envoy would make of the request: it removes after it sets.
    const went = { ...Object.fromEntries(headersOf(asked)), ...named(okResponse.headers) }
    for (const name of okResponse.headersToRemove ?? []) delete went[name]
    return { passed: { headers: went } }
  }
  const { status, headers, body } = deniedResponse as NonNullable<Response['deniedResponse']>
  return { answer: { status: status.code, headers: named(headers), body } }
}

function checkRequest(asked: Asked, mark: number): Buffer {
  const { method = 'GET', fat } = asked
  const path = pathOf(asked, mark)
  const http = fat
    ? { method: LONG, host: LONG, path: `${path}/${LONG}` }
    : { method, host: HOST, path, headers: Object.fromEntries(headersOf(asked)) }
  return encodeRequest({
    attributes: { request: { http }, ...(fat && { source: { principal: LONG } }) },
  })
}
