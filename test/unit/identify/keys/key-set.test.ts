import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { chooseKey, readKeySet } from '../../../../src/identify/keys/key-set.ts'
import { KeysUnreadable } from '../../../../src/identify/keys/keys-unreadable.ts'
import { type Key, newKey } from '../issuer.ts'

let rsa: Key
let p256: Key
let p384: Key
let p521: Key
let ed: Key
beforeAll(async () => {
  ;[rsa, p256, p384, p521, ed] = await Promise.all([
    newKey('r', 'RS256'),
    newKey('e', 'ES256'),
    newKey('e384', 'ES384'),
    newKey('e521', 'ES512'),
    newKey('ed', 'Ed25519'),
  ])
})

const read = (...keys: unknown[]) => readKeySet({ keys })
/** Why keys of a set are left out, in its order. */
function ignored(...keys: unknown[]): string[] {
  const ignored: string[] = []
  readKeySet({ keys }, why => ignored.push(why))
  return ignored
}
/** A JWK without some members. */
const without = (jwk: object, ...members: string[]) =>
  Object.fromEntries(Object.entries(jwk).filter(([name]) => !members.includes(name)))
const published = (type: 'ed25519' | 'x25519' | 'ed448') =>
  generateKeyPairSync(type as 'ed25519').publicKey.export({ format: 'jwk' })

function refusal(document: unknown): unknown {
  try {
    return readKeySet(document)
  } catch (error) {
    return error
  }
}

