import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { message, struct, text, varint } from '../../../../src/listen/wire/writer.ts'
import type { JsonObject } from '../../../../src/types.ts'
import { responseOf } from './oracle.ts'

const DYNAMIC_METADATA = 4
const hex = (bytes: Buffer) => bytes.toString('hex')
const readBack = (value: JsonObject) => responseOf(struct(DYNAMIC_METADATA, value)).dynamicMetadata
const wrong = <T>(value: unknown) => value as T

describe('a varint', () => {
  it.each([
    [1, 0, '0800'],
    [1, 127, '087f'],
    [1, 128, '088001'],
    [2, 300, '10ac02'],
    [16, 1, '800101'],
    [1, 2 ** 32 - 1, '08ffffffff0f'],
    [1, 2 ** 32, '088080808010'],
    [1, Number.MAX_SAFE_INTEGER, '08ffffffffffffff0f'],
  ])('in field %i of %i is %s', (field, value, bytes) => {
    expect(hex(varint(field, value))).toBe(bytes)
  })

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '7', null, undefined, true, [7], {}, 7n])(
    'cannot be %o',
    value => {
      expect(() => varint(1, wrong(value))).toThrow()
    },
  )
})

describe('a text', () => {
  it.each([
    [1, '', '0a00'],
    [1, 'abc', '0a03616263'],
    [3, '😀', '1a04f09f9880'],
    [16, '\u0000', '82010100'],
  ])('in field %i of %j is %s', (field, value, bytes) => {
    expect(hex(text(field, value))).toBe(bytes)
  })

  it('has its length in bytes, however long', () => {
    expect(hex(text(1, 'é'.repeat(100))).startsWith('0ac801c3a9')).toBe(true)
  })

  it.each([1, null, undefined, true, ['a'], {}, Buffer.from('a'), new String('a'), { toString: () => 'a' }])(
    'cannot be %o',
    value => {
      expect(() => text(1, wrong(value))).toThrow()
    },
  )

  it.each(['\ud800', 'a\udc00', '\udc00\ud800'])('cannot be %j, half a surrogate pair', value => {
    expect(() => text(1, value)).toThrow()
  })
})

it('a message is its fields in order', () => {
  expect(hex(message(2))).toBe('1200')
  expect(hex(message(2, varint(1, 5), text(2, 'a')))).toBe('12050805120161')
})

describe('a struct', () => {
  it.each([
    [{}, '2200'],
    [{ a: null }, '22090a070a016112020800'],
    [{ a: true }, '22090a070a016112022001'],
    [{ a: false }, '22090a070a016112022000'],
    [{ a: 1 }, '22100a0e0a0161120911000000000000f03f'],
    [{ a: 'b' }, '220a0a080a016112031a0162'],
    [{ a: [] }, '22090a070a016112023200'],
    [{ a: {} }, '22090a070a016112022a00'],
  ] as [JsonObject, string][])('of %j is %s', (value, bytes) => {
    expect(hex(struct(4, value))).toBe(bytes)
  })

  it('is read back by protobufjs, whatever is in it', () => {
    const json = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 }))
    fc.assert(
      fc.property(json, value => {
        expect(readBack(value as JsonObject)).toEqual(value)
      }),
      { numRuns: 300 },
    )
  })

  it('may have any key, and no prototype', () => {
    const value = JSON.parse('{"__proto__":{"a":1},"constructor":2,"":3}') as JsonObject
    expect(Object.entries(readBack(value) as object)).toEqual(Object.entries(value))
    const bare = Object.assign(Object.create(null) as JsonObject, { a: 1 })
    expect(readBack(bare)).toEqual({ a: 1 })
  })

  it.each([
    ['a text', 'a'],
    ['a number', 1],
    ['a list', []],
    ['null', null],
    ['undefined', undefined],
    ['a function', () => 1],
    ['a Map', new Map([['a', 1]])],
    ['a Date', new Date(0)],
    ['a boxed text', new String('a')],
  ])('cannot be %s', (_, value) => {
    expect(() => struct(4, wrong(value))).toThrow()
  })

  it.each([
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['undefined', undefined],
    ['a function', () => 1],
    ['a symbol', Symbol('a')],
    ['a bigint', 1n],
    ['a Map', new Map([['a', 1]])],
    ['a Date', new Date(0)],
    ['a boxed number', new Number(1)],
    ['bytes', Buffer.from('a')],
    ['half a surrogate pair', '\ud800'],
    ['a key with half a surrogate pair', { '\ud800': 1 }],
    ['a list with a hole', new Array(1)],
  ])('cannot hold %s, wherever it stands', (_, item) => {
    for (const value of [{ a: item }, { a: [item] }, { a: { b: item } }, { a: [{ b: [1, item] }] }])
      expect(() => struct(4, wrong(value))).toThrow()
  })

  it('cannot hold itself', () => {
    const cyclic: Record<string, unknown> = {}
    cyclic.a = [cyclic]
    expect(() => struct(4, wrong(cyclic))).toThrow()
  })

  const inObjects = (depth: number): JsonObject => (depth === 1 ? { a: 1 } : { a: inObjects(depth - 1) })
  const inLists = (depth: number) => {
    let value: unknown = 1
    for (let i = 1; i < depth; i++) value = [value]
    return { a: value } as JsonObject
  }

  it.each([
    ['objects', inObjects],
    ['lists', inLists],
  ])('is at most 32 %s deep, which Envoy can still read', (_, nested) => {
    expect(readBack(nested(32))).toEqual(nested(32))
    expect(() => struct(4, nested(33))).toThrow()
    expect(() => struct(4, nested(5_000))).toThrow()
  })
})
