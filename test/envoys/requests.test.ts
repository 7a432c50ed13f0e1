import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ALICE } from '../e2e/stack.ts'
import {
  AS_ALICE,
  expectAllowed,
  expectEnvoysRefusal,
  expectRefusal,
  ID,
  seenByPolicy,
} from './expectations.ts'
import { bearer, type Field, type Headers } from './http1.ts'
import { send2 } from './http2-client.ts'
import { ENCODINGS, inEachEncoding } from './listeners.ts'
import { type Matrix, startMatrix } from './matrix.ts'
import { type Sent, send, utf8 } from './raw-client.ts'
import { BODY } from './upstream.ts'

let matrix: Matrix
let alice: Field
beforeAll(async () => {
  matrix = await startMatrix(inEachEncoding())
  alice = bearer(await matrix.issuer.mint(ALICE))
}, 60_000)
afterAll(() => matrix?.stop())

type Query = Record<string, string[]>

/** What arrives at the upstream, and how policy reads it. */
const READ: [sent: string, arrives: string, path: string[], query?: Query][] = [
  ['/see', '/see', ['see']],
  ['/see/', '/see/', ['see', '']],
  ['/see/a%20b', '/see/a%20b', ['see', 'a b']],
  ['/see/a+b', '/see/a+b', ['see', 'a+b']],
  ['/see/%C3%A9', '/see/%C3%A9', ['see', 'é']],
  ['/see/%c3%a9', '/see/%c3%a9', ['see', 'é']],
  ['/s%65e/%41', '/see/A', ['see', 'A']],
  ['/see/%0d%0a', '/see/%0d%0a', ['see', '\r\n']],
  ['/see/%25252F', '/see/%25252F', ['see', '%252F']],
  ['/see/x;a=b', '/see/x;a=b', ['see', 'x;a=b']],
  ['/no/../see/y', '/see/y', ['see', 'y']],
  ['/no/%2e%2E/see/y', '/see/y', ['see', 'y']],
  ['//see//./y', '/see/y', ['see', 'y']],
  ['/see/\\y', '/see/y', ['see', 'y']],
  ['http://mail.example.com/see/y', '/see/y', ['see', 'y']],
  ['/see?', '/see?', ['see']],
  ['/see?a=1&a=2&b', '/see?a=1&a=2&b', ['see'], { a: ['1', '2'], b: [''] }],
  ['/see?a=1?b=2', '/see?a=1?b=2', ['see'], { a: ['1?b=2'] }],
  ['/see?a=+%2B%26', '/see?a=+%2B%26', ['see'], { a: [' +&'] }],
  ['/see?%C3%A9=%2F..%00', '/see?%C3%A9=%2F..%00', ['see'], { é: ['/..\0'] }],
  ['/see?/../no', '/see?/../no', ['see'], { '/../no': [''] }],
  [`/see?${'a=1&'.repeat(1000)}`, `/see?${'a=1&'.repeat(1000)}`, ['see'], { a: Array(1000).fill('1') }],
]

/** What we refuse: it has no reading, or two. */
const UNREADABLE = [
  '/see/%FF',
  '/see/%C3',
  '/see/%ED%A0%80',
  '/see/%C0%AF',
  '/see/%',
  '/see/%zz',
  '/see?a=%FF',
  '/see?%FF=a',
  '/see?a=%',
  '/see?a;b',
  `/see?${Array.from({ length: 513 }, (_, i) => `n${i}`).join('&')}`,
]

/** What Envoy refuses alone, with the sample's settings. */
const TO_ENVOY: [sent: string, status: number][] = [
  [`/see/${utf8('é')}`, 400],
  ['/see/\xff', 400],
  ['/see?a=\xff', 400],
  ['/see/a\x01b', 400],
  ['/see/a\0b', 400],
  ['/see/a\tb', 400],
  ['/see/a b', 400],
  ['/see/%00', 400],
  ['/see/a%2Fb', 400],
  ['/see/a%2fb', 400],
  ['/see/a%5Cb', 400],
  ['/see/#part', 400],
  ['/see?a#part', 400],
  ['/public/%2e%2e;a=b/see', 400],
  ['see', 400],
  ['', 400],
  ['*', 400],
  ['http://elsewhere.example.com/see', 404],
]

/** Each row with the beginning of what is sent, to be called by. */
function titled<Row extends readonly [sent: string, ...unknown[]]>(rows: readonly Row[]): [string, Row][] {
  return rows.map(row => [row[0].length > 60 ? `${row[0].slice(0, 40)}…` : row[0], row])
}

/**
 * Here `/a/..;/b` stays what it is, and the first route of the sample refuses it. 1.40.0 takes it for `/a/../b`, and gives
 * `/b` to us and to the upstream.
 */
const TAKES_FOR_A_NAME = ['1.36.4', '1.37.0']

