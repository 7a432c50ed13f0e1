import { type IncomingHttpHeaders, request } from 'node:http'
import { text } from 'node:stream/consumers'

export interface Sent {
  readonly method: string
  readonly host: string
  /** As it goes onto the wire, with its query. */
  readonly path: string
  /** Exactly these, in this order and spelling; a name may be repeated. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body?: string
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One request to an Envoy on loopback. Unlike fetch it can repeat a header and spell it as it likes. */
export function send(port: number, { method, host, path, headers, body = '' }: Sent): Promise<Answer> {
  const length: [string, string][] = body === '' ? [] : [['content-length', `${Buffer.byteLength(body)}`]]
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        agent: false,
        headers: [['host', host], ...length, ...headers].flat(),
      },
      response =>
        text(response).then(
          read => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: read }),
          reject,
        ),
    )
    sent.once('error', reject)
    sent.end(body)
  })
}
