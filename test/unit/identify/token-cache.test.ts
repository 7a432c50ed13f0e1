import { describe, expect, it } from 'vitest'
import type { KeySource } from '../../../src/identify/keys/key-source.ts'
import { createTokenCache } from '../../../src/identify/token-cache.ts'
import type { Identity } from '../../../src/types.ts'
import { identity } from '../trail.ts'

const holding = (...keys: string[]) =>
  ({ has: (text: string) => keys.includes(text) }) as unknown as KeySource

function cache() {
  const time = { now: 0 }
  const keys = ['key']
  const tokens = createTokenCache(() => time.now)
  const source = { has: (text: string) => keys.includes(text) } as unknown as KeySource
  const put = (token: string, changes: Partial<Identity> = {}) => {
    const entry = { ...identity, ...changes }
    tokens.set(token, { identity: entry, source, keyText: 'key' })
    return entry
  }
  return { time, keys, tokens, put }
}

describe('the cache of verified tokens', () => {
  it('knows a token by its whole text', () => {
    const { tokens, put } = cache()
    const entry = put('a.b.c')
    expect(tokens.get('a.b.c')).toBe(entry)
    for (const other of ['a.b.d', 'a.b.c ', 'a.b', '']) expect(tokens.get(other)).toBeUndefined()
  })

  it('forgets a token when it expires, to the millisecond', () => {
    const { tokens, put, time } = cache()
    put('a', { expiresAt: 100 })
    time.now = 99_999
    expect(tokens.get('a')).toBeDefined()
    time.now = 100_000
    expect(tokens.get('a')).toBeUndefined()
    time.now = 0
    expect(tokens.get('a')).toBeUndefined()
  })

  it('forgets a token whose key is gone, for good', () => {
    const { tokens, put, keys } = cache()
    put('a')
    keys.pop()
    expect(tokens.get('a')).toBeUndefined()
    keys.push('key')
    expect(tokens.get('a')).toBeUndefined()
  })

  it('asks the source of the issuer that the token is of', () => {
    const { tokens } = cache()
    tokens.set('a', { identity, source: holding('one'), keyText: 'one' })
    tokens.set('b', { identity, source: holding('two'), keyText: 'one' })
    expect(tokens.get('a')).toBeDefined()
    expect(tokens.get('b')).toBeUndefined()
  })

  it('keeps two thousand that came once, the oldest out first', () => {
    const { tokens, put } = cache()
    for (let i = 0; i <= 2_000; i++) put(`token-${i}`)
    expect(tokens.get('token-0')).toBeUndefined()
    expect(tokens.get('token-1')).toBeDefined()
    expect(tokens.get('token-2000')).toBeDefined()
  })

  it('keeps those that came again, however many come once', () => {
    const { tokens, put } = cache()
    put('mine')
    expect(tokens.get('mine')).toBeDefined()
    for (let i = 0; i < 20_000; i++) put(`token-${i}`)
    expect(tokens.get('mine')).toBeDefined()
  })

  it('keeps eight thousand that came again, the oldest out first', () => {
    const { tokens, put } = cache()
    for (let i = 0; i <= 8_000; i++) {
      put(`token-${i}`)
      tokens.get(`token-${i}`)
    }
    expect(tokens.get('token-0')).toBeUndefined()
    expect(tokens.get('token-1')).toBeDefined()
    expect(tokens.get('token-8000')).toBeDefined()
  })

  it('keeps no more than two million characters that came once, and eight that came again', () => {
    const { tokens, put } = cache()
    const long = (number: number) => `${number}`.padEnd(16_384, '.')
    for (let i = 0; i <= 128; i++) put(long(i))
    expect(tokens.get(long(0))).toBeUndefined()
    expect(tokens.get(long(1))).toBeDefined()
    for (let i = 1_000; i <= 1_511; i++) {
      put(long(i))
      tokens.get(long(i))
    }
    expect(tokens.get(long(1))).toBeUndefined()
    expect(tokens.get(long(1_000))).toBeDefined()
    expect(tokens.get(long(1_511))).toBeDefined()
    put('short')
    expect(tokens.get('short')).toBeDefined()
    expect(tokens.get(long(1_001))).toBeDefined()
  })

  it('has one entry for a token, the last', () => {
    const { tokens, put } = cache()
    put('a')
    tokens.get('a')
    const last = put('a', { scopes: [] })
    expect(tokens.get('a')).toBe(last)
    expect(tokens.get('a')).toBe(last)
  })

  it('does not know a token before it was verified, when the clock is set back', () => {
    const { tokens, put, time } = cache()
    time.now = 1_000
    put('a')
    time.now = 999
    expect(tokens.get('a')).toBeUndefined()
    time.now = 1_000
    expect(tokens.get('a')).toBeUndefined()
  })
})
