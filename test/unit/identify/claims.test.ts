import { describe, expect, it } from 'vitest'
import { claimRules } from '../../../src/identify/claims.ts'
import type { JsonObject } from '../../../src/types.ts'
import { claims, NOW, settings } from './issuer.ts'

const check = (changes: object = {}, { issuer = {} }: { issuer?: object } = {}) => {
  const parsed = settings(issuer)
  for (const rule of claimRules(parsed)) rule.check(claims(changes) as JsonObject, parsed, NOW)
}

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

  it.each([
    ['rfc8693', 'client_id'],
    ['rfc8693', 'azp'],
    ['keycloak', 'azp'],
    ['okta', 'cid'],
    ['auth0', 'client_id'],
    ['auth0', 'azp'],
    ['entra', 'azp'],
    ['entra', 'appid'],
  ])('of %s have %s as text that is not empty', (profile, name) => {
    for (const value of ['', 1, null, ['console'], {}])
      expect(() => check({ [name]: value }, { issuer: { profile } })).toThrow('claim_invalid')
  })

  it.each([
    ['rfc8693', 'jti'],
    ['keycloak', 'jti'],
    ['entra', 'jti'],
    ['entra', 'uti'],
  ])('of %s have %s as text', (profile, name) => {
    for (const value of [1, null, ['token-1'], {}])
      expect(() => check({ [name]: value }, { issuer: { profile } })).toThrow('claim_invalid')
  })

  it.each([
    ['rfc8693', {}, undefined],
    ['keycloak', { typ: 'Bearer' }, undefined],
    ['keycloak', {}, 'token_type'],
    ['keycloak', { typ: 'bearer' }, 'token_type'],
    ['keycloak', { typ: ['Bearer'] }, 'token_type'],
    ['keycloak', { typ: 'DPoP' }, 'token_type'],
    ['keycloak', { typ: 'ID' }, 'token_type'],
    ['okta', { cid: 'console' }, undefined],
    ['okta', { client_id: undefined }, 'token_type'],
    ['okta', { cid: 'console', jti: 'AT.ID.1' }, undefined],
    ['okta', { cid: 'console', jti: 'ID.1' }, 'token_type'],
    ['okta', { cid: 'console', jti: 'IDAAG.1' }, 'token_type'],
    ['auth0', {}, undefined],
    ['auth0', { client_id: undefined, azp: 'console' }, undefined],
    ['auth0', { client_id: undefined }, 'token_type'],
    ['entra', { azp: 'console' }, undefined],
    ['entra', { appid: 'console' }, undefined],
    ['entra', {}, 'token_type'],
  ])('of %s with %j are those of an access token, or refused: %s', (profile, changes, reason) => {
    // Where nothing but at+jwt is accepted, too: a cloud’s own marks hold whatever the header says.
    for (const types of [['at+jwt', 'JWT'], ['at+jwt']]) {
      const act = () => check(changes, { issuer: { profile, types } })
      if (reason === undefined) expect(act).not.toThrow()
      else expect(act).toThrow(reason)
    }
  })

  it.each([
    ['service-account-console', {}, undefined],
    ['service-account-console', { azp: 'Console' }, undefined],
    ['service-account-other', {}, 'delegator_missing'],
    ['service-account-', {}, 'delegator_missing'],
    ['alice', {}, undefined],
    ['alice', { clientHost: '192.0.2.1' }, 'delegator_missing'],
    ['alice', { clientHost: '192.0.2.1', client_id: 'console' }, undefined],
    [undefined, { clientAddress: '192.0.2.1', client_id: 'other' }, 'delegator_missing'],
  ])(
    'of keycloak, about the account %s with %j, are of no other client’s account',
    (name, changes, reason) => {
      const act = () =>
        check(
          { client_id: undefined, typ: 'Bearer', azp: 'console', preferred_username: name, ...changes },
          { issuer: { profile: 'keycloak', require_delegator: false } },
        )
      if (reason === undefined) expect(act).not.toThrow()
      else expect(act).toThrow(reason)
    },
  )

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

it.each(['rfc8693', 'keycloak', 'okta', 'auth0', 'entra'])(
  'every rule for %s has a name of its own, and says where it is written',
  profile => {
    const rules = claimRules(settings({ profile }))
    expect(new Set(rules.map(({ name }) => name)).size).toBe(rules.length)
    for (const { section } of rules) expect(section).toMatch(/^((RFC \d{4}|BCP 225), \d|(Keycloak|Okta): \w)/)
  },
)
