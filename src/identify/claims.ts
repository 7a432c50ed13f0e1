import { Denied } from '../denied.ts'
import type { JsonObject } from '../types.ts'
import type { IssuerSettings } from './settings.ts'

/**
 * What an ID token (OpenID Connect Core, section 2) or a logout token (Back-Channel Logout, section 2.4) has
 * and an access token has not.
 */
const MARKS_OF_OTHER_TOKENS = ['nonce', 'at_hash', 'c_hash', 'events']

/**
 * Checks the header parameters before any key is looked for: `crit` and `b64` (RFC 7515, section 4.1.11; RFC
 * 7797) refused, `alg` in the issuer's list with exact case (RFC 8725, section 3.1), `typ` there and accepted
 * (section 3.11). Keys in the header are ignored.
 */
export function checkHeader(
  header: JsonObject,
  issuer: IssuerSettings,
): { alg: string; kid: string | undefined } {
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) throw new Denied('token_critical_header')
  const { alg, typ, kid } = header
  if (typeof alg !== 'string' || !(issuer.algorithms as string[]).includes(alg))
    throw new Denied('token_algorithm')
  if (typeof typ !== 'string' || !issuer.types.some(type => mediaType(type) === mediaType(typ)))
    throw new Denied('token_type')
  if (kid !== undefined && typeof kid !== 'string') throw new Denied('token_malformed', 'kid')
  return { alg, kid }
}

/** RFC 7515, section 4.1.9: `application/` may be left out; case does not count. */
function mediaType(typ: string): string {
  const type = typ.toLowerCase()
  return type.includes('/') ? type : `application/${type}`
}

/**
 * Checks the claims of a token whose signature is right (RFC 7519, section 4.1): times with the issuer's
 * skew, lifetime, audience, client, required claims, and that the token is neither bound to a key nor of
 * another kind. Not the delegation. `now` in milliseconds.
 */
export function checkClaims(claims: JsonObject, issuer: IssuerSettings, now: number): void {
  checkTimes(claims, issuer, now / 1000)
  checkAudience(claims.aud, issuer.audiences)
  for (const name of issuer.required_claims)
    if (!Object.hasOwn(claims, name) || claims[name] === null) throw new Denied('claim_missing')
  for (const name of ['jti', 'client_id', 'azp'])
    if (claims[name] !== undefined && typeof claims[name] !== 'string')
      throw new Denied('claim_invalid', 'not a text')
  if (issuer.clients.length > 0 && !issuer.clients.includes(clientOf(claims) ?? ''))
    throw new Denied('client_not_allowed')
  // RFC 7800: whoever holds the token must prove a key; a Bearer header proves nothing.
  if (Object.hasOwn(claims, 'cnf')) throw new Denied('sender_constrained')
  // Where plain JWT is accepted, a typ does not tell access tokens from others.
  const anyJwt = issuer.types.some(type => mediaType(type) === 'application/jwt')
  if (anyJwt && MARKS_OF_OTHER_TOKENS.some(mark => Object.hasOwn(claims, mark)))
    throw new Denied('token_type', 'an ID or logout token')
}

export function clientOf(claims: JsonObject): string | undefined {
  return (claims.client_id ?? claims.azp) as string | undefined
}

function checkTimes(claims: JsonObject, issuer: IssuerSettings, now: number): void {
  const skew = issuer.clock_skew / 1000
  const exp = seconds(claims.exp)
  const nbf = seconds(claims.nbf)
  const iat = seconds(claims.iat)
  if (exp === undefined) throw new Denied('claim_missing', 'exp')
  if (now >= exp + skew) throw new Denied('token_expired')
  if (nbf !== undefined && now < nbf - skew) throw new Denied('token_not_yet_valid')
  if (iat !== undefined && now < iat - skew) throw new Denied('token_not_yet_valid')
  if (exp - (iat ?? now) > issuer.max_lifetime / 1000) throw new Denied('token_lifetime')
}

/** RFC 7519, section 2, NumericDate: seconds, with or without a fraction. */
function seconds(value: unknown): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw new Denied('claim_invalid', 'a time')
  return value
}

function checkAudience(aud: unknown, audiences: readonly string[]): void {
  const named = typeof aud === 'string' ? [aud] : aud
  if (named === undefined) throw new Denied('audience_mismatch')
  if (!Array.isArray(named) || !named.every(name => typeof name === 'string'))
    throw new Denied('claim_invalid', 'aud')
  if (!named.some(name => audiences.includes(name))) throw new Denied('audience_mismatch')
}
