import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeCheckRequest } from '../../../../src/listen/wire/check-request.ts'
import { Reader } from '../../../../src/listen/wire/reader.ts'
import * as write from '../../../../src/listen/wire/writer.ts'
import type { Json } from '../../../../src/types.ts'
import { attributesOf, encodeHttp, encodeRequest } from './oracle.ts'
import { outcome } from './outcome.ts'

const MOST_BYTES = 4 * 1024 * 1024
const vectors = join(import.meta.dirname, '../../../vectors/wire')
const recordings = readdirSync(vectors)
  .filter(name => name.endsWith('.bin'))
  .map(name => [name, readFileSync(join(vectors, name))] as const)

/** A CheckRequest with these fields of HttpRequest, in protobufjs's own form. */
const encoded = (http: object = {}) => encodeHttp({ method: 'GET', path: '/', ...http })
const decoded = (http?: object) => decodeCheckRequest(encoded(http))
const judge = (message: Uint8Array) => decodeCheckRequest(message).assertJudgeable()

/** Everything that can be asked of a request that could be read. */
function askAll(bytes: Buffer): void {
  const request = decodeCheckRequest(bytes)
  request.body()
  for (const name of request.headerNames) request.header(name)
  JSON.stringify(request.attributes)
  request.assertJudgeable()
}

describe('any CheckRequest', () => {
  const text = fc.string({ unit: 'binary', maxLength: 12 })
  const bytes = fc.uint8Array({ maxLength: 12 }).map(array => Buffer.from(array))
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
  const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
  const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)
  const some = <T>(shape: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(shape, { requiredKeys: [] })
  const texts = fc.dictionary(text, text, { maxKeys: 4 })
  const struct = fc.dictionary(text, fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 }).map(structOf)
  const metadata = some({
    filterMetadata: fc.dictionary(text, struct, { maxKeys: 3 }),
    typedFilterMetadata: fc.dictionary(text, some({ type_url: text, value: bytes }), { maxKeys: 3 }),
  })
  const socket = { protocol: fc.oneof(fc.constantFrom(0, 1), int32), address: text, resolverName: text }
  const address = fc.oneof(
    some({ socketAddress: some({ ...socket, ipv4Compat: fc.boolean(), portValue: uint32 }) }),
    some({ socketAddress: some({ ...socket, namedPort: text }) }),
    some({ pipe: some({ path: text, mode: uint32 }) }),
    some({ envoyInternalAddress: some({ serverListenerName: text, endpointId: text }) }),
  )
  const peer = some({ address, service: text, labels: texts, principal: text, certificate: text })
  const header = some({ key: text, value: text, rawValue: bytes })
  const http = some({
    id: text,
    method: text,
    headers: texts,
    path: text,
    host: text,
    scheme: text,
    query: text,
    fragment: text,
    size: int64,
    protocol: text,
    body: text,
    rawBody: bytes,
    headerMap: some({ headers: fc.array(header, { maxLength: 4 }) }),
  })
  const attributes = some({
    source: peer,
    destination: peer,
    request: some({ time: some({ seconds: int64, nanos: int32 }), http }),
    contextExtensions: texts,
    metadataContext: metadata,
    tlsSession: some({ sni: text }),
    routeMetadataContext: metadata,
  })

  it('is read as protobufjs reads it, and judged only with a method and a path', () => {
    fc.assert(
      fc.property(attributes, given => {
        const message = encodeRequest({ attributes: given })
        const complete = Boolean(given.request?.http?.method && given.request.http.path)
        expect(decodeCheckRequest(message).attributes).toEqual(attributesOf(message) ?? {})
        expect(outcome(() => judge(message))).toBe(complete ? 'read' : 'request_malformed')
      }),
      { numRuns: 300 },
    )
  })

  it('that has a method and a path is read as protobufjs reads it', () => {
    const named = fc.tuple(attributes, http).map(([given, fields]) => ({
      ...given,
      request: { ...given.request, http: { ...fields, method: 'GET', path: '/' } },
    }))
    fc.assert(
      fc.property(named, given => {
        const message = encodeRequest({ attributes: given })
        const request = decodeCheckRequest(message)
        expect(request.attributes).toEqual(attributesOf(message))
        expect(request.contextExtensions).toEqual(given.contextExtensions ?? {})
        expect(request.host).toBe(given.request.http.host ?? '')
      }),
      { numRuns: 300 },
    )
  })

  it('has its headers by name, whichever form they came in', () => {
    const name = fc.string({ unit: fc.constantFrom('a', 'B', 'é', '-', ':', '_'), maxLength: 3 })
    const list = fc.array(fc.tuple(name, text, fc.constantFrom('value', 'rawValue')), { maxLength: 8 })
    fc.assert(
      fc.property(fc.dictionary(name, text), list, (headers, listed) => {
        const request = decoded({
          headers,
          headerMap: {
            headers: listed.map(([key, value, form]) => ({
              key,
              [form]: form === 'value' ? value : Buffer.from(value),
            })),
          },
        })
        const all = [...Object.entries(headers), ...listed].map(([key, value]) => [key.toLowerCase(), value])
        expect(request.headerNames.toSorted()).toEqual([...new Set(all.map(([key]) => key))].toSorted())
        for (const known of request.headerNames) {
          const values = all.filter(([key]) => key === known).map(([, value]) => value)
          expect(request.header(known).toSorted()).toEqual(values.toSorted())
        }
      }),
      { numRuns: 300 },
    )
  })
})

