import { Denied } from '../denied.ts'
import type { JsonObject } from '../types.ts'
import { exactObject, readStrict, type Strict } from './json.ts'

const LONGEST = 16 * 1024

export interface Unverified {
  readonly token: string
  readonly header: JsonObject
  readonly claims: JsonObject
  /** The text of the claims, names spelt without escapes. */
  readonly payload: string
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Refuses over 16 KiB, before anything else is done: each further look costs time for every byte. */
export function checkSize(text: string): void {
  if (text.length > LONGEST) throw new Denied('token_too_large')
}

/**
 * Takes a JWS apart that has exactly one spelling (RFC 7515, sections 2 and 7.1): three base64url parts
 * without padding or stray bits, the first two strict JSON objects. Comes before any cryptography and
 * verifies nothing.
 */
export function readCompact(token: string): Unverified {
  checkSize(token)
  if (!/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(token)) throw malformed('not a compact JWS')
  const [header, claims, signature] = token.split('.') as [string, string, string]
  decode(signature)
  const { object, text } = strict(claims)
  return { token, header: strict(header).object, claims: object, payload: text }
}

/**
 * The claims with every digit of their numbers; refuses one that fills the memory. For a token whose
 * signature is right: of others the digits are not worth the time.
 */
export function exactClaims({ payload }: Unverified): JsonObject {
  const claims = exactObject(payload)
  if (!claims) throw malformed('a number out of range')
  return claims
}

function textOf(part: string): string {
  const bytes = decode(part)
  try {
    return utf8.decode(bytes)
  } catch {
    throw malformed('not UTF-8')
  }
}

function strict(part: string): Strict {
  const value = readStrict(textOf(part))
  if (!value) throw malformed('not a strict JSON object')
  return value
}

function decode(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  // A lenient decoder drops unused bits of the last character: several spellings of one token.
  if (bytes.toString('base64url') !== part) throw malformed('not canonical base64url')
  return bytes
}

function malformed(detail: string): Denied {
  return new Denied('token_malformed', detail)
}
