import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { verdict } from '../../../src/decide/verdict.ts'
import { type Allow, type Deny, TRUSTED_HEADERS } from '../../../src/types.ts'

const policy = { entrypoint: 'envoy/authz/result', revision: 'r1' }
const reasons = new Set(['folder_not_allowed', 'read_by_owner'])

const decide = (result: unknown) => verdict([{ result }], policy, reasons)
function allowed(more: object): Allow {
  const decision = decide({ allowed: true, ...more })
  if (decision.outcome !== 'allow') throw new Error(`denied: ${decision.note}`)
  return decision
}
function denied(more: object): Deny {
  const decision = decide({ allowed: false, ...more })
  if (decision.outcome !== 'deny') throw new Error('allowed')
  return decision
}
const malformed = (result: unknown) => {
  const decision = decide(result)
  expect(decision).toMatchObject({ outcome: 'deny', reason: 'policy_error', status: 500, policy })
}

describe('a result', () => {
  it('of true is an allow and nothing more', () => {
    expect(decide(true)).toEqual({
      outcome: 'allow',
      reason: 'policy_allowed',
      headers: [],
      responseHeaders: [],
      requestHeadersToRemove: [],
      queryToSet: [],
      queryToRemove: [],
      metadata: {},
      policy,
    })
    expect(decide({ allowed: true })).toEqual(decide(true))
  })

  it('of false is a refusal', () => {
    const refusal = {
      outcome: 'deny',
      reason: 'policy_denied',
      status: 403,
      headers: [],
      metadata: {},
      policy,
    }
    expect(decide(false)).toEqual(refusal)
    expect(decide({ allowed: false })).toEqual(refusal)
  })

  it('that is undefined is a refusal of its own', () => {
    expect(verdict([], policy, reasons)).toMatchObject({
      outcome: 'deny',
      reason: 'policy_undefined',
      status: 403,
      policy,
    })
  })

  it.each([
    null,
    0,
    1,
    '',
    'true',
    [],
    [true],
    {},
    { allow: true },
    { allowed: null },
    { allowed: 'true' },
    { allowed: 1 },
  ])('of %j is an error', result => malformed(result))

  it.each([
    [[{ result: true }, { result: true }]],
    [undefined],
    [null],
    [true],
    [{ result: true }],
    [[true]],
    [[null]],
    [[{}]],
    [[[]]],
  ])('set of %j is an error', set => {
    expect(verdict(set, policy, reasons)).toMatchObject({
      outcome: 'deny',
      reason: 'policy_error',
      status: 500,
    })
  })

  it('may have keys that mean nothing', () => {
    expect(allowed({ id_token: 1, allow: false, status_code: 'x', constructor: null })).toEqual(decide(true))
  })

  it.each(['approval', 'credential', 'limits'])(
    'with the obligation %s is an error, since nobody would fulfil it',
    key => {
      for (const value of [{}, null, false])
        for (const outcome of [true, false]) malformed({ allowed: outcome, [key]: value })
    },
  )
})

describe.each(['headers', 'response_headers_to_add'])('%s of an allow', key => {
  const read = (value: unknown) => {
    const { headers, responseHeaders } = allowed({ [key]: value })
    return key === 'headers' ? headers : responseHeaders
  }

  it('may be texts, lists of texts, or a list of objects', () => {
    expect(read({ 'X-A': '1', 'x-b': ['2', '3'], 'x-c': [] })).toEqual([
      ['x-a', '1'],
      ['x-b', '2'],
      ['x-b', '3'],
    ])
    expect(read([{ 'x-a': '1' }, { 'x-a': ['2'] }, {}])).toEqual([
      ['x-a', '1'],
      ['x-a', '2'],
    ])
    expect(read([])).toEqual([])
    expect(read({ 'x-a': '', 'x-b': 'a\tb é 😀' })).toEqual([
      ['x-a', ''],
      ['x-b', 'a\tb é 😀'],
    ])
  })

  it.each([
    null,
    'x',
    1,
    true,
    { a: null },
    { a: 1 },
    { a: [1] },
    { a: [['x']] },
    { a: {} },
    ['x'],
    [null],
    [[{ a: 'x' }]],
  ])('are an error as %j', value => malformed({ allowed: true, [key]: value }))

  it.each(['', ' ', 'a b', 'a:', ':path', ':authority', 'host', 'HOST', 'é', 'a\r', 'a\n', 'a\0', '"a"'])(
    'may not have the name %j',
    name => malformed({ allowed: true, [key]: { [name]: '1' } }),
  )

  it.each(['a\r\nb: c', '\n', '\0', 'a\u007f', '\u001b', '\ud800'])('may not have the value %j', value => {
    malformed({ allowed: true, [key]: { a: value } })
    malformed({ allowed: true, [key]: { a: ['ok', value] } })
  })
})

