import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { exactObject, readStrict, strictObject } from '../../../src/identify/json.ts'

const members = (count: number) => `{${Array.from({ length: count }, (_, i) => `"n${i}":${i}`)}}`
const nested = (depth: number) => `${'{"a":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`

const isPlain = (name: string) => JSON.stringify(name) === `"${name}"`
const namesOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null
    ? [...(Array.isArray(value) ? [] : Object.keys(value)), ...Object.values(value).flatMap(namesOf)]
    : []

describe('a strict JSON object', () => {
  it.each([
    ['a key twice', '{"a":1,"a":1}'],
    ['a key twice, spelt in two ways', '{"act":1,"\\u0061ct":2}'],
    ['a key twice, further down', '{"a":[{"b":{"c":1,"c":2}}]}'],
    ['a key twice, with others and text between', '{"a":"\\",{[","b":[1,{"a":2}],"a":3}'],
    ['nested too deep', nested(33)],
    ['lists nested too deep', `{"a":${'['.repeat(32)}${']'.repeat(32)}}`],
    ['half a surrogate pair in a text', '{"a":"\\ud800"}'],
    ['half a surrogate pair in a key', '{"\\udc00":1}'],
    ['a byte order mark', '\ufeff{}'],
    ['a list', '[]'],
    ['null', 'null'],
    ['a text', '"{}"'],
    ['a number', '1'],
    ['nothing', ''],
    ['something behind it', '{} {}'],
    ['a comment', '{/**/}'],
    ['a trailing comma', '{"a":1,}'],
    ['more names than anybody needs', members(401)],
    ['more names than anybody needs, in several objects', `{"a":${members(200)},"b":${members(199)}}`],
    ['a list that is longer than anybody needs', `{"a":[${Array(3_100).fill(1)}]}`],
    ['more texts than anybody needs', `{"a":[${Array(1_600).fill('""')}]}`],
    ['more objects than anybody needs', `{"a":[${Array(1_100).fill('{}')}]}`],
    ['an escape that is none', '{"\\x":1}'],
    ['a name that needs an escape', '{"a\\\\":1}'],
    ['half an escape', '{"\\u00":1}'],
    ['a text without an end', '{"a'],
    ['a text that ends in a backslash', '{"a\\'],
    ['a bracket too many', '{}}'],
    ['half a surrogate pair as it is', '{"a":"\ud800"}'.replace('\\ud800', '\ud800')],
  ])('is refused with %s', (_, text) => {
    expect(strictObject(text)).toBeUndefined()
  })

  it.each([
    ['nested as deep as may be', nested(32)],
    ['one key in two objects', '{"a":{"a":1},"b":[{"a":1},{"a":2}]}'],
    ['a key that is a text elsewhere', '{"a":"a","b":["a","a"]}'],
    ['brackets in texts', '{"a":"{[\\"","b":"}]"}'],
    ['space', ' { "a" : [ 1 , "b" ] } '],
    ['as many names as may be', members(400)],
    ['a list of fifteen hundred', `{"a":[${Array(1_500).fill('"b"')}]}`],
    ['backslashes at the end of texts', '{"a":"b\\\\","c":"\\""}'],
    ['a name with escapes that it does not need', '{"https:\\/\\/a":{"\\u0061ct":1}}'],
  ])('may have %s', (_, text) => {
    expect(strictObject(text)).toEqual(JSON.parse(text))
  })

  it.each([
    ['{"z":1,"\\\\u0":1,"y":2}', '{"z":1,"\\u0063nf":{},"y":2}', 'cnf'],
    ['{"z":1,"a\\\\/":1}', '{"z":1,"a\\/b":{}}', 'a/b'],
  ])('has its names whatever was parsed before: after %s, %s', (before, text, name) => {
    JSON.parse(before)
    expect(Object.keys(strictObject(text) as object)).toContain(name)
    expect(Object.keys(exactObject(readStrict(text)?.text as string) as object)).toContain(name)
  })

  it('keeps a key named __proto__ a key', () => {
    const value = strictObject('{"__proto__":{"sub":"mallory"}}')
    expect(value?.sub).toBeUndefined()
    expect(Object.keys(value as object)).toEqual(['__proto__'])
  })

  it('is whatever JSON.stringify wrote of one', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 })), object => {
        const text = JSON.stringify(object)
        expect(strictObject(text)).toEqual(namesOf(object).every(isPlain) ? JSON.parse(text) : undefined)
      }),
    )
  })

  it('is never one with a key repeated anywhere', () => {
    fc.assert(
      fc.property(fc.string(), fc.jsonValue({ maxDepth: 3 }), fc.nat(20), (key, value, depth) => {
        const member = `${JSON.stringify(key)}:${JSON.stringify(value)}`
        const text = `${'{"x":['.repeat(depth)}{${member},"between it":0,${member}}${']}'.repeat(depth)}`
        expect(JSON.parse(text)).toBeDefined()
        expect(strictObject(text)).toBeUndefined()
      }),
    )
  })
})

describe('the exact object of a text', () => {
  it.each([
    '9007199254740993',
    '-9007199254740993',
    '12345678901234567890',
    '0.12345678901234567',
    '1e400',
    '1e999',
    '1e-999',
    '1.23456789e-320',
  ])('keeps the digits of %s, which as a double is another number', digits => {
    const text = `{"sub":"a","n":[${digits}],"exp":1790000000}`
    const object = exactObject(text)
    expect(JSON.stringify(object)).toBe(text)
    expect(object).toMatchObject({ exp: 1_790_000_000 })
  })

  it.each([
    ['1.0', 1],
    ['-0', -0],
    ['1.79e9', 1_790_000_000],
    ['1790000000.25', 1_790_000_000.25],
    ['1790000000.000', 1_790_000_000],
    ['1e-300', 1e-300],
    ['1790000000.1234567', 1_790_000_000.123_456_7],
    ['9007199254740992', 2 ** 53],
  ])('has %s as the number that it is', (digits, number) => {
    expect(exactObject(`{"n":${digits}}`)).toEqual({ n: number })
    expect(exactObject(`{"n":${digits},"id":12345678901234567890}`)).toMatchObject({ n: number })
  })

  it.each(['1e1000', '-1.5E-99999', '[1,{"b":1e+1000}]'])(
    'is none with %s, which fills the memory',
    value => {
      expect(exactObject(`{"a":${value}}`)).toBeUndefined()
      expect(exactObject(`{"a":"${'1e1000'}"}`)).toEqual({ a: '1e1000' })
    },
  )

  it('is what JSON.parse reads where doubles hold all numbers', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.oneof(fc.integer(), fc.string(), fc.boolean())), object => {
        const text = JSON.stringify(object)
        expect(exactObject(text)).toEqual(JSON.parse(text))
      }),
    )
  })
})
