import { randomBytes, randomUUID } from 'node:crypto'
import { encodeHttp, encodeRequest } from '../unit/listen/wire/oracle.ts'

/** Decides by the path: what a policy may do wrong, and what it does right. */
export const POLICY = `
package envoy.authz

import rego.v1

wanted := input.parsed_path[0]

result := {"allowed": true} if wanted in {"good", "two-values"}

result := {"allowed": false, "body": "another"} if wanted == "two-values"

result := {"allowed": "yes"} if wanted == "no-boolean"

result := {"allowed": true, "headers": {"x-agent-id": "admin"}} if wanted == "trusted-header"

result := {"allowed": true, "headers": {"x-a": "a\\r\\nx-agent-id: admin"}} if wanted == "two-lines"
`

export interface Tokens {
  readonly good: string
  readonly expired: string
  readonly withoutAgent: string
}

export interface Poison {
  readonly message: Buffer
  /** What it is refused with; absent where the client does not wait and it may be refused for that. */
  readonly reason?: string
  /** The client leaves as soon as it has sent this, or after a millisecond. */
  readonly leaving?: 'at once' | 'after 1 ms'
}

/** One in so many is large. */
const FEW = 400
const LARGE = 10_000_000

/** A CheckRequest with this token and what else is given, known to its record by `id`. */
export function request(id: string, token: string, http: object = {}, headers: object = {}): Buffer {
  const all = { authorization: `Bearer ${token}`, 'x-request-id': id, ...headers }
  return encodeHttp({ method: 'POST', host: 'mail.example.com', path: '/good', headers: all, ...http })
}

/** A token like this one and like no other, which nobody signed; changes are to its header. */
export function forged(token: string, changes: object = {}): string {
  const [header = '', payload = ''] = token.split('.').map(part => Buffer.from(part, 'base64url').toString())
  const encoded = (part: string, changes: object) =>
    Buffer.from(JSON.stringify({ ...JSON.parse(part), ...changes })).toString('base64url')
  const signature = randomBytes(64).toString('base64url')
  return [encoded(header, changes), encoded(payload, { jti: randomUUID() }), signature].join('.')
}

type Kind = readonly [
  reason: Poison['reason'],
  message: (i: number, id: string) => Buffer,
  leaving?: Poison['leaving'],
]

/** The `i`-th of a mixture of all kinds, known by `id` to its record where it can be read at all. */
export function poisonMixer({ good, expired, withoutAgent }: Tokens): (i: number, id: string) => Poison {
  const withToken = (id: string, token: string) => request(id, token)
  const withPath = (id: string, path: string) => request(id, good, { path })
  const withBody = (id: string, body: string, type = 'application/json') =>
    request(id, good, { body }, { 'content-type': type })
  const misspelt = encodeRequest({ attributes: { contextExtensions: { agent_authz_moed: 'observe' } } })

  const kinds: readonly Kind[] = [
    ['request_malformed', i => randomBytes(1 + (i % 300))],
    ['request_malformed', (i, id) => request(id, good).subarray(0, i % request(id, good).length)],
    ['request_malformed', (_, id) => replaced(request(id, good), '/good', 0xff)],
    ['request_malformed', (_, id) => request(id, good, { method: '' })],
    ['body_invalid', (i, id) => withBody(id, '['.repeat(65 + i))],
    ['body_invalid', (i, id) => withBody(id, `${'['.repeat(65 + i)}${']'.repeat(65 + i)}`)],
    ['body_invalid', (_, id) => withBody(id, '{}', 'application/json, text/plain')],
    ['body_invalid', (_, id) => withBody(id, 'a=b', 'multipart/form-data; boundary=x')],
    ['path_invalid', (_, id) => withPath(id, '/good%ed%a0%80')],
    ['token_missing', (_, id) => request(id, good, {}, { authorization: '' })],
    ['token_malformed', (_, id) => withToken(id, randomBytes(100).toString('base64url'))],
    ['token_too_large', (_, id) => withToken(id, 'e'.repeat(20_000))],
    ['token_algorithm', (_, id) => withToken(id, forged(good, { alg: 'none' }))],
    ['signature_invalid', (_, id) => withToken(id, forged(good))],
    ['key_unknown', (_, id) => withToken(id, forged(good, { kid: randomUUID() }))],
    ['token_expired', (_, id) => withToken(id, expired)],
    ['agent_missing', (_, id) => withToken(id, withoutAgent)],
    ['authorization_repeated', (_, id) => request(id, good, {}, { Authorization: `Bearer ${good}` })],
    ['route_invalid', (_, id) => Buffer.concat([request(id, good), misspelt])],
    ['policy_undefined', (_, id) => withPath(id, '/nowhere')],
    ['policy_error', (_, id) => withPath(id, '/two-values')],
    ['policy_error', (_, id) => withPath(id, '/no-boolean')],
    ['policy_error', (_, id) => withPath(id, '/trusted-header')],
    ['policy_error', (_, id) => withPath(id, '/two-lines')],
    [undefined, (_, id) => withToken(id, forged(good)), 'at once'],
    [undefined, (_, id) => withPath(id, '/nowhere'), 'at once'],
    [undefined, (_, id) => withToken(id, forged(good)), 'after 1 ms'],
    [undefined, (_, id) => request(id, good), 'after 1 ms'],
  ]
  // Made once, since to make them takes longer than to refuse them.
  const large: readonly Poison[] = [
    { reason: 'request_too_large', message: withBody('', 'a'.repeat(LARGE)) },
    { reason: 'request_too_large', message: request('', good, {}, { 'x-large': 'a'.repeat(LARGE) }) },
    { reason: 'request_too_large', message: request('', good, {}, manyHeaders(50_000)) },
    { reason: 'body_invalid', message: withBody('', '['.repeat(3_000_000)) },
    { reason: 'request_malformed', message: randomBytes(LARGE) },
  ]
  return (i, id) => {
    if (i % FEW === 0) return large[(i / FEW) % large.length] as Poison
    const [reason, message, leaving] = kinds[i % kinds.length] as Kind
    return { message: message(i, id), ...(reason !== undefined && { reason }), ...(leaving && { leaving }) }
  }
}

function replaced(message: Buffer, mark: string, byte: number): Buffer {
  message[message.indexOf(mark)] = byte
  return message
}

function manyHeaders(count: number): object {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, '']))
}