/** Plain JSON as the loader takes a `google.protobuf.Struct`. */
function structOf(value: object): object {
  return { fields: Object.fromEntries(Object.entries(value).map(([key, item]) => [key, structValue(item)])) }
}

function structValue(value: Json): object {
  if (value === null) return { nullValue: 0 }
  if (Array.isArray(value)) return { listValue: { values: value.map(structValue) } }
  if (typeof value === 'object') return { structValue: structOf(value) }
  return { [`${typeof value === 'boolean' ? 'bool' : typeof value}Value`]: value }
}

describe('a request', () => {
  it('says method, path and host as they were received', () => {
    expect(decoded({ method: 'pOsT', path: '/a%2F../b?c=d#e', host: 'MAIL.example.com:443' })).toMatchObject({
      method: 'pOsT',
      path: '/a%2F../b?c=d#e',
      host: 'MAIL.example.com:443',
    })
  })

  it('may have no host and no context extensions', () => {
    const { host, contextExtensions } = decoded()
    expect(host).toBe('')
    expect(contextExtensions).toEqual({})
  })

  it('has the context extensions of its route', () => {
    const message = encodeRequest({
      attributes: { request: { http: { method: 'GET', path: '/' } }, contextExtensions: { a: '1', b: '' } },
    })
    expect(decodeCheckRequest(message).contextExtensions).toEqual({ a: '1', b: '' })
  })

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['empty attributes', encodeRequest({ attributes: {} })],
    ['an empty request', encodeRequest({ attributes: { request: {} } })],
    ['an empty HTTP request', encodeHttp({})],
    ['no method', encodeHttp({ path: '/' })],
    ['an empty method', encoded({ method: '' })],
    ['no path', encodeHttp({ method: 'GET' })],
    ['an empty path', encoded({ path: '' })],
    ['fields that are not known only', write.text(99, 'GET /')],
  ])('is read, and not judged, with %s', (_, message) => {
    expect(outcome(() => decodeCheckRequest(message))).toBe('read')
    expect(outcome(() => judge(message))).toBe('request_malformed')
  })

  it('is read from the place where its bytes are, and no further', () => {
    const message = encoded({ host: 'a' })
    const pool = Buffer.concat([Buffer.from('before'), message, write.text(99, 'behind')])
    const view = new Uint8Array(pool.buffer, pool.byteOffset + 6, message.length)
    expect(decodeCheckRequest(view)).toMatchObject({ method: 'GET', host: 'a' })
  })

  it('is what both halves say where it comes in two', () => {
    const other = encodeHttp({ host: 'b', path: '/b' })
    expect(decodeCheckRequest(Buffer.concat([encoded({ host: 'a' }), other]))).toMatchObject({
      method: 'GET',
      path: '/b',
      host: 'b',
    })
  })
})

