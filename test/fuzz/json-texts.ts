import fc from 'fast-check'

/*
 * Texts of JSON objects as no serialiser writes them: names twice and in several spellings, numbers of every length,
 * white space, nesting and amounts around what is accepted.
 */

const NUMBERS = [
  ...['0', '-0', '1', '1.0', '10', '1e2', '1E+2', '0.1', '123456789012345', '1234567890123456'],
  ...['9007199254740993', '12345678901234567890', '0.1234567890123456789'],
  ...['1e999', '1e-999', '1e1000', '-1e400'],
]
/** No numbers, or written as hardly anybody does. */
const ODD_NUMBERS = [
  ...['01', '1.', '.5', '+1', '0.00000000000000000000000001', '1e0000000001', 'NaN', '0x10'],
]
const TEXTS = [
  ...['""', '"a"', '"\\u0061"', '"sub"', '"s\\u0075b"', '"\\/"', '"/"', '"__proto__"', '"act"'],
  ...['"é"', '"\\u00e9"', '"\\ud83d\\ude00"', '"😀"'],
]
/** No texts, or such as are easily misread. */
const ODD_TEXTS = [
  ...['"\\ud800"', '"\\udc00\\ud800"', '"\\""', '"\\\\"', '"\\x"', '"\\u12"', '"\t"'],
  ...['"a\\nb"', '"{[,]}"', '"1e5"', '"12345678901234567890"', '"\\\\u0061"'],
]
/** Those that V8 has taken for one another: nodejs/node#63785. */
const ALIKE = ['"\\\\"', '"\\/"', '"\\\\u0"', '"\\u0061ct"', '"\\u0073ub"']
const SPACES = ['', '', '', ' ', '\n', '\t\r']
/** White space elsewhere, not in JSON. */
const ODD_SPACES = ['\u00a0', '\ufeff']

const space = fc.constantFrom(...SPACES)
const scalar = fc.oneof(
  { arbitrary: fc.constantFrom(...NUMBERS), weight: 6 },
  { arbitrary: fc.constantFrom(...TEXTS), weight: 6 },
  { arbitrary: fc.constantFrom('true', 'false', 'null', '{}', '[]', '[1,"a",{"a":[]}]'), weight: 4 },
  {
    arbitrary: fc.constantFrom(
      ...[...NUMBERS, ...ODD_NUMBERS, ...TEXTS, ...ODD_TEXTS],
      ...['True', 'undefined', '', '[1,]', '{"a"}', '{a:1}'],
    ),
    weight: 1,
  },
)
const depths = fc.oneof(fc.integer({ min: 29, max: 34 }), fc.integer({ min: 61, max: 66 }))
const nest = fc.tuple(depths, fc.constantFrom('[', '{"a":')).map(([depth, open]) => {
  const close = open === '[' ? ']' : '}'
  return `${open.repeat(depth)}1${close.repeat(depth)}`
})
const many = fc.oneof(
  fc
    .oneof(fc.integer({ min: 380, max: 402 }), fc.integer({ min: 510, max: 514 }))
    .map(count => `{${listed(count, i => `"n${i}":${i}`)}}`),
  fc.integer({ min: 1_490, max: 1_550 }).map(count => `[${listed(count, () => '""')}]`),
)
const value = fc.oneof(
  { arbitrary: scalar, weight: 60 },
  { arbitrary: nest, weight: 3 },
  { arbitrary: many, weight: 1 },
)
const name = fc.oneof(
  { arbitrary: fc.nat(999).map(number => `"c${number}"`), weight: 6 },
  { arbitrary: fc.constantFrom(...TEXTS), weight: 2 },
  { arbitrary: fc.constantFrom(...TEXTS, ...ODD_TEXTS, '1', 'a'), weight: 1 },
  { arbitrary: fc.constantFrom(...ALIKE), weight: 2 },
)
const member = fc
  .tuple(space, name, space, value)
  .map(([a, name, b, value]) => `${a}${name}${b}:${b}${value}${a}`)

/** One of these objects with other members before or behind its own, which may have the same names. */
export function jsonTexts(objects: readonly string[]): fc.Arbitrary<string> {
  const outer = fc.oneof(
    { arbitrary: fc.constant(''), weight: 20 },
    { arbitrary: fc.constantFrom(...SPACES, ...ODD_SPACES), weight: 1 },
  )
  return fc
    .tuple(fc.constantFrom('{}', ...objects), fc.array(member, { maxLength: 5 }), fc.boolean(), outer, outer)
    .map(([object, members, before, ahead, behind]) => {
      const own = object.slice(1, -1)
      const all = [...(own === '' ? [] : [own])]
      if (before) all.unshift(...members)
      else all.push(...members)
      return `${ahead}{${all.join()}}${behind}`
    })
}

function listed(count: number, item: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => item(i)).join()
}
