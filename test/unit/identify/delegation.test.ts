import { describe, expect, it } from 'vitest'
import { readDelegation } from '../../../src/identify/delegation.ts'
import type { JsonObject } from '../../../src/types.ts'
import { claims, ISSUER, settings } from './issuer.ts'

const PARTNER = 'https://partner.example.com'
const read = (changes: object, issuer = {}) => readDelegation(claims(changes) as JsonObject, settings(issuer))

describe('a delegation as RFC 8693 writes it', () => {
  it('has the subject as delegator and the outermost actor as agent, of the token’s issuer unless it says otherwise', () => {
    expect(read({})).toMatchObject({
      delegator: 'alice@example.com',
      agent: { sub: 'mail-summary', iss: ISSUER },
      actorSource: 'act',
      priorActors: [],
    })
    expect(read({ act: { sub: 'helper', iss: PARTNER } }).agent).toEqual({ sub: 'helper', iss: PARTNER })
  })

  it('lists prior actors outermost first, and keeps them out of the claims', () => {
    const act = { sub: 'a', role: 'x', act: { sub: 'b', iss: PARTNER, act: { sub: 'c' } } }
    const { agent, priorActors, claims: shown } = read({ act })
    expect(agent).toEqual({ sub: 'a', iss: ISSUER })
    expect(priorActors).toEqual([
      { sub: 'b', iss: PARTNER },
      { sub: 'c', iss: ISSUER },
    ])
    expect(shown).toEqual(claims({ act: { sub: 'a', role: 'x' } }))
  })

  it.each(['rfc8693', 'okta', 'auth0'])(
    'of %s has no agent without act, whatever the client is called',
    profile => {
      const client = { azp: 'console', cid: 'console', appid: 'console' }
      const { agent, actorSource } = read(
        { act: undefined, uid: 'u-1', ...client, may_act: { sub: 'mail-summary' } },
        { profile },
      )
      expect([agent, actorSource]).toEqual([undefined, 'none'])
    },
  )

  it('takes no heed of times and audiences of an actor', () => {
    const act = { sub: 'mail-summary', exp: 1, nbf: 9e12, aud: 'https://elsewhere.example.com' }
    expect(read({ act }).agent).toEqual({ sub: 'mail-summary', iss: ISSUER })
  })

  it.each([
    null,
    'mail-summary',
    1,
    true,
    [],
    [{ sub: 'a' }],
    {},
    { sub: '' },
    { sub: 1 },
    { sub: null },
    { iss: ISSUER },
    { sub: 'a', iss: '' },
    { sub: 'a', iss: 1 },
    { sub: 'a', iss: null },
  ])('is refused with act %j, also as a prior actor', act => {
    expect(() => read({ act })).toThrow('actor_invalid')
    expect(() => read({ act: { sub: 'outer', act } })).toThrow('actor_invalid')
  })

  it.each(['keycloak', 'entra'])('of %s with a broken act is not one of the client', profile => {
    const changes = { azp: 'gateway', oid: 'alice-id', scp: 'mail.read', sid: 's-1', client_id: undefined }
    expect(read({ ...changes, act: undefined }, { profile }).agent).toEqual({ sub: 'gateway', iss: ISSUER })
    expect(() => read({ ...changes, act: null }, { profile })).toThrow('actor_invalid')
    expect(() => read({ ...changes, act: {} }, { profile })).toThrow('actor_invalid')
  })

  it('is refused where agent and delegator are one, under one issuer', () => {
    const sub = 'alice@example.com'
    expect(() => read({ act: { sub } })).toThrow('actor_is_delegator')
    expect(() => read({ act: { sub, iss: ISSUER } })).toThrow('actor_is_delegator')
    expect(read({ act: { sub, iss: PARTNER } })).toMatchObject({
      delegator: sub,
      agent: { sub, iss: PARTNER },
    })
  })

  it('is refused where the agent is the subject, also where that is no delegator', () => {
    const loose = { require_delegator: false }
    const own = { sub: 'console', client_id: 'console', act: { sub: 'console' } }
    expect(() => read(own, loose)).toThrow('actor_is_delegator')
    const entra = { oid: 'alice-id', sub: 'pairwise', azp: 'console', idtyp: 'user' }
    for (const sub of ['alice-id', 'pairwise'])
      expect(() => read({ ...entra, act: { sub } }, { profile: 'entra' })).toThrow('actor_is_delegator')
  })

  it('is refused where an actor comes twice', () => {
    expect(() => read({ act: { sub: 'a', act: { sub: 'b', act: { sub: 'a' } } } })).toThrow('actor_invalid')
    expect(() => read({ act: { sub: 'a', act: { sub: 'a', iss: ISSUER } } })).toThrow('actor_invalid')
    expect(read({ act: { sub: 'a', act: { sub: 'a', iss: PARTNER } } }).priorActors).toHaveLength(1)
  })

  it('has at most max_depth actors', () => {
    const chain = (depth: number): object =>
      depth === 1 ? { sub: 'agent-1' } : { sub: `agent-${depth}`, act: chain(depth - 1) }
    expect(read({ act: chain(4) }).priorActors).toHaveLength(3)
    expect(() => read({ act: chain(5) })).toThrow('actor_chain_too_deep')
    expect(() => read({ act: chain(2) }, { max_depth: 1 })).toThrow('actor_chain_too_deep')
    expect(read({ act: chain(1) }, { max_depth: 1 }).agent?.sub).toBe('agent-1')
  })

  it('needs a delegator unless the issuer says otherwise', () => {
    expect(() => read({ sub: undefined })).toThrow('delegator_missing')
    expect(read({ sub: undefined }, { require_delegator: false })).not.toHaveProperty('delegator')
  })

  it.each(['', 1, null, ['alice'], {}])('is refused with sub %j, whether it is needed or not', sub => {
    expect(() => read({ sub })).toThrow('claim_invalid')
    expect(() => read({ sub }, { require_delegator: false })).toThrow('claim_invalid')
  })
})

