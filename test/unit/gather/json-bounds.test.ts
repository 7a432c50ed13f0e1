import fc from 'fast-check'
import { expect, it } from 'vitest'
import { valuesWithinBounds } from '../../../src/gather/json-bounds.ts'

function count(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  return Object.values(value).reduce<number>((sum, inner) => sum + count(inner), 1)
}

const SPACES = ['', ' ', '\t\r\n']
const strings = fc.oneof(fc.string(), fc.stringMatching(/^[\\"[\]{}:,e0-9]{0,12}$/))
const values = fc.jsonValue({ stringUnit: 'binary', maxDepth: 8 })
const { tricky } = fc.letrec(tie => ({
  tricky: fc.oneof(
    { maxDepth: 5 },
    values,
    strings,
    fc.array(tie('tricky'), { maxLength: 4 }),
    fc.dictionary(strings, tie('tricky'), { maxKeys: 4 }),
  ),
}))

it('counts the values of any JSON text, however it is spaced and whatever its strings hold', () => {
  fc.assert(
    fc.property(tricky, fc.constantFrom(...SPACES), (value, space) => {
      const text = `${space}${JSON.stringify(value, undefined, space)}${space}`
      const wanted = count(JSON.parse(text))
      expect(valuesWithinBounds(text, wanted)).toBe(wanted)
      expect(() => valuesWithinBounds(text, wanted - 1)).toThrow('body_invalid')
    }),
    { numRuns: 2_000 },
  )
})
