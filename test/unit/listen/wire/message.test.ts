import { describe, expect, it } from 'vitest'
import {
  bool,
  bytes,
  enumeration,
  type Fields,
  int32,
  int64,
  list,
  map,
  message,
  readMessage,
  struct,
  text,
  uint32,
} from '../../../../src/listen/wire/message.ts'
import { Reader } from '../../../../src/listen/wire/reader.ts'
import * as write from '../../../../src/listen/wire/writer.ts'
import { outcome } from './outcome.ts'

const pair = { 1: ['a', text], 2: ['b', text] } as const
const fields: Fields = {
  1: ['text', text],
  2: ['bytes', bytes],
  3: ['long', int64],
  4: ['unsigned', uint32],
  5: ['signed', int32],
  6: ['flag', bool],
  7: ['color', enumeration('RED', 'BLUE')],
  8: ['pair', message(pair)],
  9: ['pairs', list(pair)],
  10: ['labels', map(text)],
  11: ['named', map(message(pair))],
  12: ['struct', struct],
  13: ['structs', map(struct)],
  14: ['left', text, ['right', 'box']],
  15: ['right', uint32, ['left', 'box']],
  16: ['box', message(pair), ['left', 'right']],
}

const read = (...parts: Buffer[]) => readMessage(fields, new Reader(Buffer.concat(parts)))
const raw = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex')
const entry = (field: number, key: string, value: Buffer) => write.message(field, write.text(1, key), value)

/** A field of any type with room enough for it; its 0 would pass for an empty text or message, so that only the type is wrong. */
const ofType = (field: number, type: number) =>
  Buffer.concat([Buffer.from([((field & 15) << 3) | type | 0x80, field >> 4]), CONTENT[type] as Buffer])
const CONTENT: { [type: number]: Buffer } = {
  0: raw('00'),
  1: raw('00 00 00 00 00 00 00 00'),
  2: raw('00'),
  5: raw('00 00 00 00'),
}

describe('a single value', () => {
  it.each([
    ['a text', write.text(1, 'é'), { text: 'é' }],
    ['bytes, in base64', write.message(2, raw('00 ff fe')), { bytes: 'AP/+' }],
    ['an int64', write.varint(3, 2 ** 40), { long: 2 ** 40 }],
    ['a negative int64', raw('18 ff ff ff ff ff ff ff ff ff 01'), { long: -1 }],
    ['the least int64', raw('18 80 80 80 80 80 80 80 80 80 01'), { long: -(2 ** 63) }],
    ['the greatest uint32', write.varint(4, 2 ** 32 - 1), { unsigned: 2 ** 32 - 1 }],
    ['a uint32, cut to 32 bits', write.varint(4, 2 ** 32 + 7), { unsigned: 7 }],
    ['a negative int32, sent in ten bytes', raw('28 ff ff ff ff ff ff ff ff ff 01'), { signed: -1 }],
    ['a negative int32, sent in five', write.varint(5, 2 ** 32 - 1), { signed: -1 }],
    ['an int32, cut to 32 bits', write.varint(5, 2 ** 32 + 7), { signed: 7 }],
    ['true', write.varint(6, 1), { flag: true }],
    ['true, whichever bit says so', write.varint(6, 2 ** 32), { flag: true }],
    ['an enum, by its number', write.varint(7, 1), { color: 1 }],
    ['an enum that has no name here', write.varint(7, 99), { color: 99 }],
    ['a negative enum', raw('38 ff ff ff ff ff ff ff ff ff 01'), { color: -1 }],
  ])('is read: %s', (_, given, wanted) => {
    expect(read(given)).toEqual(wanted)
  })

  it.each([
    ['text', write.text(1, '')],
    ['bytes', write.message(2)],
    ['int64', write.varint(3, 0)],
    ['uint32', write.varint(4, 0)],
    ['a uint32 with nothing in its 32 bits', write.varint(4, 2 ** 32)],
    ['int32', write.varint(5, 0)],
    ['bool', write.varint(6, 0)],
    ['enum', write.varint(7, 0)],
  ])('is left out where it is sent with its default: %s', (_, given) => {
    expect(Object.keys(read(given))).toEqual([])
  })

  it('counts as it came last', () => {
    expect(read(write.text(1, 'a'), write.text(1, 'b'))).toEqual({ text: 'b' })
    expect(Object.keys(read(write.text(1, 'a'), write.text(1, '')))).toEqual([])
    expect(Object.keys(read(write.varint(6, 1), write.varint(6, 0)))).toEqual([])
  })

  it('is refused where it is text and not UTF-8', () => {
    expect(outcome(() => read(raw('0a 01 ff')))).toBe('request_malformed')
  })
})

