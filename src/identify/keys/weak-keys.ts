import type { KeyObject } from 'node:crypto'

const SMALLEST_RSA_BITS = 2048
const SMALLEST_RSA_EXPONENT = 65_537n

/** Up to 167: tells ROCA's moduli from others, with one mistake in two hundred million. */
const SMALL_PRIMES = Array.from({ length: 166 }, (_, i) => i + 2).filter((n, _, all) =>
  all.every(divisor => divisor >= n || n % divisor !== 0),
)

/** For each small prime, the remainders of powers of 65537. */
const POWERS_OF_65537 = new Map(
  SMALL_PRIMES.map(prime => {
    const powers = new Set<number>()
    for (let power = 1; !powers.has(power); power = (power * 65_537) % prime) powers.add(power)
    return [prime, powers]
  }),
)

/**
 * Whether others than its owner can sign for this RSA key: under 2048 bits, an exponent that is even or under
 * 65537, a modulus with a small factor or of the form that ROCA breaks (CVE-2017-15361). Does not look for
 * other broken generators. False for keys of other kinds.
 */
export function isWeak(key: KeyObject): boolean {
  if (key.asymmetricKeyType !== 'rsa') return false
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  return (
    modulusLength < SMALLEST_RSA_BITS ||
    publicExponent < SMALLEST_RSA_EXPONENT ||
    publicExponent % 2n === 0n ||
    isWeakModulus(key)
  )
}

/** ROCA: a power of 65537 modulo every small prime. */
function isWeakModulus(key: KeyObject): boolean {
  const { n = '' } = key.export({ format: 'jwk' })
  const modulus = BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`)
  const remainders = SMALL_PRIMES.map(prime => [prime, Number(modulus % BigInt(prime))] as const)
  return (
    remainders.some(([, remainder]) => remainder === 0) ||
    remainders.every(([prime, remainder]) => POWERS_OF_65537.get(prime)?.has(remainder))
  )
}
