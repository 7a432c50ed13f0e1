import { describe, expect, it } from 'vitest'
import { readDelegation } from '../../../../src/identify/profiles/rfc8693.ts'
import type { JsonObject } from '../../../../src/types.ts'
import { claims, ISSUER, settings } from '../issuer.ts'

const PARTNER = 'https://partner.example.com'
const read = (changes: object, issuer = {}) => readDelegation(claims(changes) as JsonObject, settings(issuer))

describe('a delegation as RFC 8693 writes it', () => {
  it('has the subject as delegator and the outermost actor as agent, of the token’s issuer unless it says otherwise', () => {
    expect(read({})).toMatchObject({
      delegator: 'alice@example.com',
      actors: [{ sub: 'mail-summary', iss: ISSUER }],
    })
    expect(read({ act: { sub: 'helper', iss: PARTNER } }).actors).toEqual([{ sub: 'helper', iss: PARTNER }])
  })

  it('lists prior actors outermost first, and keeps them out of the claims', () => {
    const act = { sub: 'a', role: 'x', act: { sub: 'b', iss: PARTNER, act: { sub: 'c' } } }
    const { actors, claims: shown } = read({ act })
    expect(actors).toEqual([
      { sub: 'a', iss: ISSUER },
      { sub: 'b', iss: PARTNER },
      { sub: 'c', iss: ISSUER },
    ])
    expect(shown.act).toEqual({ sub: 'a', role: 'x' })
    expect(shown.sub).toBe('alice@example.com')
  })

  it('has no agent without act, whatever the client is called', () => {
    expect(read({ act: undefined, azp: 'console', may_act: { sub: 'mail-summary' } })).toMatchObject({
      actors: [],
    })
  })

  it('takes no heed of times and audiences of an actor', () => {
    const act = { sub: 'mail-summary', exp: 1, nbf: 9e12, aud: 'https://elsewhere.example.com' }
    expect(read({ act }).actors).toHaveLength(1)
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

  it('is refused where agent and delegator are one, under one issuer', () => {
    const sub = 'alice@example.com'
    expect(() => read({ act: { sub } })).toThrow('actor_is_delegator')
    expect(() => read({ act: { sub, iss: ISSUER } })).toThrow('actor_is_delegator')
    expect(read({ act: { sub, iss: PARTNER } }).actors).toEqual([{ sub, iss: PARTNER }])
  })

  it('is refused where an actor comes twice', () => {
    expect(() => read({ act: { sub: 'a', act: { sub: 'b', act: { sub: 'a' } } } })).toThrow('actor_invalid')
    expect(read({ act: { sub: 'a', act: { sub: 'a', iss: PARTNER } } }).actors).toHaveLength(2)
  })

  it('has at most max_depth actors', () => {
    const chain = (depth: number): object =>
      depth === 1 ? { sub: 'agent-1' } : { sub: `agent-${depth}`, act: chain(depth - 1) }
    expect(read({ act: chain(4) }).actors).toHaveLength(4)
    expect(() => read({ act: chain(5) })).toThrow('actor_chain_too_deep')
    expect(() => read({ act: chain(2) }, { max_depth: 1 })).toThrow('actor_chain_too_deep')
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