describe('a message', () => {
  it('that is present but empty is kept', () => {
    expect(read(write.message(8))).toEqual({ pair: {} })
    expect(read(write.message(8, write.text(1, '')))).toEqual({ pair: {} })
  })

  it('that comes twice is merged', () => {
    const twice = [write.text(1, 'a'), write.text(2, 'b'), write.text(1, 'c')].map(part =>
      write.message(8, part),
    )
    expect(read(...twice)).toEqual({ pair: { a: 'c', b: 'b' } })
  })

  it('is read over what is known of it', () => {
    const known = read(write.text(1, 'a'))
    expect(readMessage(fields, new Reader(write.varint(6, 1)), known)).toEqual({ text: 'a', flag: true })
  })

  it('has no prototype, at any depth', () => {
    const drafts = read(write.message(8), write.message(12), write.message(10), write.message(9))
    for (const draft of [drafts, drafts.pair, drafts.struct, drafts.labels, (drafts.pairs as object[])[0]])
      expect(Object.getPrototypeOf(draft)).toBeNull()
  })
})

describe('a list', () => {
  it('keeps its order, its repetitions and its empty members', () => {
    const items = ['a', '', 'a'].map(value => write.message(9, write.text(1, value)))
    expect(read(...items)).toEqual({ pairs: [{ a: 'a' }, {}, { a: 'a' }] })
  })

  it('that is not there is left out', () => {
    expect(Object.keys(read())).toEqual([])
  })
})

describe('a map', () => {
  it.each([
    ['text', write.text(2, 'x'), { a: 'x' }],
    ['empty text', write.text(2, ''), { a: '' }],
    ['no value', raw(''), { a: '' }],
    ['a value twice', Buffer.concat([write.text(2, 'x'), write.text(2, 'y')]), { a: 'y' }],
    ['a field that is not known', Buffer.concat([write.text(3, 'x'), write.text(2, 'y')]), { a: 'y' }],
  ])('may hold %s', (_, value, wanted) => {
    expect(read(entry(10, 'a', value))).toEqual({ labels: wanted })
  })

  it('may have no key, which is the empty one', () => {
    expect(read(write.message(10, write.text(2, 'x')))).toEqual({ labels: { '': 'x' } })
    expect(read(write.message(10))).toEqual({ labels: { '': '' } })
  })

  it('may have its value before its key', () => {
    expect(read(write.message(10, write.text(2, 'x'), write.text(1, 'a')))).toEqual({ labels: { a: 'x' } })
  })

  it('holds of a key what came last', () => {
    const twice = ['x', 'y'].map(value => entry(10, 'a', write.text(2, value)))
    expect(read(...twice)).toEqual({ labels: { a: 'y' } })
    const replaced = [1, 2].map(member => entry(11, 'a', write.message(2, write.text(member, 'x'))))
    expect(read(...replaced)).toEqual({ named: { a: { b: 'x' } } })
  })

  it('may hold messages and structs, empty ones included', () => {
    expect(read(entry(11, 'a', raw('')), entry(11, 'b', write.message(2)))).toEqual({
      named: { a: {}, b: {} },
    })
    expect(read(entry(13, 'a', raw('')), entry(13, 'b', write.struct(2, { x: 1 })))).toEqual({
      structs: { a: {}, b: { x: 1 } },
    })
  })

  it('keeps keys that mean something to JavaScript', () => {
    const keys = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
    const { labels } = read(...keys.map(key => entry(10, key, write.text(2, key))))
    expect(Object.entries(labels as object)).toEqual(keys.map(key => [key, key]))
    const { structs } = read(entry(13, '__proto__', write.struct(2, { polluted: true })))
    expect(Object.keys(structs as object)).toEqual(['__proto__'])
    expect('polluted' in {}).toBe(false)
  })
})

describe('a oneof', () => {
  const left = write.text(14, 'l')
  const right = write.varint(15, 7)
  const box = (...parts: Buffer[]) => write.message(16, ...parts)

  it.each([
    ['left, right', [left, right], { right: 7 }],
    ['right, left', [right, left], { left: 'l' }],
    ['left, box', [left, box()], { box: {} }],
    ['box, right', [box(write.text(1, 'a')), right], { right: 7 }],
    ['left, right, box, left', [left, right, box(), left], { left: 'l' }],
    ['left, right with its default', [left, write.varint(15, 0)], {}],
    ['box, box', [box(write.text(1, 'a')), box(write.text(2, 'b'))], { box: { a: 'a', b: 'b' } }],
    ['box, left, box', [box(write.text(1, 'a')), left, box(write.text(2, 'b'))], { box: { b: 'b' } }],
  ] as [string, Buffer[], object][])('keeps the last only: %s', (_, given, wanted) => {
    expect(Object.entries(read(...given))).toEqual(Object.entries(wanted))
  })
})

