import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as write from '../../src/listen/wire/writer.ts'
import type { WireField } from '../unit/listen/wire/fields.ts'
import { encodeHttp, encodeRequest } from '../unit/listen/wire/oracle.ts'
import { type Change, changedEverywhere } from './changed-everywhere.ts'
import { completeRequest, type Form, POLICY } from './complete-request.ts'
import { type Held, startHeld, together } from './held.ts'

const AT_ONCE = 64

let held: Held
let token: string
beforeAll(async () => {
  held = await startHeld(POLICY)
  token = await held.at.mint()
})
afterAll(() => held?.stop())

type Named = readonly [what: string, message: Buffer]

/** What became of each message, by its name. */
async function outcomes(messages: readonly Named[]): Promise<[what: string, reason: string][]> {
  return together(AT_ONCE, messages, async ([what, message]) => [what, (await held.ask(message)).reason])
}

/** Each is refused so, and none is allowed. */
async function expectAll(reason: string, messages: readonly Named[]): Promise<void> {
  expect(messages.length).toBeGreaterThan(0)
  expect(await outcomes(messages)).toEqual(messages.map(([what]) => [what, reason]))
}

/** What a request may lack, with all that is in it, and be allowed: nobody is judged by it. */
const INDIFFERENT = [
  'attributes.source',
  'attributes.destination',
  'attributes.request.time',
  ...['id', 'scheme', 'query', 'fragment', 'size', 'protocol'].map(name => `attributes.request.http.${name}`),
  ...['headers', 'headerMap.headers'].flatMap(headers =>
    [':method', ':path', 'content-length', 'x-request-id', 'x-text'].map(
      name => `attributes.request.http.${headers}[${name}]`,
    ),
  ),
  // The service itself enforces.
  'attributes.contextExtensions',
  'attributes.metadataContext',
  'attributes.tlsSession',
  'attributes.routeMetadataContext',
]

