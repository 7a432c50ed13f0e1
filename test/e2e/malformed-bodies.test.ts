import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as write from '../../src/listen/wire/writer.ts'
import { completeRequest, POLICY } from './complete-request.ts'
import { type Held, startHeld } from './held.ts'

const MB = 1_000_000
const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

let held: Held
let token: string
beforeAll(async () => {
  held = await startHeld(POLICY)
  token = await held.at.mint()
})
afterAll(() => held?.stop())

const bearer = () => ({ authorization: `Bearer ${token}` })
/** What became of a good request with these changes to its HTTP part. */
const reasonOf = async (changes: object) => (await held.ask(completeRequest(token, 'text', changes))).reason
const names = (count: number) => Array.from({ length: count }, (_, i) => `n${i}=1`).join('&')
const withHeaders = (headers: object) => ({ headers: { ...bearer(), 'content-type': JSON_TYPE, ...headers } })
const withBody = (body: string, type = JSON_TYPE) => ({ ...withHeaders({ 'content-type': type }), body })

it('a good request is allowed', async () => {
  expect(await reasonOf(withBody('{"folder":"inbox"}'))).toBe('policy_allowed')
})

describe('a large request is refused', () => {
  const many = (name: (i: number) => string) =>
    Array.from({ length: 50_000 }, (_, i) => [name(i), 'v'] as [string, string])
  const listed = (headers: readonly [string, string][]) => ({
    headers: {},
    headerMap: {
      headers: [...Object.entries(bearer()), ...headers].map(([key, value]) => ({
        key,
        rawValue: Buffer.from(value),
      })),
    },
  })

  it.each<[string, () => object, string]>([
    ['a body of 10 MB', () => withBody(`{"folder":"${'a'.repeat(10 * MB)}"}`), 'request_too_large'],
    [
      'raw bytes of 10 MB',
      () => ({ body: undefined, rawBody: Buffer.alloc(10 * MB, 0xff) }),
      'request_too_large',
    ],
    ['a path of 10 MB', () => ({ path: `/${'a'.repeat(10 * MB)}` }), 'request_too_large'],
    ['a query of 10 MB', () => ({ path: `/v1/messages?${'a=b&'.repeat(2.5 * MB)}` }), 'request_too_large'],
    ['a header of 10 MB', () => withHeaders({ 'x-large': 'a'.repeat(10 * MB) }), 'request_too_large'],
    ['a header with a name of 10 MB', () => withHeaders({ ['x'.repeat(10 * MB)]: '' }), 'request_too_large'],
    [
      'a token of 10 MB',
      () => withHeaders({ authorization: `Bearer ${'e'.repeat(10 * MB)}` }),
      'request_too_large',
    ],
    ['50,000 headers', () => withHeaders(Object.fromEntries(many(i => `x-${i}`))), 'request_too_large'],
    ['50,000 headers in a list', () => listed(many(i => `x-${i}`)), 'request_too_large'],
    ['50,000 headers of one name', () => listed(many(() => 'x-a')), 'request_too_large'],
    ['50,000 tokens', () => listed(many(() => 'authorization')), 'request_too_large'],
    [
      'a token of 4 MB',
      () => withHeaders({ authorization: `Bearer ${'e'.repeat(4 * MB)}` }),
      'token_too_large',
    ],
    ['a host of 4 MB', () => ({ host: 'a'.repeat(4 * MB) }), 'policy_denied'],
    ['a path of 4 MB', () => ({ path: `/${'a'.repeat(4 * MB)}` }), 'policy_denied'],
    ['a path of 512 segments', () => ({ path: '/a'.repeat(512) }), 'policy_denied'],
    ['a path of 513 segments', () => ({ path: '/a'.repeat(513) }), 'path_invalid'],
    ['a path of a million segments', () => ({ path: '/a'.repeat(1 * MB) }), 'path_invalid'],
    ['a query of 513 names', () => ({ path: `/v1/messages?${names(513)}` }), 'path_invalid'],
    ['a query of 100,000 names', () => ({ path: `/v1/messages?${names(100_000)}` }), 'path_invalid'],
    ['a query of 2,049 fields', () => ({ path: `/v1/messages?${'a&'.repeat(2048)}a` }), 'path_invalid'],
    ['a query of a million fields', () => ({ path: `/v1/messages?${'a&'.repeat(1 * MB)}a` }), 'path_invalid'],
  ])('with %s', async (_, changes, reason) => {
    expect(await reasonOf(changes())).toBe(reason)
  })

  it('with 10 MB that nobody reads', async () => {
    const message = Buffer.concat([
      completeRequest(token, 'raw'),
      write.message(99, Buffer.alloc(10 * MB, 0xff)),
    ])
    expect((await held.ask(message)).reason).toBe('request_too_large')
  })
})

