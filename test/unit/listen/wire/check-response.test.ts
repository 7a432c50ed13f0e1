import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeCheckResponse, PREPARED_REFUSAL } from '../../../../src/listen/wire/check-response.ts'
import { Reader } from '../../../../src/listen/wire/reader.ts'
import type { AllowReply, DenyReply, Field, Json, JsonObject, Reply } from '../../../../src/types.ts'
import { responseOf } from './oracle.ts'

const OK = 0
const PERMISSION_DENIED = 7
const [STATUS, DENIED_RESPONSE, OK_RESPONSE, DYNAMIC_METADATA] = [1, 2, 3, 4]

const allow: AllowReply = {
  kind: 'allow',
  headers: [['x-agent-id', 'mail-summary']],
  headersToRemove: ['authorization'],
  responseHeaders: [['x-trace', 't-1']],
  queryToSet: [['tenant', 'blue']],
  queryToRemove: ['debug'],
  metadata: { outcome: 'allow' },
}
const deny: DenyReply = {
  kind: 'deny',
  status: 403,
  headers: [['content-type', 'application/json']],
  body: '{"error":"policy_denied"}',
  metadata: { outcome: 'deny' },
}
/** Every field that either kind could want, so that only `kind` decides. */
const both = { ...deny, ...allow }

function encode(reply: unknown): { bytes: Buffer; faults: unknown[] } {
  const faults: unknown[] = []
  const bytes = encodeCheckResponse(reply as Reply, fault => faults.push(fault))
  return { bytes, faults }
}

function encodeWell(reply: Reply): Buffer {
  const { bytes, faults } = encode(reply)
  expect(faults).toEqual([])
  return bytes
}

function fieldsOf(bytes: Buffer): number[] {
  const reader = new Reader(bytes)
  const fields: number[] = []
  for (let next = reader.next(); next; next = reader.next()) {
    fields.push(next.field)
    reader.skip(next.type)
  }
  return fields
}

/** As Envoy would take it: code 0 lets through, and nothing else does. */
function expectRefusal(bytes: Buffer): void {
  const { status, okResponse, deniedResponse } = responseOf(bytes)
  expect(status.code).toBe(PERMISSION_DENIED)
  expect(okResponse).toBeUndefined()
  expect(deniedResponse).toBeDefined()
  expect(fieldsOf(bytes)).toEqual([STATUS, DENIED_RESPONSE, DYNAMIC_METADATA])
}

function expectPrepared(reply: unknown): void {
  const { bytes, faults } = encode(reply)
  expectRefusal(bytes)
  expect(bytes).toBe(PREPARED_REFUSAL)
  expect(faults).toHaveLength(1)
}

const option = (key: string, value: string, append: boolean) => ({
  header: { key, value },
  append: { value: append },
  appendAction: append ? 0 : 2,
})

describe('an allow', () => {
  it('has code 0 and ok_response', () => {
    const bytes = encodeWell(allow)
    expect(responseOf(bytes)).toEqual({
      status: { code: OK },
      okResponse: {
        headers: [option('x-agent-id', 'mail-summary', false)],
        headersToRemove: ['authorization'],
        responseHeadersToAdd: [option('x-trace', 't-1', true)],
        queryParametersToSet: [{ key: 'tenant', value: 'blue' }],
        queryParametersToRemove: ['debug'],
      },
      dynamicMetadata: { outcome: 'allow' },
    })
    expect(fieldsOf(bytes)).toEqual([STATUS, OK_RESPONSE, DYNAMIC_METADATA])
  })

  it('says so in the same way with nothing to change', () => {
    const nothing = {
      headers: [],
      headersToRemove: [],
      responseHeaders: [],
      queryToSet: [],
      queryToRemove: [],
    }
    const bytes = encodeWell({ kind: 'allow', ...nothing, metadata: {} })
    expect(responseOf(bytes)).toEqual({ status: { code: OK }, okResponse: {}, dynamicMetadata: {} })
    expect(fieldsOf(bytes)).toEqual([STATUS, OK_RESPONSE, DYNAMIC_METADATA])
    expect(bytes.toString('hex')).toBe('0a0208001a002200')
  })

  it('overwrites with the first of a name and appends its repetitions, however they are spelt', () => {
    const headers: Field[] = [
      ['x-a', '1'],
      ['x-b', '2'],
      ['X-A', '3'],
      ['x-a', '4'],
    ]
    expect(responseOf(encodeWell({ ...allow, headers })).okResponse).toMatchObject({
      headers: [
        option('x-a', '1', false),
        option('x-b', '2', false),
        option('x-a', '3', true),
        option('x-a', '4', true),
      ],
    })
  })

  it('may have text of any language in a value', () => {
    for (const value of ['', ' ', '\t', '~', 'é', '\u0080', '日本', '😀', '\ufeff'])
      expect(responseOf(encodeWell({ ...allow, headers: [['x-a', value]] })).okResponse).toMatchObject({
        headers: [option('x-a', value, false)],
      })
  })

  it('may name a header by every sign of a token', () => {
    const name = "!#$%&'*+.^_`|~0-9az"
    const { okResponse } = responseOf(encodeWell({ ...allow, headersToRemove: [name, name.toUpperCase()] }))
    expect(okResponse).toMatchObject({ headersToRemove: [name, name.toUpperCase()] })
  })
})

