import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { trustedHeaders } from '../../../src/identify/trusted-headers.ts'
import { type Identity, TRUSTED_HEADERS } from '../../../src/types.ts'
import { identity } from '../trail.ts'

const names = new Map([
  ['https://idp.example.com', 'corp'],
  ['https://partner.example.com', 'partner'],
])
const headers = (changes: Partial<Identity> = {}) =>
  Object.fromEntries(trustedHeaders({ ...identity, ...changes }, iss => names.get(iss)))

/** An identity without some of what is optional. */
function without(...keys: (keyof Identity)[]): Identity {
  return Object.fromEntries(Object.entries(identity).filter(([key]) => !keys.includes(key as never))) as never
}

describe('the trusted headers', () => {
  it('say who acts for whom', () => {
    expect(headers()).toEqual({
      'x-delegator-id': 'alice@example.com',
      'x-delegator-issuer': 'corp',
      'x-agent-id': 'mail-summary',
      'x-agent-issuer': 'corp',
      'x-agent-chain': 'planner',
    })
  })

  it('name an agent’s issuer as configured where it is one of ours, and by its URL otherwise', () => {
    const issuer = (iss: string) => headers({ agent: { sub: 'mail-summary', iss } })['x-agent-issuer']
    expect(issuer('https://partner.example.com')).toBe('partner')
    expect(issuer('https://other.example.com/a,b')).toBe('https://other.example.com/a%2Cb')
  })

  it('never let an agent’s issuer pass for a configured name', () => {
    for (const iss of ['corp', 'partner', 'other'])
      expect(() => headers({ agent: { sub: 'mail-summary', iss } })).toThrow('actor_invalid')
  })

  it('leave out what there is not', () => {
    expect(trustedHeaders({ ...without('agent'), priorActors: [] }, () => 'corp')).toEqual([
      ['x-delegator-id', 'alice@example.com'],
      ['x-delegator-issuer', 'corp'],
    ])
    const alone = Object.fromEntries(
      trustedHeaders({ ...without('delegator'), priorActors: [] }, () => 'corp'),
    )
    expect(alone).toEqual({ 'x-agent-id': 'mail-summary', 'x-agent-issuer': 'corp' })
  })

  it('join prior actors, outermost first', () => {
    const priorActors = ['b,c', 'd'].map(sub => ({ sub, iss: 'x' }))
    expect(headers({ priorActors })['x-agent-chain']).toBe('b%2Cc,d')
  })

  it.each([
    ['a b', 'a%20b'],
    ['100%', '100%25'],
    ['a%20b', 'a%2520b'],
    ['a,b', 'a%2Cb'],
    ['a\r\nx-agent-id: b', 'a%0D%0Ax-agent-id:%20b'],
    ['\u0000', '%00'],
    ['\u007f', '%7F'],
    ['é', '%C3%A9'],
    ['😀', '%F0%9F%98%80'],
    ['!"#$&\'()*+-./:;<=>?@[\\]^_`{|}~', '!"#$&\'()*+-./:;<=>?@[\\]^_`{|}~'],
  ])('encode %j as %j', (sub, value) => {
    expect(headers({ delegator: sub })['x-delegator-id']).toBe(value)
  })

  it('are at most 512 bytes each, as encoded', () => {
    expect(headers({ delegator: 'a'.repeat(512) })['x-delegator-id']).toHaveLength(512)
    expect(() => headers({ delegator: 'a'.repeat(513) })).toThrow('header_too_large')
    expect(() => headers({ agent: { sub: 'é'.repeat(86), iss: 'https://idp.example.com' } })).toThrow(
      'header_too_large',
    )
    const priorActors = Array.from({ length: 3 }, () => ({ sub: 'a'.repeat(171), iss: 'x' }))
    expect(() => headers({ priorActors })).toThrow('header_too_large')
  })

  it('are visible ASCII, read back to exactly what went in, and are ours', () => {
    const point = fc.oneof(fc.nat(0xff), fc.nat(0xd7ff), fc.integer({ min: 0xe000, max: 0x10ffff }))
    const unit = point.map(number => String.fromCodePoint(number))
    const sub = fc.string({ unit, minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(sub, sub, fc.array(sub, { maxLength: 3 }), (delegator, agent, chain) => {
        const priorActors = chain.map(prior => ({ sub: prior, iss: 'x' }))
        const made = headers({
          delegator,
          agent: { sub: agent, iss: 'https://idp.example.com' },
          priorActors,
        })
        for (const [name, value] of Object.entries(made)) {
          expect(TRUSTED_HEADERS).toContain(name)
          expect(value).toMatch(/^[\x21-\x7e]+$/)
        }
        expect(decodeURIComponent(made['x-delegator-id'] as string)).toBe(delegator)
        expect(decodeURIComponent(made['x-agent-id'] as string)).toBe(agent)
        expect((made['x-agent-chain'] ?? '').split(',').filter(Boolean).map(decodeURIComponent)).toEqual(
          chain,
        )
      }),
    )
  })
})