describe('JSON is refused', () => {
  const inside = (open: string, close: string, times: number, core = '1') =>
    open.repeat(times) + core + close.repeat(times)

  it.each<[string, string]>([
    ['lists in 65 others', inside('[', ']', 65)],
    ['lists in a million others', inside('[', ']', 1 * MB)],
    ['lists that nothing closes', '['.repeat(3 * MB)],
    ['objects in 65 others', inside('{"folder":', '}', 65, '"inbox"')],
    ['objects in 100,000 others', inside('{"folder":', '}', 100_000, '"inbox"')],
    ['both in 50,000 others', inside('[{"a":', '}]', 50_000)],
    ['deep beside what is wanted', `{"folder":"inbox","x":${inside('[', ']', 64)}}`],
    [
      '100,000 names',
      `{"folder":"inbox"${Array.from({ length: 100_000 }, (_, i) => `,"n${i}":1`).join('')}}`,
    ],
    ['one name 513 times', `{"folder":"inbox"${',"folder":"inbox"'.repeat(512)}}`],
    ['65,537 values', `{"folder":"inbox","x":[${'0,'.repeat(65_533)}0]}`],
    ['an endless exponent', `{"folder":"inbox","n":1e${'9'.repeat(1_000)}}`],
    ['an end too early', '{"folder":"inbox"'],
    ['a second document', '{"folder":"inbox"}{"folder":"inbox"}'],
    ['a byte order mark', '\ufeff{"folder":"inbox"}'],
    ['a NUL', '{"folder":"inbox"}\0'],
    ['a line break in a text', '{"folder":"inbox","x":"\n"}'],
    ['nothing but spaces', ' '.repeat(1_000)],
  ])('with %s', async (_, body) => {
    expect(await reasonOf(withBody(body))).toBe('body_invalid')
  })

  it.each<[string, string]>([
    ['the first half of a surrogate pair', String.raw`{"folder":"inbox\ud83d"}`],
    ['the second half of one', String.raw`{"folder":"\ude00inbox"}`],
    ['both, the wrong way round', String.raw`{"folder":"inbox\ude00\ud83d"}`],
    ['a half for a name', String.raw`{"folder\ud83d":"inbox"}`],
    ['a half in place of all', String.raw`"\ud83d"`],
  ])('by policy, which sees another text, with %s', async (_, body) => {
    expect(await reasonOf(withBody(body))).toBe('policy_denied')
  })
})

describe('half a surrogate pair is refused', () => {
  it.each(['/v1/messages%ed%a0%bd', '/v1/messages?a=%ed%b8%80', '/v1/%ed%a0%bd%ed%b8%80'])(
    'in the path %s',
    async path => {
      expect(await reasonOf({ path })).toBe('path_invalid')
    },
  )

  it.each<[string, object]>([
    ['subject', { sub: 'alice\ud83d' }],
    ['agent', { act: { sub: '\ude00mail-summary' } }],
    ['prior actor', { act: { sub: 'mail-summary', act: { sub: '\ud83d' } } }],
    ['scope', { scope: 'read:mail:\ud83d' }],
    ['claim that nobody knows', { x: '\ud83d' }],
    ['name of a claim', { '\ud83d': 1 }],
  ])('in the %s of a token', async (_, claims) => {
    const authorization = `Bearer ${await held.at.mint(claims)}`
    expect(await reasonOf(withHeaders({ authorization }))).toBe('token_malformed')
  })
})

describe('a body is refused that is not of its content type', () => {
  const folder = '{"folder":"inbox"}'
  const part = 'content-disposition: form-data; name="folder"\r\n\r\ninbox'

  it.each<[type: string, body: string]>([
    [JSON_TYPE, 'folder=inbox'],
    [JSON_TYPE, `--x\r\n${part}\r\n--x--`],
    [JSON_TYPE, '<folder>inbox</folder>'],
    [`${JSON_TYPE}; charset=utf-16`, Buffer.from(folder, 'utf16le').toString('latin1')],
    [`${JSON_TYPE}, text/plain`, folder],
    [`${JSON_TYPE}, ${JSON_TYPE}`, folder],
    [`${JSON_TYPE}; ${FORM_TYPE}`, folder],
    [`multipart/form-data; boundary=x; ${JSON_TYPE}`, folder],
    [FORM_TYPE, 'folder=%zz'],
    [FORM_TYPE, 'folder=inbox;folder=archive'],
    [FORM_TYPE, 'folder=%ed%a0%bd'],
    [FORM_TYPE, names(513)],
    [FORM_TYPE, `folder=inbox${'&a'.repeat(2048)}`],
    ['multipart/form-data; boundary=', `--\r\n${part}\r\n----`],
    ['multipart/form-data; boundary=x', `--x\r\n${part}`],
    ['multipart/form-data; boundary=x', folder],
    ['multipart/form-data; boundary="x', `--x\r\n${part}\r\n--x--`],
  ])('%j', async (type, body) => {
    expect(await reasonOf(withBody(body, type))).toBe('body_invalid')
  })

  it.each([
    'text/plain',
    'multipart/form-data',
    'Application/JSON',
    'application/grpc',
    'application',
    '',
    '\u0000',
    ',',
  ])('by policy, which does not see it: %j', async type => {
    expect(await reasonOf(withBody(folder, type))).toBe('policy_denied')
  })

  it.each(['-', 'x', '18, 18', '1e3', '9'.repeat(20), '18 '])('or whose length is %j', async length => {
    const changes = { ...withHeaders({ 'content-length': length }), body: folder }
    expect(await reasonOf(changes)).toBe('body_invalid')
  })
})

it('every answer has its record', () => held.expectRecords())