describe('a JWK Set', () => {
  it.each([
    undefined,
    null,
    1,
    'keys',
    [],
    [{ kty: 'oct' }],
    {},
    { keys: null },
    { keys: {} },
    { keys: 'a' },
  ])('is not %j', document => {
    expect(refusal(document)).toMatchObject({ fault: 'malformed', message: 'it is not a JWK Set' })
  })

  it('gives its keys for signatures', () => {
    const keys = read(rsa.jwk, p256.jwk, p384.jwk, p521.jwk, ed.jwk)
    expect(keys.map(({ kid, type }) => [kid, type])).toEqual([
      ['r', 'RSA'],
      ['e', 'EC P-256'],
      ['e384', 'EC P-384'],
      ['e521', 'EC P-521'],
      ['ed', 'OKP Ed25519'],
    ])
  })

  it('of a hundred keys is read, and of more is refused whole', async () => {
    const many = (count: number) => ({
      keys: Array.from({ length: count }, (_, i) => ({ ...p256.jwk, kid: `${i}` })),
    })
    expect(readKeySet(many(100))).toHaveLength(100)
    expect(refusal(many(101))).toMatchObject({ fault: 'too_large', message: 'it has over 100 keys' })
    expect(refusal(many(10_000))).toBeInstanceOf(KeysUnreadable)
  })

  const odd: [what: string, why: string, jwk: () => unknown][] = [
    ['a secret', 'secret', () => ({ kty: 'oct', k: 'AAAA', kid: 'r', alg: 'HS256' })],
    ['a private key', 'private', () => generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })],
    ['a key for encryption', 'other_use', () => ({ ...rsa.jwk, use: 'enc' })],
    ['a use with another spelling', 'other_use', () => ({ ...rsa.jwk, use: 'Sig' })],
    ['a key that may not verify', 'other_use', () => ({ ...p256.jwk, key_ops: ['sign'] })],
    ['a key that may do nothing', 'other_use', () => ({ ...p256.jwk, key_ops: [] })],
    ['a key bound to encryption', 'unsupported', () => ({ ...rsa.jwk, use: undefined, alg: 'RSA-OAEP' })],
    ['a key bound to a secret’s algorithm', 'unsupported', () => ({ ...rsa.jwk, alg: 'HS256' })],
    ['a key bound to no signature', 'unsupported', () => ({ ...rsa.jwk, alg: 'none' })],
    ['a key bound to a name of every object', 'unsupported', () => ({ ...rsa.jwk, alg: 'constructor' })],
    [
      'a curve that no algorithm has',
      'unsupported',
      () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' }),
    ],
    ['the same curve by its old name', 'unsupported', () => ({ ...p256.jwk, crv: 'P-256K' })],
    ['a key for key agreement', 'unsupported', () => published('x25519')],
    ['a curve that we do not verify with', 'unsupported', () => published('ed448')],
    ['a kind of key from the future', 'unsupported', () => ({ kty: 'AKP', alg: 'ML-DSA-44', pub: 'AAAA' })],
    ['a curve of another kind of key', 'unsupported', () => ({ ...ed.jwk, kty: 'EC' })],
    ['a key bound to an algorithm of another kind', 'malformed', () => ({ ...rsa.jwk, alg: 'ES256' })],
    ['a key bound to an algorithm of another curve', 'malformed', () => ({ ...p384.jwk, alg: 'ES256' })],
    ['key_ops that are no list', 'malformed', () => ({ ...p256.jwk, key_ops: 'verify' })],
    ['a point that is not on its curve', 'malformed', () => ({ ...p256.jwk, y: p256.jwk.x as string })],
    ['a key of another curve than it says', 'malformed', () => ({ ...p256.jwk, crv: 'P-384', alg: 'ES384' })],
    ['an exponent that takes long to look at', 'malformed', () => ({ ...rsa.jwk, e: 'A'.repeat(40_000) })],
    ['a modulus that takes long to look at', 'malformed', () => ({ ...rsa.jwk, n: 'x'.repeat(40_000) })],
    ['many key_ops', 'malformed', () => ({ ...p256.jwk, key_ops: Array(9).fill('verify') })],
    ['a certificate alone', 'malformed', () => ({ kty: 'RSA', x5c: ['MIIB'], kid: 'r' })],
    ['a kid that is no text', 'malformed', () => ({ ...p256.jwk, kid: 1 })],
    ['a kid that is nothing', 'malformed', () => ({ ...p256.jwk, kid: null })],
    ['an alg that is no text', 'malformed', () => ({ ...p256.jwk, alg: null })],
    ['a kty that is no text', 'malformed', () => ({ ...p256.jwk, kty: { toString: 1 } })],
    ['a curve that is no text', 'malformed', () => ({ ...p256.jwk, crv: ['P-256'] })],
    ['no kty', 'malformed', () => without(p256.jwk, 'kty')],
    ['null', 'malformed', () => null],
    ['a text', 'malformed', () => 'key'],
    ['a list', 'malformed', () => [p256.jwk]],
    ['a key again', 'duplicate', () => ed.jwk],
  ]
  it.each(odd)('leaves out %s as %s, and keeps the others', (_, why, jwk) => {
    const keys = [ed.jwk, jwk()]
    expect(read(...keys).map(({ kid }) => kid)).toEqual(['ed'])
    expect(ignored(...keys)).toEqual([why])
  })

  it('tells each that it leaves out', () => {
    const keys = [null, rsa.jwk, { ...rsa.jwk, use: 'enc' }, 1, { kty: 'oct', k: 'AAAA' }, rsa.jwk]
    expect(ignored(...keys)).toEqual(['malformed', 'other_use', 'malformed', 'secret', 'duplicate'])
    expect(ignored(rsa.jwk)).toEqual([])
  })

  it.each([
    ['of 8192 bits', 8192, '010001', []],
    ['over 8192 bits', 8200, '010001', ['unsupported']],
    ['with an exponent of 64 bits', 2048, 'ff'.repeat(8), []],
    ['with an exponent of 65 bits', 2048, `01${'00'.repeat(7)}01`, ['unsupported']],
  ])('bounds what an RSA key costs: %s', (_, bits, exponent, expected) => {
    const jwk = { kty: 'RSA', n: modulus(bits), e: Buffer.from(exponent, 'hex').toString('base64url') }
    expect(ignored(jwk)).toEqual(expected)
  })
})

/** A number of this length that no small prime divides. */
function modulus(bits: number): string {
  for (;;) {
    const bytes = randomBytes(bits / 8)
    bytes.writeUInt8(bytes.readUInt8(0) | 0x80, 0)
    const number = BigInt(`0x${bytes.toString('hex')}`)
    if (Array.from({ length: 166 }, (_, i) => BigInt(i + 2)).every(divisor => number % divisor !== 0n))
      return bytes.toString('base64url')
  }
}