describe('a refusal', () => {
  it('has another code and denied_response', () => {
    const bytes = encodeWell(deny)
    expect(responseOf(bytes)).toEqual({
      status: { code: PERMISSION_DENIED },
      deniedResponse: {
        status: { code: 403 },
        headers: [option('content-type', 'application/json', false)],
        body: '{"error":"policy_denied"}',
      },
      dynamicMetadata: { outcome: 'deny' },
    })
    expect(fieldsOf(bytes)).toEqual([STATUS, DENIED_RESPONSE, DYNAMIC_METADATA])
  })

  it('overwrites with every value of a repeated name: of a refusal Envoy sends no other', () => {
    const headers: Field[] = [
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ]
    expect(responseOf(encodeWell({ ...deny, headers })).deniedResponse).toMatchObject({
      headers: [option('set-cookie', 'a=1', false), option('set-cookie', 'b=2', false)],
    })
  })

  it.each([100, 200, 401, 403, 429, 503, 599])(
    'may have the status %i, and is a refusal all the same',
    status => {
      const bytes = encodeWell({ ...deny, status })
      expectRefusal(bytes)
      expect(responseOf(bytes).deniedResponse).toMatchObject({ status: { code: status } })
    },
  )

  it('may have no body', () => {
    expectRefusal(encodeWell({ ...deny, body: '' }))
  })
})

it('the prepared refusal is one', () => {
  expectRefusal(PREPARED_REFUSAL)
  expect(responseOf(PREPARED_REFUSAL)).toEqual({
    status: { code: PERMISSION_DENIED },
    deniedResponse: {
      status: { code: 500 },
      headers: [option('content-type', 'application/json', false)],
      body: '{"error":"internal_error"}',
    },
    dynamicMetadata: { outcome: 'deny', reason: 'internal_error' },
  })
})

const name = fc.string({ unit: fc.constantFrom('x', 'X', 'a', '-', '_', '9'), minLength: 1, maxLength: 4 })
const value = fc.string({ unit: 'binary' }).map(text => text.replace(/[^\t\x20-\x7e\x80-\u{10ffff}]/gu, ''))
const anyText = fc.string({ unit: 'binary' })
const headers = fc.array(fc.tuple(name, value), { maxLength: 6 })
const metadata = fc.dictionary(anyText, fc.jsonValue({ maxDepth: 4 })) as fc.Arbitrary<JsonObject>
const anyAllow: fc.Arbitrary<AllowReply> = fc.record({
  kind: fc.constant('allow' as const),
  headers,
  headersToRemove: fc.array(name),
  responseHeaders: headers,
  queryToSet: fc.array(fc.tuple(anyText, anyText)),
  queryToRemove: fc.array(anyText),
  metadata,
})
const anyDeny: fc.Arbitrary<DenyReply> = fc.record({
  kind: fc.constant('deny' as const),
  status: fc.integer({ min: 100, max: 599 }),
  headers,
  body: anyText,
  metadata,
})

type Options = { header: { key: string; value: string }; append: { value: boolean }; appendAction: number }[]