describe('a struct', () => {
  /** The struct `{a: value}` with the fields of a `google.protobuf.Value` as given. */
  const valued = (...parts: Buffer[]) => write.message(12, entry(1, 'a', write.message(2, ...parts)))
  const number = (hex: string) => Buffer.concat([raw('11'), raw(hex)])
  const ONE = number('00 00 00 00 00 00 f0 3f')

  it('is the plain JSON that it stands for', () => {
    const value = {
      null: null,
      number: 10.5,
      negative: -1e300,
      text: 'é',
      empty: '',
      yes: true,
      no: false,
      object: { a: { b: {} } },
      list: [1, 'a', null, [], {}, [[false]]],
      '': 0,
    }
    expect(read(write.struct(12, value))).toEqual({ struct: value })
    expect(Object.keys(read(write.message(12)))).toEqual(['struct'])
  })

  it('keeps keys that mean something to JavaScript, at any depth', () => {
    const text = '{"__proto__":{"__proto__":[{"__proto__":1}]},"constructor":{"prototype":{"a":1}}}'
    expect(JSON.stringify(read(write.struct(12, JSON.parse(text))).struct)).toBe(text)
    expect('a' in {}).toBe(false)
  })

  it.each([
    ['no value', write.message(12, entry(1, 'a', raw(''))), { a: null }],
    ['a value of no kind', valued(), { a: null }],
    ['a null of another number', valued(write.varint(1, 5)), { a: null }],
    ['a true of another number', valued(write.varint(4, 2 ** 40)), { a: true }],
    ['two kinds', valued(ONE, write.text(3, 'x')), { a: 'x' }],
    ['two kinds, the last of them null', valued(ONE, write.varint(1, 0)), { a: null }],
    ['no key', write.message(12, write.message(1, write.message(2, ONE))), { '': 1 }],
    [
      'a value before its key',
      write.message(12, write.message(1, write.message(2, ONE), write.text(1, 'a'))),
      { a: 1 },
    ],
    [
      'a key twice',
      write.message(12, entry(1, 'a', write.message(2, ONE)), entry(1, 'a', raw(''))),
      { a: null },
    ],
    [
      'a list of values of no kind',
      valued(write.message(6, write.message(1), write.message(1))),
      { a: [null, null] },
    ],
  ])('may have %s', (_, given, wanted) => {
    expect(read(given)).toEqual({ struct: wanted })
  })

  it('that comes twice is merged, by the first level of its keys', () => {
    const twice = [write.struct(12, { a: { x: 1 }, b: 1 }), write.struct(12, { a: { y: 2 }, c: 2 })]
    expect(read(...twice)).toEqual({ struct: { a: { y: 2 }, b: 1, c: 2 } })
  })

  it.each([
    ['NaN', '00 00 00 00 00 00 f8 7f'],
    ['Infinity', '00 00 00 00 00 00 f0 7f'],
    ['-Infinity', '00 00 00 00 00 00 f0 ff'],
  ])('is refused with %s, of which JSON would make null', (_, hex) => {
    expect(outcome(() => read(valued(number(hex))))).toBe('request_malformed')
    expect(outcome(() => read(valued(write.message(6, write.message(1, number(hex))))))).toBe(
      'request_malformed',
    )
    expect(outcome(() => read(valued(number(hex), ONE)))).toBe('request_malformed')
  })

  /** Values inside one another, made from the innermost out; `around` puts one into another. */
  const nested = (depth: number, around: (inner: Buffer) => Buffer) => {
    let value: Buffer = ONE
    for (let i = 0; i < depth; i++) value = around(value)
    return valued(value)
  }
  it.each([
    ['objects', (inner: Buffer) => write.message(5, entry(1, 'a', write.message(2, inner)))],
    ['lists', (inner: Buffer) => write.message(6, write.message(1, inner))],
    [
      'both',
      (inner: Buffer) =>
        write.message(6, write.message(1, write.message(5, entry(1, 'a', write.message(2, inner))))),
    ],
  ])('may be 64 deep under its first level, and no deeper: %s', (name, around) => {
    const most = name === 'both' ? 32 : 64
    expect(outcome(() => read(nested(most, around)))).toBe('read')
    expect(outcome(() => read(nested(most + 1, around)))).toBe('request_malformed')
    expect(outcome(() => read(nested(500, around)))).toBe('request_malformed')
  })

  it('is as deep in a map', () => {
    let value: Buffer = ONE
    for (let i = 0; i < 65; i++) value = write.message(5, entry(1, 'a', write.message(2, value)))
    const struct = entry(1, 'a', write.message(2, value))
    expect(outcome(() => read(entry(13, 'x', write.message(2, struct))))).toBe('request_malformed')
  })
})