describe('the headers', () => {
  const raw = (...headers: [key: string, value: string | Buffer][]) => ({
    headerMap: { headers: headers.map(([key, value]) => ({ key, rawValue: Buffer.from(value) })) },
  })

  it('are known by their lower-case name, as a map', () => {
    const request = decoded({ headers: { 'X-A': '1', 'x-b': '', ':path': '/' } })
    expect(request.headerNames.toSorted()).toEqual([':path', 'x-a', 'x-b'])
    expect(request.header('x-a')).toEqual(['1'])
    expect(request.header('x-b')).toEqual([''])
  })

  it('are known by their lower-case name, as a list with repetitions in order', () => {
    const request = decoded(raw(['x-a', '1'], ['x-b', '2'], ['X-A', '3'], ['x-a', '']))
    expect(request.headerNames).toEqual(['x-a', 'x-b'])
    expect(request.header('x-a')).toEqual(['1', '3', ''])
  })

  it('may be listed as text, as bytes or with nothing', () => {
    const headers = [{ key: 'a', value: 'é' }, { key: 'a', rawValue: Buffer.from('é') }, { key: 'a' }, {}]
    const request = decoded({ headerMap: { headers } })
    expect(request.header('a')).toEqual(['é', 'é', ''])
    expect(request.header('')).toEqual([''])
  })

  it('show as repeated where both forms name them', () => {
    const request = decoded({
      headers: { authorization: 'Bearer a', 'x-a': '1' },
      ...raw(['Authorization', 'Bearer a'], ['x-b', '2']),
    })
    expect(request.header('authorization')).toEqual(['Bearer a', 'Bearer a'])
    expect(request.headerNames.toSorted()).toEqual(['authorization', 'x-a', 'x-b'])
  })

  it('show as repeated where a map spells one in two ways', () => {
    expect(
      decoded({ headers: { Authorization: 'a', authorization: 'b' } }).header('authorization'),
    ).toHaveLength(2)
  })

  it.each(['x-a', 'constructor', '__proto__', 'toString', ''])('have no %j that was not sent', name => {
    expect(decoded().header(name)).toEqual([])
  })

  it('may have names that mean something to JavaScript', () => {
    const headers = JSON.parse('{"__proto__":"1","constructor":"2"}') as object
    const request = decoded({ headers, ...raw(['__proto__', '3']) })
    expect(request.header('__proto__')).toEqual(['1', '3'])
    expect(request.header('constructor')).toEqual(['2'])
  })

  it.each([
    ['UTF-8', 'café', 'café'],
    ['UTF-8 with a byte order mark', '\ufeffa', '\ufeffa'],
    ['Latin-1', Buffer.from('caf\xe9', 'latin1'), 'caf\xe9'],
    ['both', Buffer.from([0xc3, 0xa9, 0xe9]), '\xc3\xa9\xe9'],
    ['any byte', Buffer.from([0x00, 0x7f, 0x80, 0xff]), '\u0000\u007f\u0080\u00ff'],
    ['half a surrogate pair', Buffer.from([0xed, 0xa0, 0x80]), '\xed\xa0\x80'],
  ])('have raw values of %s', (_, value, text) => {
    expect(decoded(raw(['x-a', value])).header('x-a')).toEqual([text])
  })

  it('are refused with a path that is not UTF-8', () => {
    const latin1 = decoded(raw([':path', Buffer.from('/caf\xe9', 'latin1')]))
    expect(outcome(latin1.assertJudgeable)).toBe('path_invalid')
    expect(outcome(decoded(raw([':path', '/café'])).assertJudgeable)).toBe('read')
    expect(decoded(raw([':path', '/café'])).header(':path')).toEqual(['/café'])
  })

  it('and fields are at most 262,144 in one message, known or not', () => {
    // Field 99, wire type 0: three bytes.
    const unknown = (count: number) => Buffer.from('980600'.repeat(count), 'hex')
    expect(outcome(() => decodeCheckRequest(unknown(262_144)))).toBe('read')
    expect(outcome(() => decodeCheckRequest(unknown(262_145)))).toBe('request_malformed')
  })

  const many = (count: number) => Array.from({ length: count }, (_, i) => [`x-${i}`, ''] as [string, string])
  const same = (count: number) => many(count).map(() => ['x-a', ''] as [string, string])
  it.each([
    ['1,000 in a map', { headers: Object.fromEntries(many(1_000)) }, 'read'],
    ['1,001 in a map', { headers: Object.fromEntries(many(1_001)) }, 'request_too_large'],
    ['1,000 in a list', raw(...many(1_000)), 'read'],
    ['1,001 in a list', raw(...many(1_001)), 'request_too_large'],
    ['1,001 of one name', raw(...same(1_001)), 'request_too_large'],
    ['500 and 500', { headers: Object.fromEntries(many(500)), ...raw(...many(500)) }, 'read'],
    ['500 and 501', { headers: Object.fromEntries(many(500)), ...raw(...many(501)) }, 'request_too_large'],
  ])('are at most 1,000: %s', (_, http, wanted) => {
    expect(outcome(decoded(http).assertJudgeable)).toBe(wanted)
  })
})

