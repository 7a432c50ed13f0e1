import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { heldRequestFromProtojson } from '../../../src/listen/protojson.ts'
import { Unusable } from '../../../src/unusable.ts'

const http = (fields: object) => ({ request: { http: { method: 'GET', path: '/', ...fields } } })
const json = (attributes: object) => JSON.stringify({ attributes })
const attributesOf = (attributes: object) => heldRequestFromProtojson(json(attributes)).attributes
const httpOf = (fields: object) => attributesOf(http(fields)).request
const read = (fields: object) => ({ http: { method: 'GET', path: '/', ...fields } })

/** What the person is told; anything but an Unusable fails the test. */
function complaint(text: string): string {
  try {
    heldRequestFromProtojson(text)
  } catch (error) {
    if (error instanceof Unusable) return error.message
    throw error
  }
  return 'read'
}
const complaintOf = (attributes: object) => complaint(json(attributes))

/** The attributes with one value at a place of dots, in a request that is else complete. */
function at(place: string, value: unknown): object {
  const [first = '', ...rest] = place.split('.')
  const build = (names: string[]): unknown => {
    const [name, ...more] = names
    return name === undefined ? value : { [name]: build(more) }
  }
  return { ...http({}), [first]: build(rest) }
}

describe('a request in protojson', () => {
  it('is read over the same bytes as Envoy’s', () => {
    const text = `{
      "attributes": {
        "source": {
          "address": {"socketAddress": {"protocol": "UDP", "address": "10.0.0.7", "portValue": 48910}},
          "labels": {"zone": "b"},
          "principal": "spiffe://example.com/agents/planner"
        },
        "destination": {"address": {"pipe": {"path": "/run/a.sock", "mode": 384}}},
        "request": {
          "time": "2026-09-21T14:13:20.000000005Z",
          "http": {
            "method": "POST", "path": "/v1/search?q=a", "host": "mail.example.com", "size": "7",
            "headers": {":method": "POST", "X-Empty": ""}, "rawBody": "eyJhIjoxfQ=="
          }
        },
        "contextExtensions": {"agent_authz_mode": "observe"},
        "metadataContext": {
          "filterMetadata": {"claims": {"exp": 1.5, "aud": ["a", null], "nested": {"yes": true}}},
          "typedFilterMetadata": {"typed": {"typeUrl": "type.googleapis.com/x", "value": "CAc="}}
        },
        "tlsSession": {"sni": "mail.example.com"},
        "routeMetadataContext": {}
      }
    }`
    const request = heldRequestFromProtojson(text)
    const { attributes } = JSON.parse(text) as { attributes: { [key: string]: object } }
    expect(request.attributes).toEqual({
      ...attributes,
      source: {
        ...attributes.source,
        address: { socketAddress: { protocol: 1, address: '10.0.0.7', portValue: 48910 } },
      },
      request: {
        time: { seconds: 1_790_000_000, nanos: 5 },
        http: { ...(attributes.request as { http: object }).http, size: 7 },
      },
    })
    expect(request).toMatchObject({ method: 'POST', path: '/v1/search?q=a', host: 'mail.example.com' })
    expect(request.header('x-empty')).toEqual([''])
    expect(request.body()).toEqual({ text: '{"a":1}', bytes: 7 })
    expect(request.contextExtensions).toEqual({ agent_authz_mode: 'observe' })
  })

  it('may list its headers, repetitions and bytes included', () => {
    const headers = [
      { key: 'x-a', value: '1' },
      { key: 'x-a', rawValue: Buffer.from('caf\xe9', 'latin1').toString('base64') },
    ]
    const request = heldRequestFromProtojson(json(http({ headerMap: { headers } })))
    expect(request.header('x-a')).toEqual(['1', 'caf\xe9'])
  })

  it('may be named in snake_case, and both ways at once', () => {
    const snake = {
      source: { address: { socket_address: { address: 'a', port_value: 1, ipv4_compat: true } } },
      ...http({ raw_body: 'YQ==', header_map: { headers: [{ key: 'x-a', raw_value: 'MQ==' }] } }),
      context_extensions: { snake_key: 'x' },
      metadataContext: {
        filter_metadata: { snake_key: { other_key: 1 } },
        typed_filter_metadata: { snake_key: { type_url: 'u' } },
      },
    }
    expect(attributesOf(snake)).toEqual({
      source: { address: { socketAddress: { address: 'a', portValue: 1, ipv4Compat: true } } },
      request: read({ rawBody: 'YQ==', headerMap: { headers: [{ key: 'x-a', rawValue: 'MQ==' }] } }),
      contextExtensions: { snake_key: 'x' },
      metadataContext: {
        filterMetadata: { snake_key: { other_key: 1 } },
        typedFilterMetadata: { snake_key: { typeUrl: 'u' } },
      },
    })
  })

  it('may say null for what is absent', () => {
    const given = {
      ...http({ host: null, headers: null, headerMap: null, size: null, rawBody: null }),
      source: null,
    }
    expect(attributesOf(given)).toEqual({ request: read({}) })
    expect(attributesOf({ ...http({}), request: { ...http({}).request, time: null } })).toEqual({
      request: read({}),
    })
  })

  it('keeps a null inside a struct, which is a value there', () => {
    const metadataContext = { filterMetadata: { a: { b: null, c: [null] } } }
    expect(attributesOf({ ...http({}), metadataContext })).toEqual({ request: read({}), metadataContext })
  })

  it('keeps keys that mean something to JavaScript', () => {
    const request = heldRequestFromProtojson(
      `{"attributes":{"request":{"http":{"method":"GET","path":"/","headers":{"__proto__":"1","constructor":"2"}}},
        "metadataContext":{"filterMetadata":{"__proto__":{"__proto__":{"a":1}}}}}}`,
    )
    expect(request.header('__proto__')).toEqual(['1'])
    expect(request.header('constructor')).toEqual(['2'])
    expect(JSON.stringify(request.attributes.metadataContext)).toBe(
      '{"filterMetadata":{"__proto__":{"__proto__":{"a":1}}}}',
    )
  })
})

