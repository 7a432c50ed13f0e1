import { describe, expect, it } from 'vitest'
import { asDenied, type Denied } from '../../../src/denied.ts'
import { judge } from '../../../src/identify/judge.ts'
import type { Identity, JsonObject } from '../../../src/types.ts'
import { claims, ISSUER, NOW, settings } from './issuer.ts'

const PARTNER = 'https://partner.example.com'
const issuerName = (iss: string) => new Map([[ISSUER, 'corp']]).get(iss)
const judged = (changes: object = {}, issuer = {}, deps = {}): Identity =>
  judge(claims(changes) as JsonObject, settings(issuer), { now: NOW * 1000, issuerName, ...deps })

function refused(...args: Parameters<typeof judged>): Denied {
  try {
    judged(...args)
  } catch (thrown) {
    return asDenied(thrown)
  }
  throw new Error('it was not refused')
}

const WHO = {
  issuer: 'corp',
  clientId: 'console',
  tokenId: 'token-1',
  delegator: 'alice@example.com',
  agent: { sub: 'mail-summary', iss: ISSUER },
  actorSource: 'act',
  priorActors: [],
}
const { agent: _, ...NOBODY_ACTS } = { ...WHO, actorSource: 'none' }
const { delegator: __, ...FOR_NOBODY } = WHO
const ISSUER_ALONE = { issuer: 'corp', clientId: 'console', tokenId: 'token-1' }

describe('claims that are right', () => {
  it('are an identity', () => {
    expect(judged()).toEqual({
      ...WHO,
      iss: ISSUER,
      requiresAgent: true,
      scopes: ['read:mail:inbox', 'read:mail:archive'],
      expiresAt: NOW + 300,
      claims: claims(),
      headers: [
        ['x-delegator-id', 'alice@example.com'],
        ['x-delegator-issuer', 'corp'],
        ['x-agent-id', 'mail-summary'],
        ['x-agent-issuer', 'corp'],
      ],
    })
  })

  it('are looked at in milliseconds, and hold the issuer’s own settings', () => {
    expect(judged({ nbf: NOW + 30 }, { require_agent: false }).requiresAgent).toBe(false)
    expect(refused({ nbf: NOW + 31 }).reason).toBe('token_not_yet_valid')
    expect(judged({ nbf: NOW + 31 }, {}, { now: NOW * 1000 + 1000 }).issuer).toBe('corp')
  })

  it.each([
    ['rfc8693', { scope: 'a b', scp: ['c'] }, ['a', 'b']],
    ['okta', { scope: 'a b', scp: ['c', 'd'], uid: 'u-1' }, ['c', 'd']],
    ['okta', { scope: 'a b', uid: 'u-1' }, ['a', 'b']],
    ['auth0', { scope: 'a', permissions: ['b'] }, ['a']],
    ['entra', { scope: 'a', scp: 'b c', azp: 'console', oid: 'alice-id' }, ['b', 'c']],
    ['entra', { scp: undefined, scope: 'a', azp: 'console', oid: 'alice-id', idtyp: 'user' }, []],
    ['rfc8693', { scope: undefined }, []],
  ])('of %s with %j have the scopes of its own claim: %j', (profile, changes, scopes) => {
    expect(judged(changes, { profile }).scopes).toEqual(scopes)
  })

  it.each([
    ['rfc8693', { client_id: 'a', azp: 'b' }, 'a'],
    ['rfc8693', { client_id: undefined, azp: 'b' }, 'b'],
    ['rfc8693', { client_id: undefined }, undefined],
    ['keycloak', { client_id: 'a', azp: 'b', typ: 'Bearer', preferred_username: 'alice' }, 'b'],
    ['okta', { client_id: 'a', cid: 'b', uid: 'u-1' }, 'b'],
    ['auth0', { client_id: undefined, azp: 'b' }, 'b'],
    ['entra', { azp: 'a', appid: 'b', oid: 'alice-id', idtyp: 'user' }, 'a'],
    ['entra', { appid: 'b', oid: 'alice-id', idtyp: 'user' }, 'b'],
  ])('of %s with %j name the client %s', (profile, changes, client) => {
    expect(judged(changes, { profile }).clientId).toBe(client)
  })

  it.each([
    ['rfc8693', {}, 'token-1'],
    ['rfc8693', { jti: undefined, uti: 'u-1' }, undefined],
    ['entra', { jti: undefined, uti: 'u-1', azp: 'console', oid: 'alice-id', idtyp: 'user' }, 'u-1'],
  ])('of %s with %j have the token id %s', (profile, changes, id) => {
    expect(judged(changes, { profile }).tokenId).toBe(id)
  })
})

