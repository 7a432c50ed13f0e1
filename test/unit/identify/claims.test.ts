import { describe, expect, it } from 'vitest'
import { checkClaims, checkHeader } from '../../../src/identify/claims.ts'
import type { JsonObject } from '../../../src/types.ts'
import { claims, NOW, settings } from './issuer.ts'

const check = (changes: object = {}, { issuer = {} }: { issuer?: object } = {}) =>
  checkClaims(claims(changes) as JsonObject, settings(issuer), NOW * 1000)

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

  it('has no say about keys', () => {
    const named = { jwk: {}, jku: 'https://mallory.example.com', x5u: 'x', x5c: [], x5t: 'x' }
    expect(header(named)).toEqual({ alg: 'ES256', kid: 'k1' })
  })
})

describe('the claims', () => {
  it('are right', () => {
    expect(() => check()).not.toThrow()
  })

  const SKEW = 30
  it.each([
    ['exp', NOW - SKEW + 1, undefined],
    ['exp', NOW - SKEW, 'token_expired'],
    ['exp', 0, 'token_expired'],
    ['nbf', NOW + SKEW, undefined],
    ['nbf', NOW + SKEW + 1, 'token_not_yet_valid'],
    ['iat', NOW + SKEW, undefined],
    ['iat', NOW + SKEW + 1, 'token_not_yet_valid'],
    ['exp', undefined, 'claim_missing'],
    ['nbf', undefined, undefined],
    ['exp', NOW + 200.5, undefined],
    ...['exp', 'nbf', 'iat'].flatMap(name =>
      [`${NOW}`, null, -1, Number.POSITIVE_INFINITY, [NOW], {}, true].map(
        value => [name, value, 'claim_invalid'] as [string, unknown, string],
      ),
    ),
  ] as [string, unknown, string | undefined][])('with %s %j: %s', (name, value, reason) => {
    const act = () => check({ iat: NOW - SKEW - 20, [name]: value })
    if (reason === undefined) expect(act).not.toThrow()
    else expect(act).toThrow(reason)
  })

  it('live no longer than max_lifetime, from iat, or else from now', () => {
    expect(() => check({ iat: NOW - 600, exp: NOW + 300 })).not.toThrow()
    expect(() => check({ iat: NOW - 601, exp: NOW + 300 })).toThrow('token_lifetime')
    expect(() => check({ iat: undefined, exp: NOW + 900 })).not.toThrow()
    expect(() => check({ iat: undefined, exp: NOW + 901 })).toThrow('token_lifetime')
    expect(() => check({ exp: (NOW + 300) * 1000 })).toThrow('token_lifetime')
    expect(() => check({ iat: NOW, exp: NOW + 3600 }, { issuer: { max_lifetime: '1h' } })).not.toThrow()
  })

  it.each([
    ['https://api.example.com', undefined],
    [['x', 'https://api.example.com'], undefined],
    ['https://api.example.com/', 'audience_mismatch'],
    ['https://API.example.com', 'audience_mismatch'],
    ['https://api.example.co', 'audience_mismatch'],
    ['https://api.example.com ', 'audience_mismatch'],
    ['console', 'audience_mismatch'],
    ['', 'audience_mismatch'],
    [[], 'audience_mismatch'],
    [undefined, 'audience_mismatch'],
    [['https://api.example.com', 1], 'claim_invalid'],
    [[['https://api.example.com']], 'claim_invalid'],
    [{ '0': 'https://api.example.com' }, 'claim_invalid'],
    [null, 'claim_invalid'],
    [true, 'claim_invalid'],
  ] as [unknown, string | undefined][])('with aud %j: %s', (aud, reason) => {
    if (reason === undefined) expect(() => check({ aud })).not.toThrow()
    else expect(() => check({ aud })).toThrow(reason)
  })

  it.each([null, {}, { jkt: 'x' }, { 'x5t#S256': 'x' }])('are refused with cnf %j', cnf => {
    expect(() => check({ cnf })).toThrow('sender_constrained')
  })

  it('must have what the issuer requires, and inherit nothing', () => {
    const issuer = { required_claims: ['department'] }
    expect(() => check({ department: 'mail' }, { issuer })).not.toThrow()
    expect(() => check({}, { issuer })).toThrow('claim_missing')
    expect(() => check({ department: null }, { issuer })).toThrow('claim_missing')
    expect(() => check({}, { issuer: { required_claims: ['constructor'] } })).toThrow('claim_missing')
  })

  it('name a client that is allowed: client_id, or else azp', () => {
    const issuer = { clients: ['console'] }
    expect(() => check({}, { issuer })).not.toThrow()
    expect(() => check({ client_id: undefined, azp: 'console' }, { issuer })).not.toThrow()
    expect(() => check({ client_id: 'other', azp: 'console' }, { issuer })).toThrow('client_not_allowed')
    expect(() => check({ client_id: undefined }, { issuer })).toThrow('client_not_allowed')
    expect(() => check({ client_id: 'Console' }, { issuer })).toThrow('client_not_allowed')
  })

  it.each(['jti', 'client_id', 'azp'])('have %s as text', name => {
    for (const value of [1, null, ['console'], {}])
      expect(() => check({ [name]: value })).toThrow('claim_invalid')
  })

  describe.each(['nonce', 'at_hash', 'c_hash', 'events'])('with %s, as an ID or logout token has', mark => {
    it.each(['JWT', 'jwt', 'application/jwt'])(
      'are refused where typ %s is accepted, whatever their own typ',
      type => {
        expect(() => check({ [mark]: 'x' }, { issuer: { types: ['at+jwt', type] } })).toThrow('token_type')
      },
    )

    it('are right where only at+jwt is accepted', () => {
      expect(() => check({ [mark]: 'x' }, { issuer: { types: ['at+jwt'] } })).not.toThrow()
    })
  })
})