describe('the text of a key', () => {
  const text = (jwk: object) => read(jwk)[0]?.text

  it('is the same in whatever order and with whatever else it is published', () => {
    for (const { jwk } of [rsa, p256, ed]) {
      expect(text(Object.fromEntries(Object.entries(jwk).toReversed()))).toBe(text(jwk))
      expect(text({ ...jwk, x5t: 'AAAA', x5c: ['MIIB'], key_ops: ['verify'], extra: {} })).toBe(text(jwk))
      expect(text(without(jwk, 'use'))).toBe(text(jwk))
    }
    expect(text({ ...rsa.jwk, n: `AAAA${rsa.jwk.n}` })).toBe(text(rsa.jwk))
  })

  it('is another for another key, kid or algorithm', async () => {
    const others = [
      (await newKey('e', 'ES256')).jwk,
      { ...p256.jwk, kid: 'f' },
      without(p256.jwk, 'kid'),
      without(p256.jwk, 'alg'),
    ]
    expect(new Set([p256.jwk, ...others].map(text)).size).toBe(5)
  })
})

describe('the key of a token', () => {
  it('is that of its kid', () => {
    const keys = read({ ...p256.jwk, kid: 'a' }, p384.jwk, rsa.jwk)
    expect(chooseKey(keys, 'ES256', 'a')?.type).toBe('EC P-256')
    expect(chooseKey(keys, 'RS256', 'r')?.type).toBe('RSA')
  })

  it.each(['', 'b', 'A', 'a ', '__proto__', 'constructor', '../../../dev/null', "' OR 1=1 --", '\u0000'])(
    'is none for kid %j',
    kid => {
      expect(chooseKey(read({ ...p256.jwk, kid: 'a' }), 'ES256', kid)).toBeUndefined()
    },
  )

  it.each([
    ['of ten thousand letters', 'k'.repeat(10_000)],
    ['with a NUL', 'a\u0000b'],
    ['that is empty', ''],
    ['that is a name of every object', '__proto__'],
  ])('is found by a kid %s, and by no other', (_, kid) => {
    const keys = read({ ...p256.jwk, kid })
    expect(chooseKey(keys, 'ES256', kid)?.kid).toBe(kid)
    for (const other of [`${kid}k`, 'a', 'k']) expect(chooseKey(keys, 'ES256', other)).toBeUndefined()
  })

  it('is none where its kid is of another kind of key, curve or algorithm', () => {
    const keys = read(rsa.jwk, p256.jwk, p384.jwk)
    for (const [alg, kid] of [
      ['ES256', 'r'],
      ['RS256', 'e'],
      ['ES256', 'e384'],
      ['PS256', 'r'],
      ['RS512', 'r'],
      ['none', 'r'],
    ] as const)
      expect(chooseKey(keys, alg, kid)).toBeUndefined()
  })

  it('may be of any algorithm of its kind where it names none', () => {
    const keys = read(without(rsa.jwk, 'alg', 'use'))
    for (const alg of ['RS256', 'RS512', 'PS256']) expect(chooseKey(keys, alg, 'r')).toBeDefined()
    expect(chooseKey(keys, 'ES256', 'r')).toBeUndefined()
  })

  it('needs no kid where exactly one fits', () => {
    expect(chooseKey(read(rsa.jwk, p256.jwk), 'ES256', undefined)?.kid).toBe('e')
    expect(chooseKey(read(rsa.jwk, p256.jwk), 'ES384', undefined)).toBeUndefined()
    const two = read(p256.jwk, { ...p256.jwk, kid: 'again' })
    expect(() => chooseKey(two, 'ES256', undefined)).toThrow('key_ambiguous')
  })

  it('is refused where two have its kid, unless the algorithm tells them apart', async () => {
    const twin = await newKey('e', 'ES256')
    expect(() => chooseKey(read(p256.jwk, twin.jwk), 'ES256', 'e')).toThrow('key_ambiguous')
    expect(chooseKey(read(p256.jwk, { ...rsa.jwk, kid: 'e' }), 'ES256', 'e')?.type).toBe('EC P-256')
  })

  it('is one where it is published twice, the second time with more about it', () => {
    const again = { x5t: 'AAAA', ...without(p256.jwk, 'use') }
    expect(chooseKey(read(p256.jwk, again), 'ES256', 'e')?.kid).toBe('e')
    expect(chooseKey(read(p256.jwk, again), 'ES256', undefined)?.kid).toBe('e')
  })

  it('with a kid is never a key that has none', () => {
    expect(chooseKey(read(without(p256.jwk, 'kid')), 'ES256', 'e')).toBeUndefined()
  })
})