describe('any reply', () => {
  it('that allows is read back by protobufjs as it was meant', () => {
    fc.assert(
      fc.property(anyAllow, reply => {
        const bytes = encodeWell(reply)
        const { status, okResponse, deniedResponse, dynamicMetadata } = responseOf(bytes)
        const read = okResponse as { [name: string]: unknown }
        const options = (read.headers ?? []) as Options
        expect(fieldsOf(bytes)).toEqual([STATUS, OK_RESPONSE, DYNAMIC_METADATA])
        expect(status).toEqual({ code: OK })
        expect(deniedResponse).toBeUndefined()
        expect(dynamicMetadata).toEqual(reply.metadata)
        expect(options.map(({ header }) => [header.key, header.value])).toEqual(
          reply.headers.map(([key, text]) => [key.toLowerCase(), text]),
        )
        options.forEach(({ header, append, appendAction }, i) => {
          const again = options.slice(0, i).some(earlier => earlier.header.key === header.key)
          expect({ append, appendAction }).toEqual({ append: { value: again }, appendAction: again ? 0 : 2 })
        })
        expect(read.headersToRemove ?? []).toEqual(reply.headersToRemove)
        expect(read.responseHeadersToAdd ?? []).toEqual(
          reply.responseHeaders.map(([key, text]) => option(key, text, true)),
        )
        expect(read.queryParametersToSet ?? []).toEqual(
          reply.queryToSet.map(([key, text]) => ({ key, value: text })),
        )
        expect(read.queryParametersToRemove ?? []).toEqual(reply.queryToRemove)
      }),
      { numRuns: 300 },
    )
  })

  it('that refuses is read back by protobufjs as it was meant', () => {
    fc.assert(
      fc.property(anyDeny, reply => {
        const bytes = encodeWell(reply)
        expectRefusal(bytes)
        const { deniedResponse, dynamicMetadata } = responseOf(bytes)
        const { status, headers = [], body = '' } = deniedResponse as { [name: string]: unknown }
        expect({ status, headers, body, dynamicMetadata }).toEqual({
          status: { code: reply.status },
          headers: reply.headers.map(([key, text]) => option(key, text, false)),
          body: reply.body,
          dynamicMetadata: reply.metadata,
        })
      }),
      { numRuns: 300 },
    )
  })
})

/** Deeper than Envoy reads, and deeper than a stack is. */
function nested(depth: number): JsonObject {
  let inner: Json = 1
  for (let i = 0; i < depth; i++) inner = { a: inner }
  return inner as unknown as JsonObject
}

const cyclic: { [key: string]: unknown } = {}
cyclic.self = cyclic
const throwing = Object.defineProperty({}, 'a', {
  enumerable: true,
  get() {
    throw new Error('a getter that throws')
  },
})

const NO_TEXT = [
  undefined,
  null,
  0,
  1,
  true,
  ['x'],
  {},
  Buffer.from('x'),
  new String('x'),
  { toString: () => 'x' },
]
const NO_LIST = [
  undefined,
  null,
  0,
  true,
  'x-a',
  '',
  {},
  { length: 1, 0: 'x-a' },
  new Set(['x-a']),
  Buffer.from('x'),
  { map: () => [] },
]
const NO_NAME = [
  '',
  'x a',
  'x:',
  ':path',
  'x\r\n',
  'x\n',
  'x\u0000',
  'x\t',
  'é',
  'x\u007f',
  'x,',
  'x"',
  '\ud800',
]
const NO_VALUE = ['a\r\nx-b: 1', '\n', '\r', '\u0000', '\u001f', '\u007f', '\ud800', 'a\udc00']
const NO_NAMES = [
  ...NO_TEXT.map(text => [text]),
  ...NO_NAME.map(text => [text]),
  new Array(1),
  ['x-a', undefined],
]
const NO_PAIRS = [
  ...NO_LIST.map(field => [field]),
  ...NO_TEXT.flatMap(text => [[['x-a', text]], [[text, '1']]]),
  ['xa'],
  [{ length: 2, [Symbol.iterator]: () => ['x-a', '1'].values() }],
  [[]],
  [['x-a']],
  [['x-a', '1', '2']],
  [{ 0: 'x-a', 1: '1' }],
  [['x-a', '1'], ['x-b']],
  [new Array(2)],
  new Array(1),
]
const NO_HEADERS = [
  ...NO_PAIRS,
  ...NO_NAME.map(text => [[text, '1']]),
  ...NO_VALUE.map(text => [['x-a', text]]),
]
const HALF_SURROGATES = ['\ud800', 'a\udc00b']
const NO_METADATA = [
  ...[
    undefined,
    null,
    0,
    true,
    'a',
    [],
    [['a', 1]],
    new Map([['a', 1]]),
    new Date(0),
    new String('a'),
    () => 1,
  ],
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].flatMap(item => [
    { a: item },
    { a: [{ b: item }] },
  ]),
  ...[undefined, () => 1, Symbol('a'), 1n, new Date(0), new Map(), new Number(1), '\ud800'].flatMap(item => [
    { a: item },
    { a: [item] },
  ]),
  { '\ud800': 1 },
  { a: new Array(1) },
  cyclic,
  { a: [cyclic] },
  throwing,
  { a: throwing },
  nested(33),
  nested(100),
  nested(100_000),
]