describe('whose token it is', () => {
  const nobodyActs = { act: undefined, client_id: undefined }
  const CLIENT = { keycloak: 'azp', okta: 'cid', auth0: 'azp', entra: 'azp', rfc8693: 'client_id' } as const

  it.each<[keyof typeof CLIENT, object, 'person' | 'client' | 'refused']>([
    ['rfc8693', {}, 'person'],
    ['rfc8693', { sub: 'gateway' }, 'client'],
    ['rfc8693', { sub: 'Gateway' }, 'person'],

    ['keycloak', { sid: 's-1' }, 'person'],
    ['keycloak', { preferred_username: 'alice' }, 'person'],
    ['keycloak', { preferred_username: 'alice', client_id: 'gateway' }, 'person'],
    ['keycloak', { preferred_username: 'Service-account-gateway' }, 'client'],
    ['keycloak', { preferred_username: 'service-account-gateway', sid: 's-1' }, 'client'],
    ['keycloak', { preferred_username: '' }, 'client'],
    ['keycloak', { preferred_username: 7, sid: 's-1', client_id: 'gateway' }, 'client'],
    ['keycloak', { sid: 's-1', client_id: 'gateway' }, 'client'],
    ['keycloak', { sid: null }, 'client'],
    ['keycloak', { preferred_username: 'Service-Account-Gateway', sid: 's-1' }, 'client'],
    ['keycloak', { sid: 's-1', clientHost: '192.0.2.1' }, 'client'],
    ['keycloak', { sid: 's-1', clientAddress: '192.0.2.1' }, 'client'],
    ['keycloak', { sid: 's-1', jti: 'onrtcc:1' }, 'client'],
    ['keycloak', { sid: 's-1', jti: 'onrtro:cc:1' }, 'person'],
    ['keycloak', {}, 'client'],
    ['keycloak', { sub: undefined, sid: 's-1' }, 'refused'],
    ['keycloak', { sub: undefined }, 'refused'],

    ['okta', { uid: 'u-1' }, 'person'],
    ['okta', { uid: null }, 'client'],
    ['okta', {}, 'client'],
    ['okta', { uid: 'u-1', sub: 'gateway' }, 'client'],
    ['okta', { sub_profile: 'user' }, 'person'],
    ['okta', { uid: 'u-1', sub_profile: 'service' }, 'client'],
    ['okta', { uid: 'u-1', sub_profile: ['user'] }, 'client'],

    ['auth0', {}, 'person'],
    ['auth0', { sub: 'gateway@clients' }, 'client'],
    ['auth0', { sub: 'gateway@clients.example.com' }, 'person'],
    ['auth0', { gty: 'client-credentials' }, 'client'],
    ['auth0', { gty: ['client-credentials'] }, 'client'],
    ['auth0', { gty: [['client-credentials']] }, 'client'],
    ['auth0', { gty: 'password' }, 'person'],
    ['auth0', { gty: ['refresh_token', 'password'] }, 'person'],
    ['auth0', { sub_profile: 'ai_agent' }, 'client'],
    ['auth0', { sub_profile: 'superuser' }, 'client'],
    ['auth0', { sub_profile: 'admin user' }, 'person'],

    ['entra', { oid: 'alice-id', idtyp: 'user' }, 'person'],
    ['entra', { oid: 'alice-id', scp: 'mail.read' }, 'person'],
    ['entra', { oid: 'alice-id', scp: 'mail.read', roles: ['Reader'] }, 'person'],
    ['entra', { oid: 'alice-id', scp: 'mail.read', xms_sub_fct: '3 9 113' }, 'person'],
    ['entra', { oid: 'app-id' }, 'client'],
    ['entra', { oid: 'app-id', scp: '' }, 'client'],
    ['entra', { oid: 'app-id', scp: '/' }, 'client'],
    ['entra', { oid: 'app-id', scp: '  ' }, 'client'],
    ['entra', { oid: 'app-id', roles: ['Reader'] }, 'client'],
    ['entra', { oid: 'app-id', scp: 'mail.read', idtyp: 'app' }, 'client'],
    ['entra', { oid: 'app-id', scp: 'mail.read', idtyp: 'device' }, 'client'],
    ['entra', { oid: 'app-id', scp: 'mail.read', idtyp: null }, 'client'],
    ['entra', { oid: 'account-id', idtyp: 'user', xms_sub_fct: '3 13' }, 'client'],
    ['entra', { oid: 'agent-id', idtyp: 'user', xms_sub_fct: '11' }, 'client'],
    ['entra', { oid: 'account-id', idtyp: 'user', xms_sub_fct: 13 }, 'client'],
    ['entra', { oid: 'account-id', idtyp: 'user', xms_sub_fct: Object.create(null) }, 'client'],
    ['entra', { oid: 'alice-id', idtyp: 'user', xms_act_fct: '11' }, 'person'],
    ['entra', { oid: 'gateway', idtyp: 'user' }, 'client'],
    ['entra', { sub: 'gateway', oid: 'alice-id', idtyp: 'user' }, 'client'],
    ['entra', { idtyp: 'user' }, 'refused'],
    ['entra', { scp: 'mail.read' }, 'refused'],
    ['entra', { oid: '', idtyp: 'user' }, 'claim_invalid' as 'refused'],
  ])('of %s with %j: that of a %s', (profile, changes, whose) => {
    const given = { ...nobodyActs, [CLIENT[profile]]: 'gateway', ...changes }
    const acts = ['keycloak', 'entra'].includes(profile)
    const loose = () => read(given, { profile, require_delegator: false })
    const strict = () => read(given, { profile })
    if (whose !== 'person' && whose !== 'client') {
      const reason = whose === 'refused' ? 'delegator_missing' : whose
      expect(loose).toThrow(reason)
      expect(strict).toThrow(reason)
      return
    }
    const { oid, sub = 'alice@example.com' } = changes as { oid?: string; sub?: string }
    const delegator = whose === 'person' ? (profile === 'entra' ? oid : sub) : undefined
    const { claims: _, ...said } = loose()
    expect(said).toEqual({
      ...(delegator && { delegator }),
      ...(acts && { agent: { sub: 'gateway', iss: ISSUER } }),
      actorSource: acts ? 'client' : 'none',
      priorActors: [],
    })
    if (whose === 'client') expect(strict).toThrow('delegator_missing')
    else expect(strict).not.toThrow()
  })

  it('is told in the same way where somebody acts', () => {
    const loose = { require_delegator: false }
    const agentOnly = { agent: { sub: 'mail-summary', iss: ISSUER }, actorSource: 'act' }
    const service = { sub: 'service-1', sub_profile: 'service', cid: 'wlp-1' }
    expect(() => read(service, { profile: 'okta' })).toThrow('delegator_missing')
    expect(read(service, { profile: 'okta', ...loose })).toMatchObject(agentOnly)
    expect(read(service, { profile: 'okta', ...loose })).not.toHaveProperty('delegator')
    expect(() => read({ sub: 'console' })).toThrow('delegator_missing')
    expect(() => read({ sub: 'gateway@clients' }, { profile: 'auth0' })).toThrow('delegator_missing')
  })

  it('is a person’s where an agent of Okta acts, though no uid says so', () => {
    expect(read({ cid: 'wlp-1' }, { profile: 'okta' })).toMatchObject({
      delegator: 'alice@example.com',
      agent: { sub: 'mail-summary' },
    })
  })
})
