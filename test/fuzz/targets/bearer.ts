import { isUtf8 } from 'node:buffer'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { Denied } from '../../../src/denied.ts'
import { bearerToken } from '../../../src/identify/bearer.ts'
import { exactClaims, readCompact } from '../../../src/identify/compact.ts'
import { edited } from '../../unit/identify/mutations.ts'
import { heldRequest } from '../../unit/trail.ts'
import { compact, GOOD_CLAIMS, GOOD_HEADER, signed } from '../../vectors/token.ts'
import { hold, holdSame, orDenied } from '../held.ts'
import { jsonTexts } from '../json-texts.ts'
import { type Reading, readJson } from '../strict-json.ts'
import { createTarget } from '../target.ts'

const good = compact(signed(JSON.stringify(GOOD_HEADER), JSON.stringify(GOOD_CLAIMS), 'corp'))
const [header, payload, signature] = good.split('.') as [string, string, string]
const part = (text: string) => Buffer.from(text).toString('base64url')

const objects = jsonTexts([JSON.stringify(GOOD_CLAIMS), JSON.stringify(GOOD_HEADER)])
const tokens = fc.oneof(
  { arbitrary: objects.map(text => `${header}.${part(text)}.${signature}`), weight: 6 },
  { arbitrary: objects.map(text => `${part(text)}.${payload}.${signature}`), weight: 2 },
  {
    arbitrary: fc
      .uint8Array({ maxLength: 70 })
      .map(bytes => `${header}.${payload}.${Buffer.from(bytes).toString('base64url')}`),
    weight: 1,
  },
  { arbitrary: edited(good), weight: 4 },
  {
    arbitrary: edited(JSON.stringify(GOOD_CLAIMS)).map(text => `${header}.${part(text)}.${signature}`),
    weight: 4,
  },
  {
    arbitrary: fc.constantFrom(
      'a',
      good,
      `${good}${'A'.repeat(16 * 1024 - good.length)}`,
      `${good}${'A'.repeat(16 * 1024)}`,
    ),
    weight: 1,
  },
)

const spelled = fc.constantFrom(
  ...Array(24).fill('Bearer T'),
  ...['bearer T', 'BEARER   T', 'bEaReR T', 'bearer T', 'Bearer  T'],
  ...[
    'T',
    'Bearer',
    'Bearer ',
    ' Bearer T',
    'Bearer T ',
    'Bearer\tT',
    'Bearer\u00a0T',
    'Bearer T T',
    'BearerT',
  ],
  ...['Bearer T,Bearer T', 'Basic YTpi, Bearer T', 'Bearer T, Basic YTpi', 'Basic T', 'DPoP T', 'Bearer, T'],
)
const values: fc.Arbitrary<string[]> = fc.oneof(
  {
    arbitrary: fc.tuple(spelled, tokens).map(([form, token]) => [form.replaceAll('T', () => token)]),
    weight: 30,
  },
  { arbitrary: tokens.chain(token => edited(`Bearer ${token}`)).map(value => [value]), weight: 4 },
  {
    arbitrary: fc.tuple(spelled, spelled).map(all => all.map(form => form.replaceAll('T', () => good))),
    weight: 1,
  },
  { arbitrary: fc.constant<string[]>([]), weight: 1 },
)