const MALFORMED: { [field: string]: readonly unknown[] } = {
  headers: [...NO_LIST, ...NO_HEADERS],
  headersToRemove: [...NO_LIST, ...NO_NAMES],
  responseHeaders: [...NO_LIST, ...NO_HEADERS],
  queryToSet: [...NO_LIST, ...NO_PAIRS, ...HALF_SURROGATES.flatMap(half => [[[half, '1']], [['a', half]]])],
  queryToRemove: [
    ...NO_LIST,
    ...NO_TEXT.map(text => [text]),
    ...HALF_SURROGATES.map(half => [half]),
    new Array(1),
  ],
  metadata: NO_METADATA,
  status: [
    ...[undefined, null, true, '403', [403], {}, new Number(403), 403n, Number.NaN, Number.POSITIVE_INFINITY],
    ...[-1, 0, 7, 99, 600, 1_000, 403.5, 2 ** 32, 2 ** 32 + 403, -403],
  ],
  body: [...NO_TEXT, ...HALF_SURROGATES],
}
const fieldsOfKind = (reply: Reply) => Object.keys(reply).filter(field => field !== 'kind')

describe.each([
  ['an allow', allow],
  ['a refusal', deny],
] as [string, Reply][])('%s that is malformed', (_, good) => {
  it.each(fieldsOfKind(good))('in %s is the prepared refusal, and told', field => {
    const values = MALFORMED[field] ?? []
    expect(values.length).toBeGreaterThan(10)
    for (const bad of values) expectPrepared({ ...good, [field]: bad })
  })

  it.each(fieldsOfKind(good))('for want of %s is the prepared refusal, and told', field => {
    const { [field]: _gone, ...rest } = good as unknown as { [field: string]: unknown }
    expectPrepared(rest)
  })

  it.each(['kind', ...fieldsOfKind(good)])('in that %s throws is the prepared refusal, and told', field => {
    const fault = new Error('a getter that throws')
    const reply = Object.defineProperty({ ...good }, field, {
      get() {
        throw fault
      },
    })
    expectPrepared(reply)
    expect(encode(reply).faults).toEqual([fault])
  })

  it('in anything at all is never an allow', () => {
    const corruption = fc.constantFrom(...fieldsOfKind(good)).chain(field =>
      fc.record({
        field: fc.constant(field),
        bad: fc.constantFrom(...(MALFORMED[field] ?? [])),
      }),
    )
    fc.assert(
      fc.property(good.kind === 'allow' ? anyAllow : anyDeny, corruption, (reply, { field, bad }) => {
        expectPrepared({ ...reply, [field]: bad })
      }),
      { numRuns: 300 },
    )
  })
})

describe('a kind', () => {
  const others: unknown[] = [
    'Allow',
    'ALLOW',
    'allow ',
    ' allow',
    'allowed',
    '',
    'ok',
    '\u0430llow',
    true,
    0,
    1,
    null,
    undefined,
    ['allow'],
    new String('allow'),
    { toString: () => 'allow' },
    { [Symbol.toPrimitive]: () => 'allow' },
    Symbol.for('allow'),
  ]
  it.each(others)('%o is no allow, though all else is there', kind => {
    const { bytes } = encode({ ...both, kind })
    expectRefusal(bytes)
    expectPrepared({ ...allow, kind })
  })

  it('that is not there is no allow', () => {
    const { kind: _, ...rest } = both
    expectRefusal(encode(rest).bytes)
  })
})

