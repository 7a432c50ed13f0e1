import { FORGERIES, FORGERY_NAMES, type ForgeryName } from './forgeries.ts'
import { KEY_NAMES, type KeyName, pair } from './keys.ts'

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

/** Whose key signs, or how the signature is forged. */
export type Signer = KeyName | ForgeryName
export const SIGNERS: readonly [Signer, ...Signer[]] = ['corp', ...KEY_NAMES.slice(1), ...FORGERY_NAMES]

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
  const sign = isForgery(signer) ? FORGERIES[signer] : pair(signer).sign
  return { header: first, payload: second, signature: sign(`${first}.${second}`).toString('base64url') }
}

function isForgery(signer: Signer): signer is ForgeryName {
  return Object.hasOwn(FORGERIES, signer)
}

export function compact({ header, payload, signature }: Parts): string {
  return `${header}.${payload}.${signature}`
}
