import { describe, expect, it } from 'vitest'
import { readCompact } from '../../../src/identify/compact.ts'

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const bytes = (...values: number[]) => Buffer.from(values).toString('base64url')
const HEADER = part({ alg: 'ES256' })
const CLAIMS = part({ sub: 'a' })
const SIGNATURE = bytes(1, 2, 3, 4)
const GOOD = `${HEADER}.${CLAIMS}.${SIGNATURE}`

describe('a compact JWS', () => {
  it('is taken apart', () => {
    const payload = Buffer.from(CLAIMS, 'base64url').toString()
    const [header, claims] = [{ alg: 'ES256' }, { sub: 'a' }]
    expect(readCompact(GOOD)).toEqual({ token: GOOD, header, claims, payload })
  })

  it.each([
    ['nothing', ''],
    ['no dots', 'garbage'],
    ['two parts', `${HEADER}.${CLAIMS}`],
    ['an empty signature', `${HEADER}.${CLAIMS}.`],
    ['an empty header', `.${CLAIMS}.${SIGNATURE}`],
    ['empty claims', `${HEADER}..${SIGNATURE}`],
    ['four parts', `${GOOD}.x`],
    ['five parts, as a JWE', `${GOOD}.${HEADER}.${HEADER}`],
    ['padding', `${GOOD}==`],
    ['padding inside', `${HEADER}=.${CLAIMS}.${SIGNATURE}`],
    ['space before', ` ${GOOD}`],
    ['space inside', `${HEADER} .${CLAIMS}.${SIGNATURE}`],
    ['a newline behind', `${GOOD}\n`],
    ['the other alphabet', `${HEADER}.${CLAIMS}.ab+/`],
    ['a letter from elsewhere', `${HEADER}.${CLAIMS}.аbcd`],
    ['the JSON serialization', JSON.stringify({ protected: HEADER, payload: CLAIMS, signature: SIGNATURE })],
    ['unused bits in the last character', `${HEADER}.${CLAIMS}.${SIGNATURE.slice(0, -1)}B`],
    ['a length that no bytes have', `${HEADER}.${CLAIMS}.abcde`],
    ['a header that is a list', `${part([])}.${CLAIMS}.${SIGNATURE}`],
    ['claims that are a text', `${HEADER}.${part('sub')}.${SIGNATURE}`],
    ['claims that are null', `${HEADER}.${part(null)}.${SIGNATURE}`],
    ['claims that are no JSON', `${HEADER}.${bytes(0x7b)}.${SIGNATURE}`],
    [
      'claims that are not UTF-8',
      `${HEADER}.${bytes(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)}.${SIGNATURE}`,
    ],
    ['a byte order mark', `${HEADER}.${bytes(0xef, 0xbb, 0xbf, 0x7b, 0x7d)}.${SIGNATURE}`],
    ['a claim twice', `${HEADER}.${Buffer.from('{"sub":"a","sub":"b"}').toString('base64url')}.${SIGNATURE}`],
    [
      'alg twice',
      `${Buffer.from('{"alg":"ES256","alg":"none"}').toString('base64url')}.${CLAIMS}.${SIGNATURE}`,
    ],
  ])('is refused with %s', (_, token) => {
    expect(() => readCompact(token)).toThrow('token_malformed')
  })

  it('is refused over 16 KiB before anything else is looked at', () => {
    const claims = (length: number) => `${HEADER}.${'A'.repeat(length - HEADER.length - 6)}.AAAA`
    expect(claims(16_384)).toHaveLength(16_384)
    expect(() => readCompact(claims(16_384))).toThrow('token_malformed')
    expect(() => readCompact(claims(16_385))).toThrow('token_too_large')
    expect(() => readCompact(' '.repeat(1_000_000))).toThrow('token_too_large')
  })

  it('has one spelling: no other last character gives the same bytes', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const twins = [...alphabet].filter(last => {
      const token = GOOD.slice(0, -1) + last
      if (
        token === GOOD ||
        !Buffer.from(token.split('.')[2] as string, 'base64url').equals(Buffer.from([1, 2, 3, 4]))
      )
        return false
      expect(() => readCompact(token)).toThrow('token_malformed')
      return true
    })
    expect(twins).toHaveLength(15)
  })
})
