import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Reader } from '../../../../src/listen/wire/reader.ts'
import { outcome } from './outcome.ts'

const reader = (hex: string) => new Reader(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

/** As the protobuf documentation describes it: seven bits a byte, the lowest first. */
function varintOf(value: bigint): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(rest)])
}

describe('a varint', () => {
  it.each([
    ['00', 0],
    ['01', 1],
    ['7f', 127],
    ['80 01', 128],
    ['ac 02', 300],
    ['ff ff ff ff 07', 2 ** 31 - 1],
    ['80 80 80 80 08', 2 ** 31],
    ['ff ff ff ff 0f', 2 ** 32 - 1],
    ['80 80 80 80 10', 2 ** 32],
    ['ff ff ff ff ff ff ff 0f', 2 ** 53 - 1],
    ['80 80 80 80 80 80 80 80 80 01', 2 ** 63],
    ['80 00', 0],
    ['81 80 80 80 80 80 80 80 80 00', 1],
  ])('%s is %i', (hex, value) => {
    expect(reader(hex).varint()).toBe(value)
  })

  it('is read as unsigned, signed or cut to 32 bits, whatever 64 bits it holds', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), value => {
        const bytes = varintOf(value)
        expect(new Reader(bytes).varint()).toBe(Number(value))
        expect(new Reader(bytes).int64()).toBe(Number(BigInt.asIntN(64, value)))
        expect(new Reader(bytes).low32()).toBe(Number(BigInt.asUintN(32, value)))
      }),
      { numRuns: 500 },
    )
  })

  it.each([
    ['nothing', ''],
    ['an end in the middle', '80'],
    ['an end in the middle, later', 'ff ff ff ff ff ff ff ff ff'],
    ['a 65th bit', 'ff ff ff ff ff ff ff ff ff 02'],
    ['eleven bytes', '80 80 80 80 80 80 80 80 80 80 01'],
    ['eleven bytes of nothing', '80 80 80 80 80 80 80 80 80 80 00'],
  ])('is refused where there is %s', (_, hex) => {
    for (const read of ['varint', 'int64', 'low32'] as const)
      expect(outcome(() => reader(hex)[read]())).toBe('request_malformed')
    expect(outcome(() => reader(hex).skip(0))).toBe('request_malformed')
  })
})

describe('the next field', () => {
  it.each([
    ['08', 1, 0],
    ['12', 2, 2],
    ['7d', 15, 5],
    ['82 01', 16, 2],
    ['ff ff ff ff 0f', 2 ** 29 - 1, 7],
    ['8a 00', 1, 2],
  ])('of %s has number %i and type %i', (hex, field, type) => {
    expect(reader(hex).next()).toEqual({ field, type })
  })

  it('is none at the end', () => {
    expect(reader('').next()).toBeUndefined()
    const one = reader('08 01')
    one.next()
    one.varint()
    expect(one.next()).toBeUndefined()
  })

  it.each(['00', '02', '05', '07', '80 00'])('has no number 0: %s', hex => {
    expect(outcome(() => reader(hex).next())).toBe('request_malformed')
  })

  it.each(['80 80 80 80 10', '8a 80 80 80 80 01', 'ff ff ff ff ff ff ff ff ff 01'])(
    'has no number over 2^29: %s',
    hex => {
      expect(outcome(() => reader(hex).next())).toBe('request_malformed')
    },
  )
})

describe('a double', () => {
  it.each([
    ['00 00 00 00 00 00 f0 3f', 1],
    ['00 00 00 00 00 00 25 40', 10.5],
    ['ff ff ff ff ff ff ef 7f', Number.MAX_VALUE],
    ['00 00 00 00 00 00 f8 7f', Number.NaN],
    ['00 00 00 00 00 00 f0 ff', Number.NEGATIVE_INFINITY],
  ])('%s is %d', (hex, value) => {
    expect(reader(hex).double()).toBe(value)
  })

  it('is refused where it is cut', () => {
    expect(outcome(() => reader('00 00 00 00 00 00 f0').double())).toBe('request_malformed')
  })
})

