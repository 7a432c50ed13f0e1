import { createHmac, sign as cryptoSign, generateKeyPairSync, type KeyObject } from 'node:crypto'

/** Seconds since the epoch at which every vector happens. */
export const NOW = 1_790_000_000
export const ISSUER = 'https://idp.example.com'

/** A token with which the sample policies let its agent read the inbox. */
export const GOOD_HEADER = { alg: 'ES256', typ: 'at+jwt', kid: 'k1' }
export const GOOD_CLAIMS = {
  iss: ISSUER,
  sub: 'alice@example.com',
  aud: 'https://mail.example.com',
  exp: NOW + 300,
  iat: NOW - 10,
  jti: 'token-1',
  client_id: 'console',
  scope: 'read:mail:inbox',
  act: { sub: 'mail-summary' },
}

interface KeyPair {
  readonly jwk: object
  readonly publicKey: KeyObject
  /** The signature of this text, in base64url. */
  sign(text: string): string
}

/**
 * Key pairs by who holds them. `stranger` and `partner` go by the kid of `corp`, which proves nothing; `encryption`
 * and `small_exponent` sign well, and must not be believed.
 */
const PAIRS = {
  corp: () => elliptic('k1'),
  corp_next: () => elliptic('k2'),
  partner: () => elliptic('k1'),
  stranger: () => elliptic('k1'),
  encryption: () => elliptic('e1', 'enc'),
  rsa: () => rsa('r1'),
  small_exponent: () => rsa('s1', 3),
} satisfies Record<string, () => KeyPair>

/** `none` signs nothing; `public_as_secret` takes the public key of `corp` for an HMAC secret. */
export const SIGNERS = [...(Object.keys(PAIRS) as KeyName[]), 'none', 'public_as_secret'] as const

export type KeyName = keyof typeof PAIRS
export type Signer = (typeof SIGNERS)[number]

const made = new Map<KeyName, KeyPair>()

function pair(name: KeyName): KeyPair {
  const known = made.get(name) ?? PAIRS[name]()
  made.set(name, known)
  return known
}

function elliptic(kid: string, use = 'sig'): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use },
    publicKey,
    sign: text =>
      cryptoSign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString(
        'base64url',
      ),
  }
}

function rsa(kid: string, publicExponent = 65_537): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent })
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' },
    publicKey,
    sign: text => cryptoSign('sha256', Buffer.from(text), privateKey).toString('base64url'),
  }
}

/** The JWK Set in which an issuer publishes these keys. */
export function jwks(names: readonly KeyName[]): object {
  return { keys: names.map(name => pair(name).jwk) }
}

function signature(text: string, signer: Signer): string {
  if (signer === 'none') return ''
  if (signer !== 'public_as_secret') return pair(signer).sign(text)
  const secret = pair('corp').publicKey.export({ type: 'spki', format: 'pem' })
  return createHmac('sha256', secret).update(text).digest('base64url')
}

export interface Parts {
  readonly header: string
  readonly payload: string
  readonly signature: string
}

/** A compact JWS over exactly these bytes, whatever they say. */
export function signed(header: string | Buffer, payload: string | Buffer, signer: Signer): Parts {
  const [first, second] = [header, payload].map(part => Buffer.from(part).toString('base64url')) as [
    string,
    string,
  ]
  return { header: first, payload: second, signature: signature(`${first}.${second}`, signer) }
}

export function compact({ header, payload, signature }: Parts): string {
  return `${header}.${payload}.${signature}`
}