describe('a field that is not known', () => {
  const strangers = [0, 1, 2, 5].map(type => ofType(100, type))
  const around = (...parts: Buffer[]) => [...strangers, ...parts, ...strangers]
  const value = write.message(2, ...around(write.text(3, 'x')))

  it.each([
    ['a message', around(write.text(1, 'x')), { text: 'x' }],
    ['a message within', [write.message(8, ...around(write.text(1, 'x')))], { pair: { a: 'x' } }],
    ['a member of a list', [write.message(9, ...around(write.text(1, 'x')))], { pairs: [{ a: 'x' }] }],
    [
      'an entry of a map',
      [write.message(10, ...around(write.text(1, 'a'), write.text(2, 'x')))],
      { labels: { a: 'x' } },
    ],
    ['a struct', [write.message(12, ...around(entry(1, 'a', value)))], { struct: { a: 'x' } }],
    [
      'an entry of a struct, and its value',
      [write.message(12, write.message(1, ...around(write.text(1, 'a'), value)))],
      { struct: { a: 'x' } },
    ],
    [
      'a list in a struct',
      [
        write.message(
          12,
          entry(1, 'a', write.message(2, write.message(6, ...around(write.message(1, write.text(3, 'x')))))),
        ),
      ],
      { struct: { a: ['x'] } },
    ],
  ] as [string, Buffer[], object][])('is passed over in %s', (_, given, wanted) => {
    expect(read(...given)).toEqual(wanted)
  })

  it('has no say about a oneof', () => {
    expect(read(write.text(14, 'l'), ofType(17, 2))).toEqual({ left: 'l' })
  })

  it.each([3, 4, 6, 7])('is refused with type %i', type => {
    const group = Buffer.from([0x80 | type, 0x08])
    for (const wrap of [
      (inner: Buffer) => inner,
      (inner: Buffer) => write.message(8, inner),
      (inner: Buffer) => write.message(10, inner),
      (inner: Buffer) => write.message(12, inner),
      (inner: Buffer) => write.message(12, write.message(1, inner)),
      (inner: Buffer) => write.message(12, write.message(1, write.message(2, inner))),
      (inner: Buffer) => write.message(12, write.message(1, write.message(2, write.message(6, inner)))),
    ])
      expect(outcome(() => read(wrap(group)))).toBe('request_malformed')
  })
})

describe('a field of the wrong type', () => {
  const types = Object.entries(fields).flatMap(([field, [name, { kind }]]) => {
    const right = ['int64', 'uint32', 'int32', 'bool', 'enum'].includes(kind) ? 0 : 2
    return [0, 1, 2, 5].map(type => [name, type, Number(field), type === right] as const)
  })
  it.each(types)('%s with type %i', (_name, type, field, right) => {
    expect(outcome(() => read(ofType(field, type)))).toBe(right ? 'read' : 'request_malformed')
  })

  const inside =
    (...wraps: number[]) =>
    (inner: Buffer) =>
      wraps.reduceRight((content, field) => write.message(field, content), inner)
  const places: [string, (inner: Buffer) => Buffer, { [field: number]: number }][] = [
    ['an entry of a map', inside(10), { 1: 2, 2: 2 }],
    ['a struct', inside(12), { 1: 2 }],
    ['an entry of a struct', inside(12, 1), { 1: 2, 2: 2 }],
    ['a value', inside(12, 1, 2), { 1: 0, 2: 1, 3: 2, 4: 0, 5: 2, 6: 2 }],
    ['a list of values', inside(12, 1, 2, 6), { 1: 2 }],
  ]
  it.each(
    places.flatMap(([place, wrap, right]) =>
      Object.entries(right).flatMap(([field, wanted]) =>
        [0, 1, 2, 5].map(type => [place, Number(field), type, type === wanted, wrap] as const),
      ),
    ),
  )('in %s, field %i with type %i', (_place, field, type, right, wrap) => {
    expect(outcome(() => read(wrap(ofType(field, type))))).toBe(right ? 'read' : 'request_malformed')
  })
})