const spellings = TRUSTED_HEADERS.flatMap(name => [
  name,
  name.toUpperCase(),
  name.replaceAll('-', '_'),
  name.replace('-', '_'),
])

describe('a trusted header', () => {
  it.each(spellings)('is not for policy to name: %s', name => {
    malformed({ allowed: true, headers: { [name]: 'x' } })
    malformed({ allowed: true, headers: [{ a: 'x' }, { [name]: ['x'] }] })
    malformed({ allowed: true, response_headers_to_add: { [name]: 'x' } })
    malformed({ allowed: true, request_headers_to_remove: ['a', name] })
    malformed({ allowed: false, headers: { [name]: 'x' } })
  })
})

describe('request_headers_to_remove', () => {
  it('are names, in lower case', () => {
    expect(allowed({ request_headers_to_remove: ['X-A', 'cookie'] }).requestHeadersToRemove).toEqual([
      'x-a',
      'cookie',
    ])
  })

  it.each([null, 'foo', {}, [1], [null], [['a']], ['a b'], ['host'], [':path'], ['']])(
    'are an error as %j',
    value => malformed({ allowed: true, request_headers_to_remove: value }),
  )
})

describe('query parameters', () => {
  it('may be set, several times too, and removed', () => {
    const decision = allowed({
      query_parameters_to_set: { q: ['1', '2'], r: 'a=b' },
      query_parameters_to_remove: ['z'],
    })
    expect(decision.queryToSet).toEqual([
      ['q', '1'],
      ['q', '2'],
      ['r', 'a=b'],
    ])
    expect(decision.queryToRemove).toEqual(['z'])
  })

  it.each([
    null,
    [],
    [{ a: 'b' }],
    { a: 1 },
    { a: 'b&c=d' },
    { a: 'b#c' },
    { a: 'b c' },
    { a: '\r\n' },
    { a: 'é' },
    { 'a=b': 'c' },
    { 'a&': '' },
  ])('are not set as %j', value => malformed({ allowed: true, query_parameters_to_set: value }))

  it.each([null, 'a', {}, [1]])('are not removed as %j', value =>
    malformed({ allowed: true, query_parameters_to_remove: value }),
  )
})

describe('http_status of a refusal', () => {
  const accepted = [
    100, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401,
    402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424,
    425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
  ]

  it('is one of those that are known, and no other', () => {
    for (let status = -1; status <= 1000; status++)
      if (accepted.includes(status)) expect(denied({ http_status: status }).status).toBe(status)
      else malformed({ allowed: false, http_status: status })
  })

  it.each([null, '403', 403.5, true, [403]])('is an error as %j', value =>
    malformed({ allowed: false, http_status: value }),
  )
})

