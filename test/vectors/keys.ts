import { constants, createHmac, sign as cryptoSign, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { encodedDigest } from './pkcs1.ts'

export interface KeyPair {
  /** As its issuer publishes it. */
  readonly jwk: object
  /** Absent where there is none, as of a secret. */
  readonly privateKey?: KeyObject
  /** The signature of this text by the algorithm that its header names. */
  sign(text: string): Buffer
}

/**
 * Key pairs by who holds them. `stranger` and `partner` go by the kid of `corp`, which proves nothing. Those of
 * the last group sign well and must not be believed. What ends in `_any` is bound to no algorithm.
 */
const PAIRS = {
  corp: () => elliptic('P-256', { kid: 'k1', alg: 'ES256', use: 'sig' }),
  corp_next: () => elliptic('P-256', { kid: 'k2', alg: 'ES256', use: 'sig' }),
  partner: () => elliptic('P-256', { kid: 'k1', alg: 'ES256', use: 'sig' }),
  stranger: () => elliptic('P-256', { kid: 'k1', alg: 'ES256', use: 'sig' }),

  rsa: () => rsa({}, { kid: 'r1', alg: 'RS256', use: 'sig' }),
  rsa_any: () => rsa({}, { kid: 'r2', use: 'sig' }),
  ed25519: () => edwards('ed25519', { kid: 'ed', alg: 'Ed25519', use: 'sig' }),
  ed25519_any: () => edwards('ed25519', { kid: 'ed-any' }),
  p256_any: () => elliptic('P-256', { kid: 'p256' }),
  p384_any: () => elliptic('P-384', { kid: 'p384' }),
  secp256k1_any: () => elliptic('secp256k1', { kid: 'k256' }),
  ed448_any: () => edwards('ed448', { kid: 'ed448' }),

  encryption: () => elliptic('P-256', { kid: 'e1', alg: 'ES256', use: 'enc' }),
  signing_only: () => elliptic('P-256', { kid: 'o1', alg: 'ES256', key_ops: ['sign'] }),
  short: () => rsa({ modulusLength: 1024 }, { kid: 's0', alg: 'RS256', use: 'sig' }),
  small_exponent: () => rsa({ publicExponent: 3 }, { kid: 's1', alg: 'RS256', use: 'sig' }),
  exponent_one: exponentOne,
  secret,
} satisfies Record<string, () => KeyPair>

export type KeyName = keyof typeof PAIRS
export const KEY_NAMES = Object.keys(PAIRS) as KeyName[]

const made = new Map<KeyName, KeyPair>()

export function pair(name: KeyName): KeyPair {
  const known = made.get(name) ?? PAIRS[name]()
  made.set(name, known)
  return known
}

/** The JWK Set in which an issuer publishes these keys. */
export function jwks(names: readonly KeyName[]): object {
  return { keys: names.map(name => pair(name).jwk) }
}

function elliptic(namedCurve: string, members: object): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve })
  return {
    jwk: published(publicKey, members),
    privateKey,
    sign: text =>
      cryptoSign(digestOf(text), Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  }
}

function rsa(options: object, members: object): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, ...options })
  return {
    jwk: published(publicKey, members),
    privateKey,
    sign: text => rsaSignature(text, privateKey, algorithmOf(text).startsWith('PS') ? 'digest' : undefined),
  }
}

/** With `salt` by PSS, with a salt as long as the digest or of so many bytes; else by PKCS #1 version 1.5. */
export function rsaSignature(text: string, key: KeyObject, salt?: 'digest' | number): Buffer {
  const { RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST } = constants
  const scheme =
    salt === undefined
      ? { padding: RSA_PKCS1_PADDING }
      : { padding: RSA_PKCS1_PSS_PADDING, saltLength: salt === 'digest' ? RSA_PSS_SALTLEN_DIGEST : salt }
  return cryptoSign(digestOf(text), Buffer.from(text), { key, ...scheme })
}

function edwards(type: 'ed25519' | 'ed448', members: object): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync(type as 'ed25519')
  return {
    jwk: published(publicKey, members),
    privateKey,
    sign: text => cryptoSign(null, Buffer.from(text), privateKey),
  }
}

/** With an exponent of 1 a signature is what is signed: whoever knows the key can sign. */
function exponentOne(): KeyPair {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = { ...publicKey.export({ format: 'jwk' }), e: 'AQ', kid: 's2', alg: 'RS256', use: 'sig' }
  return { jwk, sign: text => encodedDigest(text) }
}

/** What stands in a set of public keys by mistake: whoever reads the set can sign. */
function secret(): KeyPair {
  const bytes = Buffer.alloc(32, 's')
  return {
    jwk: { kty: 'oct', k: bytes.toString('base64url'), kid: 'h1' },
    sign: text => createHmac('sha256', bytes).update(text).digest(),
  }
}

function published(publicKey: KeyObject, members: object): object {
  return { ...publicKey.export({ format: 'jwk' }), ...members }
}

/** SHA-256 where the header names no other. */
function digestOf(text: string): string {
  return `sha${/(384|512)$/.exec(algorithmOf(text))?.[0] ?? '256'}`
}

function algorithmOf(text: string): string {
  const header = Buffer.from(text.split('.', 1)[0] as string, 'base64url').toString()
  return /"alg":"([^"]*)"/.exec(header)?.[1] ?? ''
}
