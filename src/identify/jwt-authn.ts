import { isDeepStrictEqual } from 'node:util'
import { Denied } from '../denied.ts'
import type { HeldRequest, Json, JsonObject } from '../types.ts'
import { bearerToken } from './bearer.ts'
import { checkSize, readCompact } from './compact.ts'
import { checkHeader } from './header.ts'
import { strictObject } from './json.ts'
import type { IssuerSettings } from './settings.ts'

const NAMESPACE = 'envoy.filters.http.jwt_authn'

/**
 * The claims that Envoy's `jwt_authn` verified, from its dynamic metadata, which no client can write, and
 * whose they are; undefined where there is neither a payload nor a Bearer token. Refuses several payloads,
 * and one that names another issuer. A Bearer token that came along must say the same, and its form and
 * header are checked; of one that Envoy took away neither can be. Never the signature.
 */
export function verifiedPayload(
  request: HeldRequest,
  issuers: readonly IssuerSettings[],
): { claims: JsonObject; issuer: IssuerSettings } | undefined {
  const expected = issuers.flatMap(issuer =>
    issuer.jwt_authn_payload === undefined ? [] : [{ issuer, name: issuer.jwt_authn_payload }],
  )
  if (expected.length === 0) throw new Denied('route_invalid', 'no issuer has jwt_authn_payload')
  const written = metadataOf(request)
  const [payload, ...others] = expected.filter(({ name }) => Object.hasOwn(written, name))
  const token = bearerAsEnvoyReads(request)
  if (others.length > 0) throw new Denied('token_unverified', 'payloads of several issuers')
  if (!payload) {
    if (token !== undefined) throw new Denied('token_unverified', 'no payload')
    return undefined
  }
  const { issuer, name } = payload
  const claims = claimsOf(written[name])
  if (token !== undefined) checkBearer(token, claims, issuer)
  if (claims.iss !== issuer.issuer) throw new Denied('issuer_unknown')
  return { claims, issuer }
}

function metadataOf({ attributes }: HeldRequest): JsonObject {
  const { metadataContext } = attributes as {
    metadataContext?: { filterMetadata?: { [namespace: string]: JsonObject } }
  }
  return metadataContext?.filterMetadata?.[NAMESPACE] ?? {}
}

/** Envoy looks for `Bearer ` anywhere in the header: in `xBearer …` too it finds a token. */
function bearerAsEnvoyReads(request: HeldRequest): string | undefined {
  const token = bearerToken(request)
  if (token === undefined && request.header('authorization').some(value => /bearer\s/i.test(value)))
    throw new Denied('token_malformed', 'Bearer within another scheme')
  return token
}

/** Held to what the text of a token is held to, as far as it can still be seen. */
function claimsOf(payload: Json | undefined): JsonObject {
  const text = JSON.stringify(payload, unrounded)
  checkSize(text)
  const claims = strictObject(text)
  if (!claims) throw new Denied('token_malformed', 'the payload is not a strict JSON object')
  return claims
}

/** Envoy hands numbers over as doubles: of two ids that are longer it may have made one. */
function unrounded(_key: string, value: unknown): unknown {
  if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER)
    throw new Denied('claim_invalid', 'a number that Envoy may have rounded')
  return value
}

/** Envoy may have verified another token: of a query, a cookie, or another header. */
function checkBearer(token: string, verified: JsonObject, issuer: IssuerSettings): void {
  const { header, claims } = readCompact(token)
  const names = new Set([...Object.keys(claims), ...Object.keys(verified)])
  if (![...names].every(name => isSame(claims[name], verified[name])))
    throw new Denied('token_unverified', 'another token')
  checkHeader(header, issuer)
}

/** A list in place of a text is what Envoy's `normalize_payload_in_metadata` makes of it. */
function isSame(sent: Json | undefined, verified: Json | undefined): boolean {
  const words = typeof sent === 'string' && Array.isArray(verified)
  return isDeepStrictEqual(words ? sent.split(' ').filter(word => word !== '') : sent, verified)
}