describe('an integer', () => {
  it.each([
    ['request.http.size', 7, 7],
    ['request.http.size', '7', 7],
    ['request.http.size', -7, -7],
    ['request.http.size', '-9223372036854775808', -(2 ** 63)],
    ['request.http.size', '9223372036854775807', 2 ** 63],
    ['request.http.size', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ['source.address.pipe.mode', 4_294_967_295, 4_294_967_295],
    ['source.address.pipe.mode', '4294967295', 4_294_967_295],
    ['source.address.socketAddress.portValue', '80', 80],
  ])('%s may be %j', (place, value, wanted) => {
    const parts = place.split('.')
    const given = place.startsWith('request') ? http({ size: value }) : at(place, value)
    const found = parts.reduce(
      (inside: unknown, name) => (inside as { [name: string]: unknown })[name],
      attributesOf(given),
    )
    expect(found).toBe(wanted)
  })

  it.each([
    '9223372036854775808',
    '-9223372036854775809',
    2 ** 53,
    0.5,
    '0.5',
    '1e3',
    '',
    ' 7',
    '+7',
    '0x7',
    true,
    [],
    {},
  ])('of 64 bits cannot be %j', value => {
    expect(complaintOf(http({ size: value }))).toBe(
      'request.attributes.request.http.size: must be a 64-bit integer',
    )
  })

  it.each([-1, 2 ** 32, '4294967296', '-1', 0.5, '', 'a', false, []])(
    'of 32 bits, unsigned, cannot be %j',
    value => {
      expect(complaintOf(at('source.address.pipe.mode', value))).toBe(
        'request.attributes.source.address.pipe.mode: must be a 32-bit unsigned integer',
      )
    },
  )
})

describe('an enum', () => {
  const place = 'source.address.socketAddress.protocol'
  it.each([
    ['UDP', { protocol: 1 }],
    [1, { protocol: 1 }],
    [99, { protocol: 99 }],
    [-1, { protocol: -1 }],
    ['TCP', {}],
    [0, {}],
  ])('may be %j', (value, wanted) => {
    expect(attributesOf(at(place, value)).source).toEqual({ address: { socketAddress: wanted } })
  })

  it.each(['udp', 'SCTP', '', '1', 2 ** 31, 0.5, true, [], {}])('cannot be %j', value => {
    expect(complaintOf(at(place, value))).toBe(`request.attributes.${place}: must be one of TCP, UDP`)
  })
})

describe('text, bytes and booleans', () => {
  it.each([1, true, [], {}, '\ud800'])('a text cannot be %j', value => {
    const place = 'request.attributes.request.http'
    expect(complaintOf(http({ host: value }))).toBe(`${place}.host: must be a text`)
    expect(complaintOf(http({ headers: { 'x-a': value } }))).toBe(`${place}.headers.x-a: must be a text`)
  })

  it.each(['', 'YQ==', 'AP/+', 'YWI='])('bytes may be %j', value => {
    expect(httpOf({ rawBody: value })).toEqual(read(value ? { rawBody: value } : {}))
  })

  it.each(['a', 'YQ= =', 'YQ==\n', '!', 'é', 1, true, [97], {}])('bytes cannot be %j', value => {
    expect(complaintOf(http({ rawBody: value }))).toBe(
      'request.attributes.request.http.rawBody: must be bytes in base64',
    )
  })

  it.each([0, 1, 'true', '', [], {}])('a boolean cannot be %j', value => {
    const place = 'source.address.socketAddress.ipv4Compat'
    expect(complaintOf(at(place, value))).toBe(`request.attributes.${place}: must be true or false`)
  })
})

describe('a time', () => {
  const time = (value: unknown) => ({ request: { ...http({}).request, time: value } })

  it.each([
    ['2026-09-21T14:13:20Z', { seconds: 1_790_000_000 }],
    ['2026-09-21T14:13:20.5Z', { seconds: 1_790_000_000, nanos: 500_000_000 }],
    ['2026-09-21T14:13:20.000000001Z', { seconds: 1_790_000_000, nanos: 1 }],
    ['2026-09-21T14:13:20.123456789Z', { seconds: 1_790_000_000, nanos: 123_456_789 }],
    ['2026-09-21T16:13:20+02:00', { seconds: 1_790_000_000 }],
    ['2026-09-21T08:43:20.25-05:30', { seconds: 1_790_000_000, nanos: 250_000_000 }],
    ['1970-01-01T00:00:00Z', {}],
    ['1969-12-31T23:59:59.5Z', { seconds: -1, nanos: 500_000_000 }],
    ['2024-02-29T23:59:59Z', { seconds: 1_709_251_199 }],
    ['9999-12-31T23:59:59.999999999Z', { seconds: 253_402_300_799, nanos: 999_999_999 }],
  ])('%s is read', (value, wanted) => {
    expect(attributesOf(time(value)).request).toEqual({ ...read({}), time: wanted })
  })

  it.each([
    '',
    'now',
    '2026-09-21',
    '2026-09-21T14:13:20',
    '2026-09-21 14:13:20Z',
    '2026-09-21T14:13Z',
    '2026-09-21t14:13:20z',
    '2026-09-21T14:13:20.Z',
    '2026-09-21T14:13:20.1234567890Z',
    '2026-09-21T14:13:20+0200',
    '2026-09-21T14:13:20+24:00',
    '2026-13-21T14:13:20Z',
    '2026-00-21T14:13:20Z',
    '2026-09-31T14:13:20Z',
    '2026-02-30T14:13:20Z',
    '2026-02-29T14:13:20Z',
    '2026-09-00T14:13:20Z',
    '2026-09-21T24:00:00Z',
    '2026-09-21T14:60:20Z',
    '2026-09-21T14:13:60Z',
    ' 2026-09-21T14:13:20Z',
    '2026-09-21T14:13:20Z\n',
    1_790_000_000,
    true,
    [],
    { seconds: 1_790_000_000 },
  ])('cannot be %j', value => {
    expect(complaintOf(time(value))).toBe(
      'request.attributes.request.time: must be a time such as 2026-01-31T12:00:00Z',
    )
  })
})

describe('what is unknown', () => {
  it.each([
    ['request', '{"attribute":{}}', 'attribute', 'attributes'],
    ['request', '{"__proto__":{}}', '__proto__', 'attributes'],
    ['request', '{"constructor":{}}', 'constructor', 'attributes'],
    ['request.attributes', '{"attributes":{"tlsSesion":{}}}', 'tlsSesion', 'source, destination, request, '],
    ['request.attributes.request.http', json(http({ Method: 'x' })), 'Method', 'id, method, headers, path, '],
    ['request.attributes.request.http', json(http({ _method: 'x' })), '_method', 'id, method, '],
    ['request.attributes.request.http', json(http({ raw__body: 'x' })), 'raw__body', 'id, method, '],
    [
      'request.attributes.request.http.headerMap.headers[1]',
      json(http({ headerMap: { headers: [{}, { name: 'x' }] } })),
      'name',
      'key, value, rawValue',
    ],
    [
      'request.attributes.metadataContext.typedFilterMetadata.a',
      json(at('metadataContext.typedFilterMetadata.a', { '@type': 'x' })),
      '@type',
      'typeUrl, value',
    ],
    ['request.attributes.source.address', json(at('source.address.ip', {})), 'ip', 'socketAddress, pipe, '],
  ])('in %s is named, with what is known there', (place, text, key, known) => {
    expect(complaint(text)).toContain(`${place}.${key}: unknown; known here: ${known}`)
  })

  it('is named by the spelling that was given', () => {
    expect(complaintOf({ context_extension: {} })).toMatch(/^request\.attributes\.context_extension: unknown/)
    expect(complaintOf(http({ raw_body: 1 }))).toMatch(/^request\.attributes\.request\.http\.raw_body: /)
  })
})

describe('what is of another shape', () => {
  const shapes = [1, true, 'x', []]
  it.each([
    'source',
    'source.labels',
    'contextExtensions',
    'metadataContext',
    'tlsSession',
    'source.address.pipe',
  ])('%s is an object', place => {
    for (const value of shapes)
      expect(complaintOf(at(place, value))).toBe(`request.attributes.${place}: must be an object`)
  })

  it.each(['filterMetadata', 'filterMetadata.a', 'typedFilterMetadata.a'])(
    '%s in a map is an object',
    name => {
      for (const value of [...shapes, ...(name.includes('.') ? [null] : [])])
        expect(complaintOf(at(`metadataContext.${name}`, value))).toBe(
          `request.attributes.metadataContext.${name}: must be an object`,
        )
    },
  )

  it('a list is a list, and its members are objects', () => {
    const place = 'request.attributes.request.http.headerMap.headers'
    for (const value of [1, true, 'x', {}])
      expect(complaintOf(http({ headerMap: { headers: value } }))).toBe(`${place}: must be a list`)
    for (const value of [...shapes, null])
      expect(complaintOf(http({ headerMap: { headers: [{}, value] } }))).toBe(
        `${place}[1]: must be an object`,
      )
  })

  it.each(['null', '1', '"x"', '[]', 'true'])('the request itself is an object: %s', text => {
    expect(complaint(text)).toBe('request: must be an object')
  })

  it.each(['', '{', "{'attributes':{}}", '{"attributes":{}} x', '\ufeff{}', 'attributes: {}'])(
    'the request itself is JSON: %j',
    text => {
      expect(complaint(text)).toMatch(/^the request is not JSON; it is a CheckRequest in protojson: /)
    },
  )

  const nested = (depth: number, open: string, close: string) =>
    `{"attributes":{"request":{"http":{"method":"GET","path":"/"}},"metadataContext":{"filterMetadata":{"a":{"b":${open.repeat(
      depth - 1,
    )}1${close.repeat(depth - 1)}}}}}}`
  it.each([
    ['objects', '{"c":', '}'],
    ['lists', '[', ']'],
  ])('a struct is at most 48 %s deep', (_, open, close) => {
    const text = nested(48, open, close)
    const { attributes } = JSON.parse(text) as { attributes: object }
    expect(heldRequestFromProtojson(text).attributes).toEqual(attributes)
    for (const depth of [49, 100, 50_000])
      expect(complaint(nested(depth, open, close))).toBe(
        'request.attributes.metadataContext.filterMetadata.a: is nested over 48 deep',
      )
  })
})

describe('what Envoy’s bytes would be refused for', () => {
  it.each([
    ['no attributes', '{}', 'request_malformed'],
    ['empty attributes', '{"attributes":{}}', 'request_malformed'],
    ['no method', json({ request: { http: { path: '/' } } }), 'request_malformed'],
    ['a method that is null', json(http({ method: null })), 'request_malformed'],
    ['no path', json({ request: { http: { method: 'GET' } } }), 'request_malformed'],
    [
      'a path that is not UTF-8',
      json(http({ headerMap: { headers: [{ key: ':path', rawValue: '/w==' }] } })),
      'path_invalid',
    ],
    [
      'too many headers',
      json(http({ headers: Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`x-${i}`, ''])) })),
      'request_too_large',
    ],
  ])('is taken, and refused when it is judged: %s', (_, text, reason) => {
    const { assertJudgeable } = heldRequestFromProtojson(text)
    expect(assertJudgeable).toThrow(Denied)
    expect(assertJudgeable).toThrow(reason)
  })
})

