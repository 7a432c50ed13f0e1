import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nearest } from '../../src/nearest.ts'

const KEYS = ['listen', 'issuers', 'policy', 'decision_log', 'mode', 'identity', 'authorization']

describe('the nearest known word', () => {
  it.each([
    ['a letter too many', 'modes', 'mode'],
    ['a letter too few', 'polcy', 'policy'],
    ['another letter', 'lisden', 'listen'],
    ['two letters changed about', 'issuesr', 'issuers'],
    ['a hyphen for the underscore', 'decision-log', 'decision_log'],
    ['the singular', 'issuer', 'issuers'],
    ['nothing wrong', 'identity', 'identity'],
  ])('is the one that was meant, with %s', (_, word, meant) => {
    expect(nearest(word, KEYS)).toBe(meant)
  })

  it('is always there, however far away', () => {
    expect(nearest('', KEYS)).toBe('mode')
    expect(KEYS).toContain(nearest('x'.repeat(200), KEYS))
  })

  it('is the first of several that are as near', () => {
    expect(nearest('cat', ['bat', 'rat'])).toBe('bat')
  })

  it('is one letter away where another stands in its place', () => {
    expect(nearest('mat', ['mates', 'cat'])).toBe('cat')
  })

  it('is undefined where nothing is known', () => {
    expect(nearest('mode', [])).toBeUndefined()
  })

  it('finds any word that lost one letter among words that share none', () => {
    const words = ['aaaa', 'bbbbb', 'cccccc', 'ddddddd']
    fc.assert(
      fc.property(fc.constantFrom(...words), fc.nat(), (word, at) => {
        const i = at % word.length
        expect(nearest(word.slice(0, i) + word.slice(i + 1), words)).toBe(word)
      }),
    )
  })

  it('leaves the list as it is', () => {
    const words = Object.freeze(['b', 'a'])
    nearest('a', words)
    expect(words).toEqual(['b', 'a'])
  })
})