describe('a refusal', () => {
  it('may have headers and a body', () => {
    expect(denied({ headers: { 'X-Why': ['a', 'b'] }, body: 'no', http_status: 418 })).toMatchObject({
      headers: [
        ['x-why', 'a'],
        ['x-why', 'b'],
      ],
      body: 'no',
      status: 418,
    })
    expect(denied({ body: '' }).body).toBe('')
    expect(denied({})).not.toHaveProperty('body')
  })

  it.each([null, 1, {}, ['no']])('has no body such as %j', body => malformed({ allowed: false, body }))

  it('may name the scope that would do', () => {
    const decision = denied({ challenge: { scope: 'read:mail write:mail' } })
    expect(decision).toMatchObject({
      reason: 'insufficient_scope',
      status: 403,
      challengeScope: 'read:mail write:mail',
    })
    expect(denied({ challenge: { scope: 'a' }, reason: 'folder_not_allowed' }).reason).toBe(
      'folder_not_allowed',
    )
    expect(denied({ challenge: { scope: 'a' }, reason: 'ask me' })).toMatchObject({
      reason: 'insufficient_scope',
      note: 'ask me',
    })
  })

  it.each([
    null,
    'a',
    {},
    { scope: '' },
    { scope: 1 },
    { scope: ['a'] },
    { scope: 'a  b' },
    { scope: ' a' },
    { scope: 'a"b' },
    { scope: 'a\\' },
    { scope: 'a\r\nb' },
    { scope: 'é' },
  ])('has no challenge such as %j', challenge => malformed({ allowed: false, challenge }))
})

describe('a reason', () => {
  it('that is listed is the code, of an allow too', () => {
    expect(denied({ reason: 'folder_not_allowed' })).toMatchObject({
      reason: 'folder_not_allowed',
      status: 403,
    })
    expect(allowed({ reason: 'read_by_owner' }).reason).toBe('read_by_owner')
    expect(denied({ reason: 'folder_not_allowed' })).not.toHaveProperty('note')
  })

  it('that is not listed is a note, one of ours included', () => {
    for (const reason of ['Alice said no', 'token_expired', 'policy_allowed', '', 'constructor']) {
      expect(denied({ reason })).toMatchObject({ reason: 'policy_denied', note: reason })
      expect(allowed({ reason })).toMatchObject({ reason: 'policy_allowed', note: reason })
    }
  })

  it('is cut to 256 bytes, and no character in two', () => {
    expect(denied({ reason: 'a'.repeat(300) }).note).toBe('a'.repeat(256))
    expect(denied({ reason: `a${'é'.repeat(200)}` }).note).toBe(`a${'é'.repeat(127)}`)
    expect(denied({ reason: `abc${'😀'.repeat(100)}` }).note).toBe(`abc${'😀'.repeat(63)}`)
  })

  it.each([null, 1, ['x'], {}])('is an error as %j', reason => {
    malformed({ allowed: true, reason })
    malformed({ allowed: false, reason })
  })
})

describe('dynamic_metadata', () => {
  it('is handed on with either outcome', () => {
    expect(allowed({ dynamic_metadata: { a: [1, null] } }).metadata).toEqual({ a: [1, null] })
    expect(denied({ dynamic_metadata: { a: { b: 'c' } } }).metadata).toEqual({ a: { b: 'c' } })
  })

  it.each([null, 123, 'x', [], true])('is an error as %j', value => {
    malformed({ allowed: true, dynamic_metadata: value })
    malformed({ allowed: false, dynamic_metadata: value })
  })

  const nested = (depth: number): unknown =>
    depth === 0 ? 'x' : depth % 2 ? { a: nested(depth - 1) } : [nested(depth - 1)]

  it('may be nested 32 deep, and is an error deeper: Envoy could not read the answer', () => {
    expect(allowed({ dynamic_metadata: nested(31) }).metadata).toEqual(nested(31))
    malformed({ allowed: true, dynamic_metadata: nested(33) })
    malformed({ allowed: false, dynamic_metadata: nested(33) })
  })

  it.each([{ a: Number.POSITIVE_INFINITY }, { a: [Number.NaN] }, { a: '\ud800' }, { '\udc00': 1 }])(
    'is an error as %o, which has no place in an answer',
    value => {
      malformed({ allowed: true, dynamic_metadata: value })
      malformed({ allowed: false, dynamic_metadata: value })
    },
  )
})

describe('keys that do not bear on the outcome', () => {
  it('are not looked at', () => {
    expect(allowed({ body: 1, http_status: 'x', challenge: 1 })).toEqual(decide(true))
    expect(
      denied({
        response_headers_to_add: 1,
        request_headers_to_remove: 1,
        query_parameters_to_set: 1,
        query_parameters_to_remove: 1,
      }),
    ).toEqual(decide(false))
  })
})

