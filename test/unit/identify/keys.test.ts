import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { chooseKey, readKeySet } from '../../../src/identify/keys.ts'
import { type Key, newKey } from './issuer.ts'

let rsa: Key
let p256: Key
let p384: Key
let ed: Key
beforeAll(async () => {
  ;[rsa, p256, p384, ed] = await Promise.all([
    newKey('r', 'RS256'),
    newKey('e', 'ES256'),
    newKey('e384', 'ES384'),
    newKey('ed', 'Ed25519'),
  ])
})

const read = (...keys: unknown[]) => readKeySet({ keys }) ?? []
/** A JWK without some members. */
const without = (jwk: object, ...members: string[]) =>
  Object.fromEntries(Object.entries(jwk).filter(([name]) => !members.includes(name)))

describe('a JWK Set', () => {
  it.each([undefined, null, 1, 'keys', [], {}, { keys: null }, { keys: {} }, { keys: 'a' }])(
    'is not %j',
    document => {
      expect(readKeySet(document)).toBeUndefined()
    },
  )

  it('gives its keys for signatures', () => {
    const keys = read(rsa.jwk, p256.jwk, p384.jwk, ed.jwk)
    expect(keys.map(({ kid, type }) => [kid, type])).toEqual([
      ['r', 'rsa'],
      ['e', 'prime256v1'],
      ['e384', 'secp384r1'],
      ['ed', 'ed25519'],
    ])
  })

  const rsaJwk = (modulusLength: number, publicExponent: number) =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({ format: 'jwk' })
  const unusable: [string, () => unknown][] = [
    ['a secret', () => ({ kty: 'oct', k: 'AAAA', kid: 'r', alg: 'HS256' })],
    ['a private key', () => generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })],
    ['a key for encryption', () => ({ ...rsa.jwk, use: 'enc' })],
    ['a key bound to encryption', () => ({ ...rsa.jwk, use: undefined, alg: 'RSA-OAEP' })],
    ['a key bound to an algorithm of another kind of key', () => ({ ...rsa.jwk, alg: 'ES256' })],
    ['a key that may not verify', () => ({ ...p256.jwk, key_ops: ['sign'] })],
    ['key_ops that are no list', () => ({ ...p256.jwk, key_ops: 'verify' })],
    ['a short RSA key', () => rsaJwk(1024, 65_537)],
    ['an RSA key with a small exponent', () => rsaJwk(2048, 3)],
    [
      'a curve that no algorithm has',
      () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' }),
    ],
    ['a key for key agreement', () => generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })],
    ['a point that is not on its curve', () => ({ ...p256.jwk, y: p256.jwk.x as string })],
    ['a key of another curve than it says', () => ({ ...p256.jwk, crv: 'P-384' })],
    ['a kid that is no text', () => ({ ...p256.jwk, kid: 1 })],
    ['an alg that is no text', () => ({ ...p256.jwk, alg: null })],
    ['no kty', () => without(p256.jwk, 'kty')],
    ['null', () => null],
    ['a text', () => 'key'],
  ]
  it.each(unusable)('leaves out %s, and keeps the others', (_, jwk) => {
    expect(read(jwk(), ed.jwk).map(({ kid }) => kid)).toEqual(['ed'])
  })
})

describe('the key of a token', () => {
  it('is that of its kid', () => {
    const keys = read({ ...p256.jwk, kid: 'a' }, p384.jwk, rsa.jwk)
    expect(chooseKey(keys, 'ES256', 'a')?.type).toBe('prime256v1')
    expect(chooseKey(keys, 'RS256', 'r')?.type).toBe('rsa')
  })

  it.each(['', 'b', 'A', 'a ', '__proto__', 'constructor', '../../../dev/null', "' OR 1=1 --", '\u0000'])(
    'is none for kid %j',
    kid => {
      expect(chooseKey(read({ ...p256.jwk, kid: 'a' }), 'ES256', kid)).toBeUndefined()
    },
  )

  it('is none where its kid is of another kind of key, curve or algorithm', () => {
    const keys = read(rsa.jwk, p256.jwk, p384.jwk)
    for (const [alg, kid] of [
      ['ES256', 'r'],
      ['RS256', 'e'],
      ['ES256', 'e384'],
      ['PS256', 'r'],
      ['RS512', 'r'],
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
    expect(chooseKey(read(p256.jwk, { ...rsa.jwk, kid: 'e' }), 'ES256', 'e')?.type).toBe('prime256v1')
  })

  it('with a kid is never a key that has none', () => {
    expect(chooseKey(read(without(p256.jwk, 'kid')), 'ES256', 'e')).toBeUndefined()
  })
})