/** Header values up to the claims: what is a token, and what its parts say. No signature is looked at. */
export const bearer = createTarget({
  name: 'bearer',
  least: 0.2,
  file: 'token-form.yaml',
  inputs: values,
  accepts(given) {
    const token = orDenied(() => bearerToken(heldRequest({ headers: { authorization: given } })))
    const specified = tokenIn(given)
    if (!(token instanceof Denied))
      hold(token === specified, `takes ${token} for the token and not ${specified}`)
    if (token === undefined) return false
    if (token instanceof Denied) {
      hold(typeof specified !== 'string', 'a token that is one is taken')
      return false
    }
    parseAsBody(textOf(token, 1))
    const unverified = orDenied(() => readCompact(token))
    const exact = unverified instanceof Denied ? unverified : orDenied(() => exactClaims(unverified))
    const wanted = readingsOf(token)
    if (unverified instanceof Denied || exact instanceof Denied) {
      // Where a name has a quotation mark, a backslash or a control character, it may be.
      hold(
        !wanted || wanted.header.namesNeedEscapes || wanted.claims.namesNeedEscapes,
        'a token in its one spelling is read',
      )
      return false
    }
    hold(wanted !== undefined, 'one token has one spelling')
    hold(
      isDeepStrictEqual(readJson(JSON.stringify(exact))?.value, wanted.claims.value),
      'claims are what their text says, digit by digit',
    )
    const [header, claims] = [textOf(token, 0), textOf(token, 1)]
    if (!MAY_BE_ROUNDED.test(header))
      hold(
        isDeepStrictEqual(readJson(JSON.stringify(unverified.header))?.value, wanted.header.value),
        'header',
      )
    // In names that have escapes JSON.parse errs, and so does jose.
    if (!`${header}${claims}`.includes('\\')) {
      holdSame(unverified.header, decodeProtectedHeader(token), 'the header is what jose reads')
      holdSame(unverified.claims, decodeJwt(token), 'the claims are what jose reads')
    }
    return true
  },
  shown: given => given,
  vector: ([value = '', ...more]) => {
    const [, changed] = value.split('.')
    // With a signature that is right, where nothing but the payload is changed.
    return value === `Bearer ${header}.${changed}.${signature}` && more.length === 0
      ? { token: { payload: { base64: Buffer.from(changed as string, 'base64url').toString('base64') } } }
      : { token: null, request: { header_map: [value, ...more].map(one => ['authorization', one]) } }
  },
})

/** The token; undefined without one, false where it is refused. */
function tokenIn(values: readonly string[]): string | undefined | false {
  if (values.length > 1) return false
  const [value = ''] = values
  const schemes = value.split(',').map(one => /^\s*(\S*)/.exec(one)?.[1]?.toLowerCase())
  if (!schemes.includes('bearer')) return undefined
  const [scheme, token = '', ...more] = value.split(/ +/)
  const isOne =
    scheme?.toLowerCase() === 'bearer' &&
    token !== '' &&
    more.length === 0 &&
    !/[\s,]/.test(value.replaceAll(' ', ''))
  return isOne && value.length <= 16 * 1024 + 'Bearer '.length ? token : false
}

const MAY_BE_ROUNDED = /[\d.]{16}|\de/i

function textOf(token: string, part: number): string {
  return Buffer.from(token.split('.')[part] ?? '', 'base64url').toString()
}

/** What the engine has parsed before is not to change how a token is read, and any client may send a body. */
function parseAsBody(text: string): void {
  try {
    JSON.parse(text)
  } catch {
    // It is no JSON.
  }
}

function readingsOf(token: string): { header: Reading; claims: Reading } | undefined {
  const parts = token.split('.')
  if (token.length > 16 * 1024 || parts.length !== 3 || parts.some(one => !isCanonical(one))) return undefined
  const [header, claims] = parts.slice(0, 2).map(one => {
    const bytes = Buffer.from(one, 'base64url')
    return isUtf8(bytes) ? readJson(bytes.toString()) : undefined
  })
  return isStrict(header) && isStrict(claims) && claims.largestExponent <= 999
    ? { header, claims }
    : undefined
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** RFC 4648, sections 3.5 and 5: no bits are left over that could be anything. */
function isCanonical(part: string): boolean {
  if (part === '' || [...part].some(letter => !ALPHABET.includes(letter)) || part.length % 4 === 1)
    return false
  const last = ALPHABET.indexOf(part.at(-1) as string)
  return (
    [0, Number.NaN, 16, 4][part.length % 4] === 0 || last % ([1, 1, 16, 4][part.length % 4] as number) === 0
  )
}

function isStrict(reading: Reading | undefined): reading is Reading {
  return (
    reading !== undefined &&
    reading.value instanceof Map &&
    !reading.repeatsName &&
    !reading.broken &&
    reading.depth <= 32 &&
    reading.names <= 400 &&
    reading.marks <= 3_072
  )
}
