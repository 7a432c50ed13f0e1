import { Denied } from '../denied.ts'
import type { Json } from '../types.ts'
import { mediaType } from './header.ts'
import { clientOf, PROFILES } from './profiles/profiles.ts'
import type { ClaimRule } from './rule.ts'
import type { IssuerSettings } from './settings.ts'

/**
 * What an ID token (OpenID Connect Core, section 2) or a logout token (Back-Channel Logout, section 2.4) has
 * and an access token has not.
 */
const MARKS_OF_OTHER_TOKENS = ['nonce', 'at_hash', 'c_hash', 'events']

/** What the claims must satisfy once the signature is right, whatever the profile. Not the delegation. */
const CLAIM_RULES: readonly ClaimRule[] = [
  {
    name: 'expiry',
    section: 'RFC 7519, 4.1.4',
    check(claims, issuer, now) {
      const exp = seconds(claims.exp)
      if (exp === undefined) throw new Denied('claim_missing', 'exp')
      if (now >= exp + skew(issuer)) throw new Denied('token_expired')
    },
  },
  {
    name: 'not before',
    section: 'RFC 7519, 4.1.5',
    check({ nbf }, issuer, now) {
      if (now < (seconds(nbf) ?? now) - skew(issuer)) throw new Denied('token_not_yet_valid')
    },
  },
  {
    name: 'issued at',
    section: 'RFC 7519, 4.1.6',
    check({ iat }, issuer, now) {
      if (now < (seconds(iat) ?? now) - skew(issuer)) throw new Denied('token_not_yet_valid')
    },
  },
  {
    name: 'lifetime',
    section: 'RFC 9068, 4',
    check({ exp, iat }, issuer, now) {
      const life = (seconds(exp) ?? now) - (seconds(iat) ?? now)
      if (life > issuer.max_lifetime / 1000) throw new Denied('token_lifetime')
    },
  },
  {
    name: 'audience',
    section: 'RFC 7519, 4.1.3; RFC 9068, 4; BCP 225, 3.9',
    check({ aud }, { audiences }) {
      const named = typeof aud === 'string' ? [aud] : aud
      if (named === undefined) throw new Denied('audience_mismatch')
      if (!isListOfTexts(named)) throw new Denied('claim_invalid', 'aud')
      if (!named.some(name => audiences.includes(name))) throw new Denied('audience_mismatch')
    },
  },
  {
    name: 'required claims',
    section: 'RFC 7519, 4',
    check(claims, { required_claims: names }) {
      for (const name of names)
        if (!Object.hasOwn(claims, name) || claims[name] === null) throw new Denied('claim_missing', name)
    },
  },
  {
    name: 'token id',
    section: 'RFC 7519, 4.1.7',
    check(claims, { profile }) {
      for (const name of PROFILES[profile].tokenId)
        if (claims[name] !== undefined && typeof claims[name] !== 'string')
          throw new Denied('claim_invalid', name)
    },
  },
  {
    name: 'client',
    section: 'RFC 8693, 4.3; RFC 9068, 2.2',
    check(claims, issuer) {
      for (const name of PROFILES[issuer.profile].client)
        if (claims[name] !== undefined && (typeof claims[name] !== 'string' || claims[name] === ''))
          throw new Denied('claim_invalid', name)
      if (issuer.clients.length > 0 && !issuer.clients.includes(clientOf(claims, issuer) ?? ''))
        throw new Denied('client_not_allowed')
    },
  },
  {
    // Whoever holds the token must prove a key; a Bearer header proves nothing.
    name: 'not bound to a key',
    section: 'RFC 7800, 3.1; RFC 9449, 7.2',
    check(claims) {
      if (Object.hasOwn(claims, 'cnf')) throw new Denied('sender_constrained')
    },
  },
  {
    // Where plain JWT is accepted, a typ does not tell access tokens from others.
    name: 'an access token',
    section: 'BCP 225, 3.12',
    check(claims, { types }) {
      const anyJwt = types.some(type => mediaType(type) === 'application/jwt')
      if (anyJwt && MARKS_OF_OTHER_TOKENS.some(mark => Object.hasOwn(claims, mark)))
        throw new Denied('token_type', 'an ID or logout token')
    },
  },
]

const RULES_BY_PROFILE: ReadonlyMap<string, readonly ClaimRule[]> = new Map(
  Object.entries(PROFILES).map(([name, { rules }]) => [name, [...CLAIM_RULES, ...rules]]),
)

/** The rules for the claims of this issuer's tokens, those of its profile last. */
export function claimRules({ profile }: IssuerSettings): readonly ClaimRule[] {
  return RULES_BY_PROFILE.get(profile) as readonly ClaimRule[]
}

function isListOfTexts(value: Json): value is readonly string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

function skew(issuer: IssuerSettings): number {
  return issuer.clock_skew / 1000
}

/** RFC 7519, section 2, NumericDate: seconds, with or without a fraction. */
function seconds(value: Json | undefined): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw new Denied('claim_invalid', 'a time')
  return value
}