describe.each(Object.keys(ENCODINGS))('%s', encoding => {
  const ask = (sent: Sent) =>
    matrix.ask(encoding, port => send(port, { ...sent, headers: [alice, ...(sent.headers ?? [])] }))
  const ask2 = (path: string, headers: Field[] = []) =>
    matrix.ask(encoding, port => send2(port, { path, headers: [alice, ...headers] }))

  it.each(titled(READ))('is read as it arrives: %s', async (_, [target, arrives, path, query = {}]) => {
    const seen = expectAllowed(await ask({ target }), AS_ALICE)
    expect(seen.target).toBe(arrives)
    expect(seenByPolicy(seen)).toMatchObject({ path, query })
    if (!target.startsWith('http')) expect(expectAllowed(await ask2(target), AS_ALICE).target).toBe(arrives)
  })

  // HTTP/2 lets bytes in that HTTP/1 does not. In a path Envoy writes them as %FF, in a query it leaves them as they are.
  it('over HTTP/2 is refused for bytes that are no text, where we are told of them', async () => {
    expect(expectAllowed(await ask2(`/see/${utf8('é')}`), AS_ALICE).target).toBe('/see/%C3%A9')
    expectRefusal(await ask2('/see/\xff'), 400, 'path_invalid')
    const seen = seenByPolicy(expectAllowed(await ask2(`/see?${utf8('é')}`), AS_ALICE))
    expect(seen).toMatchObject({ query: { é: [''] } })
    const inQuery = await ask2('/see?a=\xff')
    if (ENCODINGS[encoding]?.raw) expectRefusal(inQuery, 400, 'path_invalid')
    // Why the sample has encode_raw_headers: otherwise policy is told of another query than the upstream.
    else expect(seenByPolicy(expectAllowed(inQuery, AS_ALICE))).toMatchObject({ query: { a: ['!'] } })
  })

  it('is never read in two ways: a step up with a parameter', async () => {
    const asked = await ask({ target: '/public/..;/see' })
    if (TAKES_FOR_A_NAME.includes(matrix.version)) expectEnvoysRefusal(asked, 400)
    else expect(expectAllowed(asked, AS_ALICE).target).toBe('/see')
  })

  it.each(titled(UNREADABLE.map((target): [string] => [target])))(
    'is refused by us: %s',
    async (_, [target]) => {
      expectRefusal(await ask({ target }), 400, 'path_invalid')
      expectRefusal(await ask2(target), 400, 'path_invalid')
    },
  )

  it.each(TO_ENVOY)('is refused by Envoy: %j', async (target, status) => {
    expectEnvoysRefusal(await ask({ target }), status)
  })

  it('has the bytes of its headers left as they are', async () => {
    const sent: Field[] = [
      ['x-bytes', 'a\xff\xfe'],
      ['x-text', utf8('é')],
      ['x-twice', '1'],
      ['X-Twice', '2, 3'],
    ]
    const seen = expectAllowed(await ask({ target: '/see', headers: sent }), AS_ALICE)
    expect(seen.headers).toMatchObject({
      'x-bytes': ['a\xff\xfe'],
      'x-text': [utf8('é')],
      'x-twice': ['1', '2, 3'],
    })
  })

  it.each<[what: string, header: Field]>([
    ['a control character', ['x-a', 'a\x01b']],
    ['NUL', ['x-a', 'a\0b']],
    ['a space before the colon', ['x-agent-id ', 'forged']],
    ['a name that is none', ['x agent id', 'forged']],
    ['a name outside ASCII', [utf8('x-agent-ïd'), 'forged']],
    ['two lengths', ['content-length', '5\r\ncontent-length: 6']],
  ])('is refused by Envoy for a header with %s', async (_, header) => {
    expectEnvoysRefusal(await ask({ target: '/see', headers: [header] }), 400)
  })

  it.each(['GET', 'OPTIONS', 'DELETE', 'PUT', 'POST', 'PATCH', 'TRACE', 'PROPFIND'])(
    'is checked whatever its method: %s',
    async method => {
      const seen = expectAllowed(await ask({ method, target: '/see' }), AS_ALICE)
      expect(seen.method).toBe(method)
      expectRefusal(await ask({ method, target: '/no' }), 403, 'policy_denied')
    },
  )

  it.each(['GET', 'OPTIONS'])('has no way around for a preflight (CORS): %s', async method => {
    const headers: Field[] = [
      ['origin', 'https://elsewhere.example.com'],
      ['access-control-request-method', 'POST'],
    ]
    const asked = await matrix.ask(encoding, port => send(port, { method, target: '/see', headers }))
    expectRefusal(asked, 401, 'token_missing', { 'www-authenticate': 'Bearer' })
  })

  it('has no body in its answer when HEAD was asked, but all else', async () => {
    const allowed = await ask({ method: 'HEAD', target: '/see' })
    expect(allowed).toMatchObject({
      client: { status: 200, body: '', headers: { 'content-length': [`${BODY.length}`] } },
      upstream: [{ method: 'HEAD' }],
      counted: { ok: 1 },
    })
  })

  it.each<[what: string, target: string, status: number, headers: Headers, token?: false]>([
    ['without a token', '/see', 401, { 'www-authenticate': ['Bearer'] }, false],
    ['by policy', '/no', 403, {}],
    [
      'for want of scope',
      '/scope',
      403,
      { 'www-authenticate': ['Bearer error="insufficient_scope", scope="read:mail:inbox"'] },
    ],
    ['by policy that names a body', '/teapot', 418, {}],
    ['by policy that names a header', '/quota', 429, { 'retry-after': ['7'] }],
    ['for a fault of policy', '/malformed', 500, {}],
  ])('has the headers of a refusal and nothing else when HEAD was asked: %s', async (...row) => {
    const [, target, status, headers, token = true] = row
    const sent = { method: 'HEAD', headers: token ? [alice] : [] }
    const over1 = await matrix.ask(encoding, port => send(port, { ...sent, target }))
    const over2 = await matrix.ask(encoding, port => send2(port, { ...sent, path: target }))
    // Envoy names no length for what it does not send, and HTTP/1 then wants another end of a body.
    for (const [asked, how] of [
      [over1, { 'transfer-encoding': ['chunked'] }],
      [over2, { ':status': [`${status}`] }],
    ] as const) {
      const { client, upstream, counted } = asked
      expect({ status: client.status, body: client.body, upstream, counted }).toEqual({
        status,
        body: '',
        upstream: [],
        counted: { denied: 1 },
      })
      expect(client.headers).toEqual({
        ...headers,
        ...how,
        'x-authz-decision-id': [expect.stringMatching(ID)],
        date: [expect.any(String)],
        server: ['envoy'],
      })
    }
  })
})
