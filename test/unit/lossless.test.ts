import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isLosslessObject, parseLossless } from '../../src/lossless.ts'

it.each(['12345678901234567890', '1.0', '1E5', '-0', '0.1000', '1e400', '[{"a":100000000000000000001}]'])(
  'keeps the digits of %s',
  text => {
    expect(JSON.stringify(parseLossless(text))).toBe(text)
  },
)

it('reads everything else as JSON.parse does', () => {
  fc.assert(
    fc.property(fc.json(), text => {
      expect(JSON.parse(JSON.stringify(parseLossless(text)))).toEqual(JSON.parse(text))
    }),
  )
})

it('takes no number for an object', () => {
  expect(['{}', '1.0', '[]', 'null', '"x"'].map(text => isLosslessObject(parseLossless(text)))).toEqual([
    true,
    false,
    false,
    false,
    false,
  ])
})

it('reads an escaped name as it is spelt, whatever was read elsewhere before', () => {
  JSON.parse(String.raw`{"first":1,"a\\u":1}`)
  expect(Object.keys(parseLossless(String.raw`{"first":1,"a\u0026b":1}`) as object)).toEqual(['first', 'a&b'])
})