const isIndifferent = (path: string) =>
  INDIFFERENT.some(name => path.startsWith(name) && /^$|^[.[]/.test(path.slice(name.length)))

const HTTP = 'attributes.request.http'

/** The same of a header in a map and in a list: of all of it, or of its parts. */
const ofHeader = (name: string, reason: string, parts = ['', '.key', '.value', '.rawValue']) =>
  Object.fromEntries(
    ['headers', 'headerMap.headers'].flatMap(headers =>
      parts.map(part => [`${HTTP}.${headers}[${name}]${part}`, reason]),
    ),
  )

const REFUSED_WITHOUT: Readonly<Record<string, string>> = {
  attributes: 'request_malformed',
  'attributes.request': 'request_malformed',
  [HTTP]: 'request_malformed',
  [`${HTTP}.method`]: 'request_malformed',
  [`${HTTP}.path`]: 'request_malformed',
  [`${HTTP}.host`]: 'policy_denied',
  [`${HTTP}.body`]: 'policy_denied',
  [`${HTTP}.rawBody`]: 'policy_denied',
  [`${HTTP}.headerMap`]: 'token_missing',
  ...ofHeader('authorization', 'token_missing'),
  ...ofHeader('content-type', 'policy_denied'),
  ...ofHeader('content-length', 'body_invalid', ['.value', '.rawValue']),
  // An empty setting is a misspelt one.
  'attributes.contextExtensions[agent_authz_mode].value': 'route_invalid',
}

/** In a list of headers what comes twice stands there twice; of all else the last counts. */
const REFUSED_TWICE: Readonly<Record<Form, Readonly<Record<string, string>>>> = {
  text: {},
  raw: {
    attributes: 'authorization_repeated',
    'attributes.request': 'authorization_repeated',
    [HTTP]: 'authorization_repeated',
    [`${HTTP}.headerMap`]: 'authorization_repeated',
    ...ofHeader('authorization', 'authorization_repeated', ['']),
    ...ofHeader('content-type', 'body_invalid', ['']),
    ...ofHeader('content-length', 'body_invalid', ['']),
  },
}

/** Bytes that are no text, where bytes may stand. */
const REFUSED_AS_BYTES: Readonly<Record<string, string>> = {
  // Shorter than its content-length says: policy sees none.
  [`${HTTP}.rawBody`]: 'policy_denied',
  ...ofHeader(':path', 'path_invalid', ['.rawValue']),
  ...ofHeader('authorization', 'token_missing', ['.rawValue']),
  ...ofHeader('content-type', 'policy_denied', ['.rawValue']),
  ...ofHeader('content-length', 'body_invalid', ['.rawValue']),
}

const NOT_UTF8 = {
  'half a surrogate pair, the first': [0xed, 0xa0, 0x80],
  'half a surrogate pair, the second': [0xed, 0xb0, 0x80],
  'both halves, each for itself': [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
  'a slash in two bytes': [0xc0, 0xaf],
  'a slash in three bytes': [0xe0, 0x80, 0xaf],
  'a character that is cut': [0xe2, 0x82],
  'the rest of a character': [0x80],
  'what is beyond Unicode': [0xf4, 0x90, 0x80, 0x80],
  'no byte of UTF-8': [0xff],
}

/** What a field holds by its wire type; a group holds nothing. */
const CONTENT: readonly Buffer[] = [
  Buffer.from([1]),
  Buffer.alloc(8, 1),
  Buffer.from('a'),
  Buffer.alloc(0),
  Buffer.alloc(0),
  Buffer.alloc(4, 1),
  Buffer.alloc(0),
  Buffer.alloc(0),
]

const holding = ({ number, type }: WireField, value: Buffer): WireField => ({ number, type, value })

describe.each<Form>(['text', 'raw'])('a request with headers and body as %s', form => {
  const good = () => completeRequest(token, form)
  const everywhere = (change: Change) => changedEverywhere(good(), change)

  it('is allowed when it is whole', async () => {
    await expectAll('policy_allowed', [['whole', good()]])
  })

  it.each<[string, (field: WireField) => WireField[]]>([
    ['is missing', () => []],
    ['is empty', field => [holding(field, Buffer.alloc(field.type === 2 ? 0 : 1))]],
  ])('is refused, or does not need it, where a field at any level %s', async (_, change) => {
    const messages = everywhere(change)
    const wanted = (path: string) =>
      REFUSED_WITHOUT[path] ?? (isIndifferent(path) ? 'policy_allowed' : 'in none of the lists')
    expect(messages.length).toBeGreaterThan(100)
    expect(await outcomes(messages)).toEqual(messages.map(([path]) => [path, wanted(path)]))
  })

  it('is refused, or is the same, where a field at any level comes twice', async () => {
    const messages = everywhere(field => [field, field])
    expect(await outcomes(messages)).toEqual(
      messages.map(([path]) => [path, REFUSED_TWICE[form][path] ?? 'policy_allowed']),
    )
  })

  it.each([
    ['method', 'GET'],
    ['path', '/v1/drafts'],
    ['host', 'sql.example.com'],
    ['body', '{"folder":"archive"}'],
  ])('is judged by its last %s, and the record says which that was', async (name, value) => {
    const last = encodeHttp({ [name]: value })
    const { id, reason } = await held.ask(Buffer.concat([good(), last]))
    expect(reason).toBe('policy_denied')
    const record = (await held.records()).find(({ decision_id }) => decision_id === id)
    if (name !== 'body') expect(record).toHaveProperty(name, value)
  })

  it('is refused where a field at any level has another wire type', async () => {
    for (const [type, content] of CONTENT.entries())
      await expectAll(
        'request_malformed',
        everywhere(field => (field.type === type ? undefined : [{ ...holding(field, content), type }])),
      )
  })

  it.each(Object.entries(NOT_UTF8))('is refused where any text in it has %s', async (_, bytes) => {
    const wrong = Buffer.from([0x61, ...bytes, 0x61])
    await expectAll(
      'request_malformed',
      everywhere((field, kind) => (kind === 'text' ? [holding(field, wrong)] : undefined)),
    )
    const messages = everywhere((field, kind) => (kind === 'bytes' ? [holding(field, wrong)] : undefined))
    expect(await outcomes(messages)).toEqual(
      messages.map(([path]) => [path, REFUSED_AS_BYTES[path] ?? 'policy_allowed']),
    )
  })

  it('is refused wherever it is cut', async () => {
    const whole = good()
    await expectAll(
      'request_malformed',
      Array.from(whole, (_, length) => [`${length} bytes`, whole.subarray(0, length)]),
    )
  })
})

/** A `google.protobuf.Struct` with this many inside it, as metadata of a filter. */
function nested(depth: number): Buffer {
  let value = write.message(2, write.message(3, Buffer.from('x')))
  for (let i = 0; i < depth; i++) value = write.message(2, write.message(5, write.message(1, value)))
  return write.message(
    11,
    write.message(1, write.message(1, Buffer.from('a')), write.message(2, write.message(1, value))),
  )
}

describe('what is no request', () => {
  it('is refused', async () => {
    await expectAll('request_malformed', [
      ['nothing', Buffer.alloc(0)],
      ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
      ['JSON', Buffer.from('{"attributes":{}}')],
      ['field 0', Buffer.from([0x00, 0x01])],
      ['a varint without end', Buffer.alloc(64, 0xff)],
      ['a length beyond the end', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])],
      ['only fields that nobody knows', write.message(99, Buffer.alloc(100))],
      ['another message', encodeRequest({ attributes: { tlsSession: { sni: 'x' } } })],
      ...Array.from({ length: 500 }, (_, size): Named => [`${size} bytes of chance`, randomBytes(size)]),
    ])
  })

  it('is refused with metadata of more levels than anybody needs', async () => {
    const good = completeRequest(token, 'text')
    const deep = (depth: number): Named => [
      `${depth}`,
      Buffer.concat([good, write.message(1, nested(depth))]),
    ]
    await expectAll('policy_allowed', [deep(60)])
    await expectAll('request_malformed', [65, 1_000, 5_000].map(deep))
  })
})

it('every answer has its record', () => held.expectRecords())