const RELEVANT = [
  'headers',
  'response_headers_to_add',
  'request_headers_to_remove',
  'query_parameters_to_set',
  'query_parameters_to_remove',
  'reason',
  'dynamic_metadata',
] as const
const texts = fc.oneof(fc.string(), fc.constantFrom('x-agent-id', 'X_Agent_Id', 'host', 'x-a', 'a\r\nb'))
const values = fc.oneof(
  fc.jsonValue(),
  texts,
  fc.array(texts),
  fc.dictionary(texts, fc.oneof(texts, fc.array(texts))),
  fc.array(fc.dictionary(texts, texts)),
)
const result = fc.oneof(
  fc.jsonValue(),
  fc.record(
    { allowed: fc.constantFrom<unknown>(true, true, true, false, 'true', 1, null) },
    { requiredKeys: [] },
  ),
  fc
    .tuple(
      fc.constantFrom<unknown>(true, true, true, false, 'true'),
      fc.dictionary(
        fc.constantFrom(...RELEVANT, 'body', 'http_status', 'approval', 'limits', 'other'),
        values,
        { maxKeys: 2 },
      ),
    )
    .map(([is, more]) => ({ ...more, allowed: is })),
)

/** Said anew, from what a policy author is told. */
function deservesAllow(value: unknown): boolean {
  if (value === true) return true
  if (!object(value) || value.allowed !== true) return false
  if ('approval' in value || 'credential' in value || 'limits' in value) return false
  const has = (key: (typeof RELEVANT)[number]) => Object.hasOwn(value, key)
  const header = ([name, text]: [string, string]) =>
    headerName(name) &&
    text.isWellFormed() &&
    [...text].every(c => c === '\t' || (c >= ' ' && c !== '\u007f'))
  const fieldsOf = (given: unknown): [string, string][] | undefined => {
    if (!object(given)) return undefined
    const all = Object.entries(given).flatMap(([name, one]) => [one].flat().map(text => [name, text]))
    return all.every(([, text]) => typeof text === 'string') ? (all as [string, string][]) : undefined
  }
  const headers = (given: unknown) =>
    (Array.isArray(given) ? given : [given]).every(one => fieldsOf(one)?.every(header))
  const names = (given: unknown) => Array.isArray(given) && given.every(name => typeof name === 'string')
  return (
    (!has('headers') || headers(value.headers)) &&
    (!has('response_headers_to_add') || headers(value.response_headers_to_add)) &&
    (!has('request_headers_to_remove') ||
      (names(value.request_headers_to_remove) &&
        (value.request_headers_to_remove as string[]).every(headerName))) &&
    (!has('query_parameters_to_set') ||
      fieldsOf(value.query_parameters_to_set)?.every(
        ([name, text]) => /^[!-~]*$/.test(name + text) && !/[&#]/.test(name + text) && !name.includes('='),
      ) === true) &&
    (!has('query_parameters_to_remove') || names(value.query_parameters_to_remove)) &&
    (!has('reason') || typeof value.reason === 'string') &&
    (!has('dynamic_metadata') || object(value.dynamic_metadata))
  )
}

function headerName(name: string): boolean {
  const seen = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
  return (
    /^[\w!#$%&'*+.^`|~-]+$/.test(name) &&
    seen !== 'host' &&
    !(TRUSTED_HEADERS as readonly string[]).includes(seen)
  )
}

function object(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

describe('no allow without a complete positive decision', () => {
  it('holds for whatever a policy gives', () => {
    let allows = 0
    fc.assert(
      fc.property(result, given => {
        const { outcome } = decide(given)
        if (outcome === 'allow') allows++
        expect(outcome).toBe(deservesAllow(given) ? 'allow' : 'deny')
      }),
      { numRuns: 2000 },
    )
    expect(allows).toBeGreaterThan(50)
  })

  it('holds for whatever is no result set of one', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.array(fc.record({ result }), { minLength: 2 })), set => {
        expect(verdict(set, policy, reasons).outcome).toBe('deny')
      }),
    )
  })
})