describe('no message holds a value', () => {
  const SECRET = 's3cr3t-value'
  const wrongValues = [SECRET, [SECRET], { headers: SECRET }, `${SECRET}\ud800`]
  const places = [
    'source',
    'source.address.socketAddress.protocol',
    'source.address.socketAddress.portValue',
    'source.address.socketAddress.ipv4Compat',
    'source.principal',
    'source.labels',
    'source.labels.a',
    'request',
    'request.time',
    'request.http',
    'request.http.size',
    'request.http.rawBody',
    'request.http.headerMap.headers',
    'metadataContext.filterMetadata.a',
    'metadataContext.typedFilterMetadata.a.value',
    'unknown',
    'request.http.unknown',
  ]
  it.each(places)('at %s', place => {
    const complaints = wrongValues.map(value => complaintOf(at(place, value)))
    expect(complaints.some(message => message !== 'read')).toBe(true)
    for (const message of complaints) expect(message).not.toContain(SECRET)
  })

  it('where the text is no JSON', () => {
    for (const text of [SECRET, `{"${SECRET}`, `{"attributes":${SECRET}}`])
      expect(complaint(text)).not.toContain(SECRET)
  })
})

describe('what was recorded of Envoy', () => {
  const folder = join(import.meta.dirname, '../../vectors/wire')
  const names = readdirSync(folder).filter(name => name.endsWith('.json'))

  it.each(names)('%s is read alike from its protojson', name => {
    const attributes = JSON.parse(readFileSync(join(folder, name), 'utf8'))
    const { seconds, nanos } = attributes.request.time as { seconds: number; nanos: number }
    const whole = new Date(seconds * 1000).toISOString().slice(0, -'.000Z'.length)
    const time = `${whole}.${String(nanos).padStart(9, '0')}Z`
    expect(attributesOf({ ...attributes, request: { ...attributes.request, time } })).toEqual(attributes)
  })
})