describe('the body', () => {
  it.each([
    ['none', {}, '', 0],
    ['empty', { body: '', rawBody: Buffer.alloc(0) }, '', 0],
    ['text', { body: '{"a":"é"}' }, '{"a":"é"}', 10],
    ['text with a byte order mark', { body: '\ufeff{}' }, '\ufeff{}', 5],
    ['bytes', { rawBody: Buffer.from('{"a":"é"}') }, '{"a":"é"}', 10],
    ['bytes with a byte order mark', { rawBody: Buffer.from('\ufeff{}') }, '\ufeff{}', 5],
    ['bytes that are no text', { rawBody: Buffer.from([0x00, 0xff, 0xfe, 0x41]) }, '\u0000\ufffd\ufffdA', 4],
    ['text beside bytes', { body: 'a', rawBody: Buffer.from('bcd') }, 'a', 1],
  ])('is %s', (_, http, text, bytes) => {
    expect(decoded(http).body()).toEqual({ text, bytes })
  })
})

describe('a message', () => {
  const sized = (size: number) => {
    const message = encoded()
    return Buffer.concat([message, write.message(99, Buffer.alloc(size - message.length - 6))])
  }

  it('is at most 4 MiB', () => {
    expect(sized(MOST_BYTES)).toHaveLength(MOST_BYTES)
    expect(outcome(() => judge(sized(MOST_BYTES)))).toBe('read')
    expect(outcome(() => judge(sized(MOST_BYTES + 1)))).toBe('request_too_large')
  })

  it('over 4 MiB is read all the same, but for its body: the settings of its route hold, and its record is whole', () => {
    const contextExtensions = { agent_authz_mode: 'enforce' }
    const http = { method: 'POST', path: '/a', host: 'h', headers: { x_agent_id: '1' } }
    for (const body of [{ body: 'a'.repeat(MOST_BYTES) }, { rawBody: Buffer.alloc(MOST_BYTES) }]) {
      const request = decodeCheckRequest(
        encodeRequest({ attributes: { contextExtensions, request: { http: { ...http, ...body } } } }),
      )
      expect(request).toMatchObject({ method: 'POST', path: '/a', host: 'h', contextExtensions })
      expect(request.headerNames).toEqual(['x_agent_id'])
      expect(request.body()).toEqual({ text: '', bytes: 0 })
      expect(outcome(request.assertJudgeable)).toBe('request_too_large')
    }
  })

  it('is refused with text that is not UTF-8, wherever it stands', () => {
    const message = encoded({ host: '(host)', headers: { '(name)': '(value)' }, body: '(body)' })
    for (const mark of ['(host)', '(name)', '(value)', '(body)']) {
      const broken = Buffer.from(message)
      broken[broken.indexOf(mark)] = 0xff
      expect(outcome(() => decodeCheckRequest(broken))).toBe('request_malformed')
    }
  })

  it('that is no protobuf is refused or read, and throws nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), array => {
        expect(outcome(() => askAll(Buffer.from(array)))).toMatch(/^(read|request_malformed|path_invalid)$/)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('there are recordings to break', () => {
  it('of several kinds', () => {
    expect(recordings.length).toBeGreaterThan(5)
  })
})

describe.each(recordings)('%s', (_, message) => {
  const reader = new Reader(message)
  reader.next()
  const attributes = reader.bytes()

  it('is refused wherever it is cut', () => {
    for (let length = 0; length < message.length; length++)
      expect(outcome(() => askAll(message.subarray(0, length)))).toBe('request_malformed')
  })

  it('is refused or read as protobufjs reads it where its attributes are cut', () => {
    expect(write.message(1, attributes)).toEqual(message)
    for (let length = 0; length < attributes.length; length++) {
      const cut = write.message(1, attributes.subarray(0, length))
      if (outcome(() => decodeCheckRequest(cut)) === 'read')
        expect(decodeCheckRequest(cut).attributes).toEqual(attributesOf(cut) ?? {})
      else expect(outcome(() => decodeCheckRequest(cut))).toBe('request_malformed')
    }
  })

  it('is refused or read, and throws nothing else, with any bytes changed, taken out or put in', () => {
    const change = fc.record({
      at: fc.nat(message.length - 1),
      out: fc.nat(2),
      put: fc.uint8Array({ maxLength: 2 }),
    })
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), changes => {
        let broken = message
        for (const { at, out, put } of changes)
          broken = Buffer.concat([broken.subarray(0, at), put, broken.subarray(at + out)])
        expect(outcome(() => askAll(broken))).toMatch(/^(read|request_malformed|path_invalid)$/)
      }),
      { numRuns: 200 },
    )
  })

  it('is refused or read, and throws nothing else, with any one bit flipped', () => {
    for (let at = 0; at < message.length; at++) {
      const broken = Buffer.from(message)
      broken[at] = (message[at] as number) ^ (1 << (at % 8))
      expect(outcome(() => askAll(broken))).toMatch(/^(read|request_malformed|path_invalid)$/)
    }
  })
})