describe('what is no reply', () => {
  it.each([
    undefined,
    null,
    true,
    0,
    1,
    'allow',
    '',
    [],
    ['allow'],
    {},
    () => allow,
    Symbol('allow'),
    new Map(),
  ])('%o is the prepared refusal, and told', reply => {
    expectPrepared(reply)
  })

  it('is a refusal, whatever it is', () => {
    const anything = fc.anything({
      key: fc.oneof(fc.constantFrom(...Object.keys(both)), fc.string()),
      values: [
        fc.constantFrom('allow', 'deny', 403),
        fc.string(),
        fc.double(),
        fc.boolean(),
        fc.constant(null),
      ],
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSparseArray: true,
    })
    fc.assert(
      fc.property(anything, reply => {
        const { bytes, faults } = encode(reply)
        expectRefusal(bytes)
        expect(faults).toHaveLength(bytes === PREPARED_REFUSAL ? 1 : 0)
      }),
      { numRuns: 2_000 },
    )
  })

  it('is the prepared refusal, and told, where every question to it throws', () => {
    const throws = () => {
      throw new Error('a trap')
    }
    expectPrepared(new Proxy({ ...allow }, { get: throws }))
    expectPrepared({ ...allow, headers: new Proxy([], { get: throws }) })
    expectPrepared({ ...allow, metadata: new Proxy({}, { ownKeys: throws }) })
    expectPrepared({ ...allow, metadata: new Proxy({}, { getPrototypeOf: throws }) })
    const { proxy, revoke } = Proxy.revocable({ ...allow }, {})
    revoke()
    expectPrepared(proxy)
  })
})

describe('a reply that is another at every look', () => {
  /** Each property is the next of its values whenever it is read. */
  function changing(values: { [field: string]: readonly unknown[] }): unknown {
    const reads: { [field: string]: number } = {}
    return new Proxy(
      {},
      {
        get(_, field: string) {
          const all = values[field] ?? []
          const read = reads[field] ?? 0
          reads[field] = read + 1
          return all[read % all.length]
        },
      },
    )
  }
  const steady = Object.fromEntries(Object.entries(both).map(([field, known]) => [field, [known]]))

  it('has the code of the answer that it carries', () => {
    for (const kind of [
      ['deny', 'allow'],
      ['allow', 'deny'],
      ['Allow', 'allow'],
      ['allow', 'Allow'],
      [undefined, 'allow'],
    ]) {
      const { bytes, faults } = encode(changing({ ...steady, kind }))
      expect(faults).toEqual([])
      const { status, okResponse } = responseOf(bytes)
      expect(status.code === OK).toBe(okResponse !== undefined)
      if (kind[0] !== 'allow') expectRefusal(bytes)
    }
  })

  it('has a status that was looked at', () => {
    const status = [403, 700, -1, 0]
    const { bytes } = encode(changing({ ...steady, kind: ['deny'], status }))
    expectRefusal(bytes)
    expect([403, 500]).toContain(
      (responseOf(bytes).deniedResponse as { status: { code: number } }).status.code,
    )
  })

  it('is whole where it allows, and refuses otherwise', () => {
    const fields = fieldsOfKind(allow)
    const states = fc.record(
      Object.fromEntries(
        fields.map(field => {
          const state = fc.constantFrom<unknown>(
            both[field as keyof typeof both],
            ...(MALFORMED[field] ?? []),
          )
          return [field, fc.array(state, { minLength: 1, maxLength: 3 })]
        }),
      ),
    )
    fc.assert(
      fc.property(states, given => {
        const { bytes, faults } = encode(changing({ ...steady, ...given, kind: ['allow'] }))
        if (faults.length === 0) expect(responseOf(bytes)).toEqual(responseOf(encodeWell(allow)))
        else expectRefusal(bytes)
      }),
      { numRuns: 500 },
    )
  })
})
