import fc from 'fast-check'
import { pair } from '../../vectors/keys.ts'
import { GOOD_CLAIMS, GOOD_HEADER, ISSUER, NOW } from '../../vectors/token.ts'
import { AUDIENCE } from './oracle.ts'

/* Changes of every kind that chance can find: of a text, of claims, of a header. */

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const put = (text: string, at: number, length: number, piece: string) =>
  text.slice(0, at) + piece + text.slice(at + length)
const inPart = (text: string, n: number, change: (part: string) => string) =>
  text
    .split('.')
    .map((part, i, { length }) => (i === n % length ? change(part) : part))
    .join('.')
const flipped = (byte: number, n: number, bits: number) => byte ^ (1 << (n % bits))

/** What can be done to a text `at` a place; `n` and `other` say more where there are several ways. */
const EDITS: { [name: string]: (text: string, at: number, n: number, other: string) => string } = {
  'a bit': (text, at, n) => put(text, at, 1, String.fromCharCode(flipped(text.charCodeAt(at), n, 7))),
  'another character': (text, at, _, other) => put(text, at, 1, other),
  more: (text, at, _, other) => put(text, at, 0, other),
  less: (text, at, n) => put(text, at, 1 + (n % 3), ''),
  'a piece twice': (text, at, n) => put(text, at, 0, text.slice(at, at + 1 + (n % 40))),
  'two exchanged': (text, at) => put(text, at, 2, [...text.slice(at, at + 2)].reverse().join('')),
  'white space': (text, at, n) => put(text, at, 0, ' \t\n\r\u00a0\u200b'.charAt(n % 6)),
  'upper case': (text, at) => put(text, at, 1, text.charAt(at).toUpperCase()),
  'lower case': (text, at) => put(text, at, 1, text.charAt(at).toLowerCase()),
  'no end': (text, at) => text.slice(0, at),
  'no beginning': (text, at) => text.slice(at),
  'parts turned': (text, _, n) => {
    const parts = text.split('.')
    return [...parts.slice(n % parts.length), ...parts.slice(0, n % parts.length)].join('.')
  },
  'a part once more': (text, at, n) => `${text}.${text.split('.')[n % 3] ?? text.slice(at)}`,
  'an empty part': (text, _, n) => inPart(text, n, () => ''),
  'a padded part': (text, at, n) => inPart(text, n, part => `${part}${'='.repeat(1 + (at % 2))}`),
  'a part in base64': (text, _, n) =>
    inPart(text, n, part => Buffer.from(part, 'base64url').toString('base64')),
  'a part in hex': (text, _, n) => inPart(text, n, part => Buffer.from(part, 'base64url').toString('hex')),
  'the last bits of a part': (text, at, n) =>
    inPart(text, n, part =>
      put(part, part.length - 1, 1, BASE64URL.charAt(flipped(BASE64URL.indexOf(part.slice(-1)), at, 4))),
    ),
  'a bit of what a part holds': (text, at, n) =>
    inPart(text, n, part => {
      const bytes = Buffer.from(part, 'base64url')
      const place = at % Math.max(1, bytes.length)
      if (bytes.length > 0) bytes[place] = flipped(bytes[place] as number, at, 8)
      return bytes.toString('base64url')
    }),
  'JSON serialization': text => {
    const [header, payload, signature] = text.split('.')
    return JSON.stringify({ protected: header, payload, signature })
  },
}

/** These leave a token what it looks like. */
const QUIET = [
  'another character',
  'upper case',
  'lower case',
  'the last bits of a part',
  'a bit of what a part holds',
]

const edit = fc.record({
  what: fc.oneof(fc.constantFrom(...QUIET), fc.constantFrom(...Object.keys(EDITS))),
  at: fc.nat(),
  n: fc.nat(),
  other: fc.oneof(
    { arbitrary: fc.constantFrom(...BASE64URL), weight: 3 },
    { arbitrary: fc.constantFrom(...'.=+/,"{}:\\'), weight: 1 },
    { arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 2 }), weight: 1 },
  ),
})

/** This text with one to three edits, which may be none that one sees. */
export function edited(text: string): fc.Arbitrary<string> {
  return fc.array(edit, { minLength: 1, maxLength: 3 }).map(edits =>
    edits.reduce((changed, { what, at, n, other }) => {
      const apply = EDITS[what] as (typeof EDITS)[string]
      return apply(changed, at % Math.max(1, changed.length), n, other)
    }, text),
  )
}