describe('a refusal', () => {
  it.each<[string, object, object, string, object]>([
    ['of a claim', { exp: NOW - 100 }, {}, 'token_expired', WHO],
    ['for another audience', { aud: 'x' }, {}, 'audience_mismatch', WHO],
    ['of the delegation', { act: {} }, {}, 'actor_invalid', ISSUER_ALONE],
    ['of the delegator', { sub: undefined }, {}, 'delegator_missing', FOR_NOBODY],
    ['of the scopes', { scope: 7 }, {}, 'claim_invalid', WHO],
    [
      'of the headers',
      { act: { sub: 'mail-summary', iss: 'corp' } },
      {},
      'actor_invalid',
      { ...WHO, agent: { sub: 'mail-summary', iss: 'corp' } },
    ],
    ['where nobody acts', { act: undefined, aud: 'x' }, {}, 'audience_mismatch', NOBODY_ACTS],
    [
      'after prior actors',
      { act: { sub: 'mail-summary', act: { sub: 'planner', iss: PARTNER } }, cnf: {} },
      {},
      'sender_constrained',
      { ...WHO, priorActors: [{ sub: 'planner', iss: PARTNER }] },
    ],
    [
      'with a client and an id that are none',
      { client_id: 7, jti: {} },
      {},
      'claim_invalid',
      { ...WHO, clientId: undefined, tokenId: undefined },
    ],
    [
      'where a client that is none would act',
      { client_id: undefined, azp: 7, act: undefined, typ: 'Bearer', sid: 's-1' },
      { profile: 'keycloak' },
      'claim_invalid',
      { ...NOBODY_ACTS, clientId: undefined },
    ],
    [
      'of the account of another client',
      {
        client_id: undefined,
        azp: 'gateway',
        act: undefined,
        typ: 'Bearer',
        preferred_username: 'service-account-x',
      },
      { profile: 'keycloak' },
      'delegator_missing',
      { ...FOR_NOBODY, clientId: 'gateway', agent: { sub: 'gateway', iss: ISSUER }, actorSource: 'client' },
    ],
  ])('%s says whose token it was', (_, changes, issuer, reason, parties) => {
    const denied = refused(changes, issuer)
    expect(denied.reason).toBe(reason)
    expect(denied.parties).toEqual(parties)
  })

  it('keeps its note, and holds no claim but whose token it was', () => {
    const { detail, parties, message } = refused({ azp: '', secret: 'sec-ret', nonce: 'sec-ret' })
    expect(detail).toBe('azp')
    expect(message).toBe('claim_invalid')
    expect(JSON.stringify(parties)).not.toContain('sec-ret')
    expect(parties).not.toHaveProperty('claims')
  })

  it('for a fault of ours is one, with its text as the cause and nowhere else', () => {
    const fault = new Error('text of ours, with alice@example.com')
    const broken = {
      issuerName: () => {
        throw fault
      },
    }
    const denied = refused({}, {}, broken)
    expect([denied.reason, denied.message, denied.detail]).toEqual([
      'internal_error',
      'internal_error',
      undefined,
    ])
    expect(denied.cause).toBe(fault)
    expect(denied.parties).toEqual(WHO)
    expect(JSON.stringify(denied.parties)).not.toContain('text of ours')
  })
})
