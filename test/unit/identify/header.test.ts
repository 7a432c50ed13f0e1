import { describe, expect, it } from 'vitest'
import { checkHeader, HEADER_RULES, mediaType } from '../../../src/identify/header.ts'
import type { JsonObject } from '../../../src/types.ts'
import { settings } from './issuer.ts'

describe('the header', () => {
  const header = (changes: object, issuer = {}) =>
    checkHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'k1', ...changes } as JsonObject, settings(issuer))

  it('gives algorithm and kid', () => {
    expect(header({})).toEqual({ alg: 'ES256', kid: 'k1' })
  })

  it.each([
    'none',
    'None',
    'nOnE',
    'none ',
    'es256',
    'ES256 ',
    'HS256',
    'RSA1_5',
    'ES384',
    '',
    1,
    null,
    ['ES256'],
    {},
  ])('is refused with alg %j', alg => {
    expect(() => header({ alg })).toThrow('token_algorithm')
  })

  it('is refused without alg', () => {
    expect(() => checkHeader({ typ: 'at+jwt' }, settings())).toThrow('token_algorithm')
  })

  it.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/At+JWT', 'JWT', 'jwt', 'application/jwt'])(
    'may have typ %j',
    typ => {
      expect(header({ typ })).toMatchObject({ alg: 'ES256' })
    },
  )

  it.each([
    '',
    'logout+jwt',
    'secevent+jwt',
    'dpop+jwt',
    'txntoken+jwt',
    'oauth-id-jag+jwt',
    'text/jwt',
    'at+jwt ',
    1,
    null,
  ])('is refused with typ %j', typ => {
    expect(() => header({ typ })).toThrow('token_type')
  })

  it('is refused without typ', () => {
    expect(() => checkHeader({ alg: 'ES256' }, settings())).toThrow('token_type')
  })

  it('is compared in the same way where the setting has the longer form', () => {
    expect(header({ typ: 'at+jwt' }, { types: ['application/at+jwt'] })).toMatchObject({ kid: 'k1' })
    expect(() => header({ typ: 'JWT' }, { types: ['application/at+jwt'] })).toThrow('token_type')
  })

  it.each([
    ['crit', ['b64']],
    ['crit', []],
    ['crit', ['exp']],
    ['crit', null],
    ['crit', 'b64'],
    ['b64', false],
    ['b64', true],
  ])('is refused with %s %j', (name, value) => {
    expect(() => header({ [name]: value })).toThrow('token_critical_header')
  })

  it.each([1, null, {}, ['k1']])('is refused with kid %j', kid => {
    expect(() => header({ kid })).toThrow('token_malformed')
  })

  it.each([
    ['token_critical_header', { crit: ['exp'], alg: 'none', typ: 'x', kid: 1 }],
    ['token_algorithm', { alg: 'none', typ: 'x', kid: 1 }],
    ['token_type', { typ: 'x', kid: 1 }],
  ])('is refused by the first rule that does not hold: %s', (reason, changes) => {
    expect(() => header(changes)).toThrow(reason)
  })

  it('needs no kid', () => {
    expect(header({ kid: undefined })).toMatchObject({ alg: 'ES256', kid: undefined })
  })

  it('has no say about keys', () => {
    const named = { jwk: {}, jku: 'https://mallory.example.com', x5u: 'x', x5c: [], x5t: 'x' }
    expect(header(named)).toEqual({ alg: 'ES256', kid: 'k1' })
  })
})

describe('a media type', () => {
  it.each([
    ['JWT', 'application/jwt'],
    ['at+jwt', 'application/at+jwt'],
    ['Application/AT+JWT', 'application/at+jwt'],
    ['text/jwt', 'text/jwt'],
    ['', 'application/'],
  ])('%j is %j', (typ, type) => {
    expect(mediaType(typ)).toBe(type)
  })
})

it('every rule has a name of its own, and says where it is written', () => {
  expect(new Set(HEADER_RULES.map(({ name }) => name)).size).toBe(HEADER_RULES.length)
  for (const { section } of HEADER_RULES) expect(section).toMatch(/^(RFC \d{4}|BCP 225), \d/)
})
