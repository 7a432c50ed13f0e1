import { createPublicKey, generateKeyPairSync, generatePrimeSync, randomBytes, verify } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { readKeySet } from '../../../../src/identify/keys/key-set.ts'
import { isWeak } from '../../../../src/identify/keys/weak-keys.ts'

const PRIMES = Array.from({ length: 700 }, (_, i) => i + 2).filter((n, _, all) =>
  all.every(divisor => divisor >= n || n % divisor !== 0),
)
const base64url = (number: bigint) => {
  const hex = number.toString(16)
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url')
}
const rsa = (n: bigint, e = 65_537n) =>
  createPublicKey({ key: { kty: 'RSA', n: base64url(n), e: base64url(e) }, format: 'jwk' })
const [p, q] = [1024, 1024].map(bits => generatePrimeSync(bits, { bigint: true })) as [bigint, bigint]
const generated = (modulusLength: number, publicExponent = 65_537) =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey

/** As the broken generator made its factors: k · M + (65537^a mod M), M a product of small primes; any k and a. */
function rocaFactor(): bigint {
  const product = PRIMES.slice(0, 126).reduce((all, each) => all * BigInt(each), 1n)
  const k = BigInt(`0x80${randomBytes(6).toString('hex')}`)
  return k * product + power(65_537n, k, product)
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  for (let bits = exponent, square = base; bits > 0n; bits >>= 1n, square = (square * square) % modulus)
    if (bits & 1n) result = (result * square) % modulus
  return result
}

describe('an RSA key', () => {
  it('is good as a good generator makes it', () => {
    for (const bits of [2048, 3072]) expect(isWeak(generated(bits))).toBe(false)
    expect(isWeak(rsa(p * q, 2n ** 32n + 15n))).toBe(false)
  })

  it('that the generator of ROCA made is weak', () => {
    const n = rocaFactor() * rocaFactor()
    expect(n.toString(2).length).toBeGreaterThanOrEqual(2048)
    expect(isWeak(rsa(n))).toBe(true)
    expect(isWeak(rsa(rocaFactor() * q))).toBe(false)
  })

  it.each([
    ['short', () => generated(1024)],
    ['a bit short', () => generated(2040)],
    ['of exponent 3', () => generated(2048, 3)],
    ['of exponent 1, under which every text is its own signature', () => rsa(p * q, 1n)],
    ['of an even exponent', () => rsa(p * q, 65_538n)],
    ['even', () => rsa(2n * p * q)],
    ['divisible by a small prime', () => rsa(167n * p * q)],
  ])('is weak when it is %s', (_, key) => {
    expect(isWeak(key())).toBe(true)
  })
})

describe('an Ed25519 key of small order', () => {
  // No check of ours: what verifies signatures refuses it. With R = S · B it would fit every text, or many.
  it.each([
    `01${'00'.repeat(31)}`,
    '00'.repeat(32),
    `ec${'ff'.repeat(30)}7f`,
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  ])('verifies nothing: %s', hex => {
    const x = Buffer.from(hex, 'hex').toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    const neutral = Buffer.alloc(64).fill(1, 0, 1)
    const texts = Array.from({ length: 100 }, (_, i) => Buffer.from(`text ${i}`))
    expect(texts.filter(text => verify(null, text, key, neutral))).toEqual([])
  })
})

describe('a weak key', () => {
  it('is left out of its set, which says so', () => {
    const jwks = [generated(1024), generated(2048)].map(key => key.export({ format: 'jwk' }))
    const ignored: string[] = []
    expect(readKeySet({ keys: jwks }, why => ignored.push(why))).toHaveLength(1)
    expect(ignored).toEqual(['weak'])
  })
})
