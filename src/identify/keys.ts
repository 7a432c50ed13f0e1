import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { Denied } from '../denied.ts'

const SMALLEST_RSA_BITS = 2048
const SMALLEST_RSA_EXPONENT = 65_537n

/**
 * The kind of key that an algorithm needs (RFC 7518, section 3.1; RFC 8037; RFC 9864): a token cannot choose
 * it.
 */
const KEY_FOR: { readonly [alg: string]: string } = {
  ...Object.fromEntries(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map(alg => [alg, 'rsa'])),
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
  EdDSA: 'ed25519',
  Ed25519: 'ed25519',
}

export interface VerificationKey {
  /** The JWK as it was read: two reads of one key have one text. */
  readonly text: string
  readonly kid: string | undefined
  readonly alg: string | undefined
  /** `rsa`, `ed25519`, or the name of a curve. */
  readonly type: string
  readonly key: KeyObject
}

/**
 * The usable public keys of a JWK Set (RFC 7517). Left out, not refused: secrets (`oct`), private keys, keys
 * for encryption or bound to an algorithm or curve that we do not know, RSA under 2048 bits or with an
 * exponent under 65537, and what is no key. Undefined where the document is no JWK Set at all.
 */
export function readKeySet(document: unknown): VerificationKey[] | undefined {
  const keys = (document as { keys?: unknown } | null)?.keys
  if (!Array.isArray(keys)) return undefined
  return keys.flatMap((jwk: unknown) => readKey(jwk) ?? [])
}

function readKey(jwk: unknown): VerificationKey | undefined {
  if (typeof jwk !== 'object' || jwk === null) return undefined
  const { kty, use, key_ops, kid, alg, d } = jwk as { [member: string]: unknown }
  if (kty === 'oct' || d !== undefined) return undefined
  if (use !== undefined && use !== 'sig') return undefined
  if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes('verify'))) return undefined
  if (kid !== undefined && typeof kid !== 'string') return undefined
  if (alg !== undefined && typeof alg !== 'string') return undefined
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
    const type = typeOf(key)
    const fitting = alg === undefined ? Object.values(KEY_FOR) : [KEY_FOR[alg]]
    return type !== undefined && fitting.includes(type)
      ? { text: JSON.stringify(jwk), kid, alg, type, key }
      : undefined
  } catch {
    return undefined
  }
}

function typeOf({ asymmetricKeyType, asymmetricKeyDetails: details }: KeyObject): string | undefined {
  if (asymmetricKeyType === 'ec') return details?.namedCurve
  if (asymmetricKeyType !== 'rsa') return asymmetricKeyType
  const { modulusLength = 0, publicExponent = 0n } = details ?? {}
  return modulusLength >= SMALLEST_RSA_BITS && publicExponent >= SMALLEST_RSA_EXPONENT ? 'rsa' : undefined
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
      key.type === KEY_FOR[alg] &&
      (key.alg === undefined || key.alg === alg) &&
      (kid === undefined || key.kid === kid),
  )
  if (fitting.length > 1) throw new Denied('key_ambiguous')
  return fitting[0]
}