const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
const anything = fc.oneof(
  fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }),
  fc.object({ key: fc.constantFrom('sub', 'iss', 'act'), values: [fc.string(), fc.integer()], maxDepth: 3 }),
  fc.constantFrom(undefined, '\ud800', { 'a\udfff': 1 }, '\u0000', -0, 2 ** 53, nested(31), nested(32)),
)

/** By the name of a member, values that come close to what it should be. */
type Likely = readonly (readonly [name: string, values: fc.Arbitrary<unknown>])[]

const OTHER_NAMES = ['more', '__proto__', 'constructor', 'toString'].map(name => [name, anything] as const)

/** This object with one to three members changed, or taken away where that is undefined. */
function changed(good: object, likely: Likely): fc.Arbitrary<{ [name: string]: unknown }> {
  const change = fc
    .constantFrom(...likely, ...OTHER_NAMES)
    .chain(([name, values]) =>
      fc.tuple(
        fc.constant(name),
        fc.oneof({ arbitrary: values, weight: 4 }, { arbitrary: anything, weight: 1 }),
      ),
    )
  return fc
    .array(change, { minLength: 1, maxLength: 3 })
    .map(changes => Object.fromEntries([...Object.entries(good), ...changes]))
}

const people = fc.oneof(
  fc.constantFrom(GOOD_CLAIMS.sub, GOOD_CLAIMS.act.sub, 'a,b', 'ü%', 'a'.repeat(513)),
  fc.nat(9).map(number => `agent-${number}`),
)
const issuers = fc.constantFrom(ISSUER, 'https://other.example.com', 'corp', '', 1, null)
const clients = fc.constantFrom('console', GOOD_CLAIMS.sub, '', null, undefined)
const audiences = fc.constantFrom(AUDIENCE, `${AUDIENCE}/`, AUDIENCE.slice(0, -1), AUDIENCE.toUpperCase(), '')
const times = fc.oneof(
  fc.integer({ min: -1000, max: 1000 }).map(offset => NOW + offset),
  fc.constantFrom(-31, -30, -29.5, 30, 31, 890, 890.5, 891).map(offset => NOW + offset),
  fc.double(),
)
const chains = fc
  .array(
    fc.record({
      sub: fc.oneof({ arbitrary: people, weight: 9 }, { arbitrary: anything, weight: 1 }),
      iss: fc.oneof({ arbitrary: fc.constant(undefined), weight: 3 }, { arbitrary: issuers, weight: 1 }),
      exp: anything,
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map(actors => actors.reduceRight<object | undefined>((act, actor) => ({ ...actor, act }), undefined))

export const changedClaims = changed(GOOD_CLAIMS, [
  ...['exp', 'nbf', 'iat'].map(name => [name, times] as const),
  ...['client_id', 'azp'].map(name => [name, clients] as const),
  ...['cnf', 'nonce', 'at_hash', 'events', 'may_act', 'oid', 'scp'].map(name => [name, anything] as const),
  ['iss', issuers],
  ['sub', people],
  ['act', chains],
  ['jti', fc.constantFrom('', 'token-2', 1)],
  ['aud', fc.oneof(audiences, fc.array(fc.oneof(audiences, fc.constant(1)), { maxLength: 3 }))],
  ['scope', fc.oneof(fc.constantFrom('a b', ' a  b ', ''), fc.array(fc.string()))],
])

export const changedHeader = changed(GOOD_HEADER, [
  ['alg', fc.constantFrom('none', 'None', 'HS256', 'RS256', 'ES384', 'es256', ['ES256'])],
  ['typ', fc.constantFrom('JWT', 'AT+JWT', 'application/at+jwt', 'logout+jwt', 'at+jwt ', 'text/at+jwt')],
  ['kid', fc.constantFrom(undefined, 'r1', 'K1', '', '__proto__', 1)],
  ['crit', fc.constantFrom(['b64'], [], ['exp'])],
  ['b64', fc.boolean()],
  ['jwk', fc.constant(pair('stranger').jwk)],
  ['jku', fc.constant('https://idp.example.com/keys')],
  ['zip', fc.constant('DEF')],
  ['cty', fc.constant('JWT')],
])
