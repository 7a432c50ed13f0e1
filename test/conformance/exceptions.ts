import type { Reason } from '../../src/denied.ts'

export interface Exception {
  /** Which vectors, by `file/group/comment`. */
  readonly of: RegExp
  readonly refused: Reason
  readonly why: string
}

/**
 * What Wycheproof calls valid and this service refuses on purpose. There is no such list for what it calls invalid:
 * that is never accepted.
 */
export const EXCEPTIONS: readonly Exception[] = [
  {
    of: /^json_web_(?:signature\/(?:hs256|base64)|key\/(?:jws_keyset|HS\d+)|crypto\/jws_(?:aes|keyset))\//,
    refused: 'token_algorithm',
    why: 'HMAC: whoever can verify such a token can make one',
  },
  {
    of: /^json_web_signature\/rfc7520\/Figure35$/,
    refused: 'token_algorithm',
    why: 'HMAC, in the examples of RFC 7520',
  },
  {
    of: /^json_web_signature\/base64\/InvalidCharacterInserted/,
    refused: 'token_malformed',
    why: 'a character outside base64url: a token has one spelling',
  },
  {
    of: /^json_web_signature\/rfc7520(?:WithKeyOps)?\/Figure20$/,
    refused: 'key_unknown',
    why: 'the key is published for PS256, the token says PS384',
  },
  {
    of: /^json_web_signature\/rfc7520(?:WithKeyOps)?\/Figure27$/,
    refused: 'key_unknown',
    why: 'the key is published for ES521, which is no algorithm',
  },
  {
    of: /^json_web_(?:encryption|crypto\/jwe_\w+)\//,
    refused: 'token_malformed',
    why: 'encrypted: that we can decrypt a token does not say who wrote it',
  },
]
