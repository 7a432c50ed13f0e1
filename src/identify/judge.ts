import { asDenied, Denied } from '../denied.ts'
import type { Identity, JsonObject, Parties } from '../types.ts'
import { claimRules } from './claims.ts'
import { readDelegation } from './delegation.ts'
import { clientOf, scopesOf, tokenIdOf } from './profiles/profiles.ts'
import type { IssuerSettings } from './settings.ts'
import { type IssuerName, trustedHeaders } from './trusted-headers.ts'

/**
 * The identity that claims prove once it is certain that their issuer wrote them, which is not looked at
 * here: claims, delegation, trusted headers. A refusal says whose token it was. `now` in milliseconds.
 */
export function judge(
  claims: JsonObject,
  issuer: IssuerSettings,
  { now, issuerName }: { now: number; issuerName: IssuerName },
): Identity {
  try {
    for (const { check } of claimRules(issuer)) check(claims, issuer, now / 1000)
    const identity = identityOf(claims, issuer)
    return { ...identity, headers: trustedHeaders(identity, issuerName) }
  } catch (thrown) {
    const { reason, detail, cause } = asDenied(thrown)
    throw new Denied(reason, detail, { cause, parties: partiesOf(claims, issuer) })
  }
}

function identityOf(claims: JsonObject, issuer: IssuerSettings): Omit<Identity, 'headers'> {
  return {
    ...originOf(claims, issuer),
    ...readDelegation(claims, issuer),
    iss: issuer.issuer,
    requiresAgent: issuer.require_agent,
    scopes: scopesOf(claims, issuer),
    expiresAt: claims.exp as number,
  }
}

/** As much as can be read of a token that is refused. */
function partiesOf(claims: JsonObject, issuer: IssuerSettings): Parties {
  const known = originOf(claims, issuer)
  try {
    // Whether a delegator must be there is what it may be refused for.
    const { claims: _, ...parties } = readDelegation(claims, { ...issuer, require_delegator: false })
    return { ...known, ...parties }
  } catch {
    return known
  }
}

function originOf(
  claims: JsonObject,
  issuer: IssuerSettings,
): Pick<Parties, 'issuer' | 'clientId' | 'tokenId'> {
  const clientId = clientOf(claims, issuer)
  const tokenId = tokenIdOf(claims, issuer)
  return {
    issuer: issuer.name,
    ...(clientId !== undefined && { clientId }),
    ...(tokenId !== undefined && { tokenId }),
  }
}