describe('a text', () => {
  it.each([
    ['00', ''],
    ['03 61 62 63', 'abc'],
    ['04 f0 9f 98 80', '😀'],
    ['01 00', '\u0000'],
    ['04 ef bb bf 61', '\ufeffa'],
    ['03 ef bf bd', '\ufffd'],
    ['03 ef bf bf', '\uffff'],
  ])('%s is %j', (hex, text) => {
    expect(reader(hex).text()).toBe(text)
  })

  it.each([
    ['a byte that is never there', '01 ff'],
    ['a byte of the middle alone', '01 80'],
    ['a character that is cut', '02 e2 82'],
    ['an over-long slash', '02 c0 af'],
    ['an over-long NUL', '03 e0 80 80'],
    ['half a surrogate pair', '03 ed a0 80'],
    ['what is beyond Unicode', '04 f4 90 80 80'],
    ['Latin-1', '04 63 61 66 e9'],
  ])('is refused with %s', (_, hex) => {
    expect(outcome(() => reader(hex).text())).toBe('request_malformed')
  })
})

it('bytes are what they are', () => {
  const one = reader('03 00 ff 80 01 61')
  expect(one.bytes()).toEqual(Buffer.from([0x00, 0xff, 0x80]))
  expect(one.text()).toBe('a')
})

describe('a length', () => {
  it.each([
    ['one beyond the end', '02 61'],
    ['of nothing behind it', '01'],
    ['of 4 GiB', 'ff ff ff ff 0f 61'],
    ['whose low 32 bits would fit', '81 80 80 80 10 61'],
    ['as long as a number can be', 'ff ff ff ff ff ff ff ff ff 01 61'],
  ])('%s is refused', (_, hex) => {
    for (const read of ['text', 'bytes', 'message'] as const)
      expect(outcome(() => reader(hex)[read]())).toBe('request_malformed')
    expect(outcome(() => reader(hex).skip(2))).toBe('request_malformed')
  })
})

describe('a message within a message', () => {
  it('is read apart from what stands around it', () => {
    const outer = reader('02 08 05 10 07')
    const inner = outer.message()
    expect(inner.next()).toEqual({ field: 1, type: 0 })
    expect(inner.varint()).toBe(5)
    expect(inner.next()).toBeUndefined()
    expect(outer.next()).toEqual({ field: 2, type: 0 })
    expect(outer.varint()).toBe(7)
  })

  it.each([
    ['varint', '01 80 01 00 00 00 00 00 00 00'],
    ['double', '07 00 00 00 00 00 00 f0 3f'],
    ['text', '02 02 61 62'],
    ['bytes', '02 02 61 62'],
    ['message', '02 02 08 01'],
  ] as const)('never takes its %s from what stands behind it', (read, hex) => {
    expect(outcome(() => reader(hex).message()[read]())).toBe('request_malformed')
  })
})

describe('a field that is not known', () => {
  it.each([
    ['a varint', 0, 'ff ff ff ff ff ff ff ff ff 01'],
    ['64 bits', 1, '01 02 03 04 05 06 07 08'],
    ['bytes', 2, '03 ff ff ff'],
    ['bytes, none', 2, '00'],
    ['32 bits', 5, '01 02 03 04'],
  ])('is passed over to its last byte: %s', (_, type, hex) => {
    const one = reader(`${hex} 2a`)
    one.skip(type)
    expect(one.varint()).toBe(42)
    expect(one.next()).toBeUndefined()
  })

  it.each([
    ['64 bits', 1, '01 02 03 04 05 06 07'],
    ['32 bits', 5, '01 02 03'],
  ])('is refused where it is cut: %s', (_, type, hex) => {
    expect(outcome(() => reader(hex).skip(type))).toBe('request_malformed')
  })

  it.each([3, 4, 6, 7])('is refused with type %i: groups are gone, the others never were', type => {
    expect(outcome(() => reader('0c 0c 0c 0c 0c 0c 0c 0c').skip(type))).toBe('request_malformed')
  })
})
