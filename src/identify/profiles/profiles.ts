import { Denied } from '../../denied.ts'
import type { JsonObject } from '../../types.ts'
import type { IssuerSettings } from '../settings.ts'
import { auth0 } from './auth0.ts'
import { entra } from './entra.ts'
import { keycloak } from './keycloak.ts'
import { okta } from './okta.ts'
import type { Profile } from './profile.ts'
import { rfc8693 } from './rfc8693.ts'

export const PROFILES: { readonly [name in IssuerSettings['profile']]: Profile } = {
  rfc8693,
  keycloak,
  okta,
  auth0,
  entra,
}

/** Which client got the token; undefined also where that is not a name, which a rule refuses. */
export function clientOf(claims: JsonObject, { profile }: IssuerSettings): string | undefined {
  return textOf(claims, PROFILES[profile].client)
}

export function tokenIdOf(claims: JsonObject, { profile }: IssuerSettings): string | undefined {
  return textOf(claims, PROFILES[profile].tokenId)
}

/**
 * What the token is good for: RFC 8693, section 4.2, space-separated text; some issuers write a list. Refuses
 * anything else.
 */
export function scopesOf(claims: JsonObject, { profile }: IssuerSettings): string[] {
  const scopes = firstOf(claims, PROFILES[profile].scopes)
  if (scopes === undefined) return []
  if (typeof scopes === 'string') return scopes.split(' ').filter(scope => scope !== '')
  if (Array.isArray(scopes) && scopes.every(scope => typeof scope === 'string')) return scopes
  throw new Denied('claim_invalid', 'scope')
}

function textOf(claims: JsonObject, names: readonly string[]): string | undefined {
  const value = firstOf(claims, names)
  return typeof value === 'string' && value !== '' ? value : undefined
}

function firstOf(claims: JsonObject, names: readonly string[]): unknown {
  const name = names.find(each => claims[each] !== undefined)
  return name === undefined ? undefined : claims[name]
}
