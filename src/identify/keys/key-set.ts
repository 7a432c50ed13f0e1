import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { Denied } from '../../denied.ts'
import { KeysUnreadable } from './keys-unreadable.ts'
import { isWeak } from './weak-keys.ts'

/** More than any issuer has; reading them holds up every check, a tenth of a millisecond for each. */
const MOST_KEYS = 100
/** Verifying with larger ones costs more than it is worth: who publishes them would decide how much. */
const LARGEST_RSA_BITS = 8192
const LARGEST_RSA_EXPONENT = 2n ** 64n
/** As text: to look at longer numbers takes the library seconds. */
const LONGEST_RSA_MODULUS = 1_400
const LONGEST_RSA_EXPONENT = 12
const MOST_KEY_OPS = 8

/**
 * The kind of key that an algorithm needs (RFC 7518, section 3.1; RFC 8037; RFC 9864): a token cannot choose
 * it.
 */
const KEY_FOR: ReadonlyMap<string, string> = new Map([
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map(alg => [alg, 'RSA'] as const),
  ['ES256', 'EC P-256'],
  ['ES384', 'EC P-384'],
  ['ES512', 'EC P-521'],
  ['EdDSA', 'OKP Ed25519'],
  ['Ed25519', 'OKP Ed25519'],
])
const TYPES = new Set(KEY_FOR.values())

/** RFC 7517, section 4: what we look at; the rest is for the cryptographic library. */
const jwkMembers = z.object({
  kty: z.string(),
  crv: z.string().optional(),
  use: z.string().optional(),
  key_ops: z
    .unknown()
    .refine(ops => !Array.isArray(ops) || ops.length <= MOST_KEY_OPS, { abort: true })
    .pipe(z.array(z.string()))
    .optional(),
  n: z.string().max(LONGEST_RSA_MODULUS).optional(),
  e: z.string().max(LONGEST_RSA_EXPONENT).optional(),
  kid: z.string().optional(),
  alg: z.string().optional(),
  d: z.unknown().optional(),
})

export interface VerificationKey {
  /**
   * The members that make it this key (RFC 7638, section 3.2) with `kid` and `alg`: two reads of one key have
   * one text, whatever else its JWK says and in which order.
   */
  readonly text: string
  readonly kid: string | undefined
  readonly alg: string | undefined
  /** `RSA`, or kty and curve. */
  readonly type: string
  readonly key: KeyObject
}

/** Why a published key is left out. */
export type Ignored = 'secret' | 'private' | 'other_use' | 'unsupported' | 'weak' | 'malformed' | 'duplicate'

/**
 * The usable public keys of a JWK Set (RFC 7517). Left out, and told to `ignore`: what is no key for
 * signatures that we know, has a private part, or is weak. Two that differ under one kid are both kept.
 * Throws KeysUnreadable where the document is no JWK Set, or has over 100 keys: which of them to leave out is
 * not ours to say.
 */
export function readKeySet(document: unknown, ignore: (why: Ignored) => void = () => {}): VerificationKey[] {
  const published = (document as { keys?: unknown } | null)?.keys
  if (!Array.isArray(published)) throw new KeysUnreadable('malformed', 'it is not a JWK Set')
  if (published.length > MOST_KEYS) throw new KeysUnreadable('too_large', `it has over ${MOST_KEYS} keys`)
  const keys = new Map<string, VerificationKey>()
  for (const jwk of published) {
    const read = readKey(jwk)
    if (typeof read === 'string') ignore(read)
    else if (keys.has(read.text)) ignore('duplicate')
    else keys.set(read.text, read)
  }
  return [...keys.values()]
}

function readKey(jwk: unknown): VerificationKey | Ignored {
  const { data } = jwkMembers.safeParse(jwk)
  if (!data) return 'malformed'
  const { kty, crv, use = 'sig', key_ops = ['verify'], kid, alg, d } = data
  if (kty === 'oct') return 'secret'
  if (d !== undefined) return 'private'
  if (use !== 'sig' || !key_ops.includes('verify')) return 'other_use'
  const type = kty === 'RSA' ? kty : `${kty} ${crv}`
  if (!TYPES.has(type) || (alg !== undefined && !KEY_FOR.has(alg))) return 'unsupported'
  const key = publicKey(jwk as JsonWebKey)
  if (key === undefined || (alg !== undefined && KEY_FOR.get(alg) !== type)) return 'malformed'
  if (isCostly(key)) return 'unsupported'
  if (isWeak(key)) return 'weak'
  return { text: JSON.stringify({ ...key.export({ format: 'jwk' }), kid, alg }), kid, alg, type, key }
}

function publicKey(jwk: JsonWebKey): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
}

function isCostly({ asymmetricKeyDetails: details }: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n } = details ?? {}
  return modulusLength > LARGEST_RSA_BITS || publicExponent > LARGEST_RSA_EXPONENT
}

/**
 * The one key that a token means: of the algorithm's type, not bound to another algorithm, and of its `kid`.
 * Without a `kid` exactly one must fit. Undefined where none does; several refuse (`key_ambiguous`).
 */
export function chooseKey(
  keys: readonly VerificationKey[],
  alg: string,
  kid: string | undefined,
): VerificationKey | undefined {
  const fitting = keys.filter(
    key =>
      key.type === KEY_FOR.get(alg) &&
      (key.alg === undefined || key.alg === alg) &&
      (kid === undefined || key.kid === kid),
  )
  if (fitting.length > 1) throw new Denied('key_ambiguous')
  return fitting[0]
}
