import { Denied } from '../denied.ts'
import { type Actor, type Identity, isObject, type Json, type JsonObject } from '../types.ts'
import { clientOf, PROFILES } from './profiles/profiles.ts'
import type { IssuerSettings } from './settings.ts'

export type Delegation = Pick<Identity, 'delegator' | 'agent' | 'actorSource' | 'priorActors' | 'claims'>

/**
 * Who acts for whom (RFC 8693, section 4.1): the outermost `act.sub` is the agent, nested ones are prior
 * actors, and an `act` without `iss` takes the token's. Where nobody acts, the client may, by the profile;
 * where a client got the token for itself, nobody is acted for. Refuses a chain that is malformed, too deep
 * or comes back to an actor, and an agent that acts for itself. Nothing else in `act` is looked at.
 */
export function readDelegation(claims: JsonObject, issuer: IssuerSettings): Delegation {
  const { delegator: claim, clientActs, isClientsOwn } = PROFILES[issuer.profile]
  const [actor, ...priorActors] = Object.hasOwn(claims, 'act') ? chain(claims.act, issuer) : []
  const client = clientOf(claims, issuer)
  const subject = subjectOf(claims, claim)
  const isSubject = (name: string) => name === subject || name === claims.sub
  if (actor?.iss === issuer.issuer && isSubject(actor.sub)) throw new Denied('actor_is_delegator')
  // RFC 9068, section 2.2: without a resource owner, `sub` is the client.
  const clientsOwn = isClientsOwn(claims) || (client !== undefined && isSubject(client))
  const delegator = clientsOwn ? undefined : subject
  // Where clients act, a person's token that does not name the person would pass for the client's own.
  if (delegator === undefined && (issuer.require_delegator || (clientActs && !clientsOwn)))
    throw new Denied('delegator_missing')
  const agent =
    actor ?? (clientActs && client !== undefined ? { sub: client, iss: issuer.issuer } : undefined)
  return {
    ...(delegator !== undefined && { delegator }),
    ...(agent && { agent }),
    actorSource: actor ? 'act' : agent ? 'client' : 'none',
    priorActors,
    claims: actor ? { ...claims, act: withoutPriorActors(claims.act as JsonObject) } : claims,
  }
}

function subjectOf(claims: JsonObject, name: string): string | undefined {
  const subject = claims[name]
  if (subject === undefined) return undefined
  if (typeof subject !== 'string' || subject === '') throw new Denied('claim_invalid', 'the subject')
  return subject
}

function chain(outermost: Json | undefined, issuer: IssuerSettings): Actor[] {
  const actors: Actor[] = []
  const met = new Set<string>()
  for (let act = outermost; act !== undefined; act = act.act) {
    if (!isObject(act)) throw new Denied('actor_invalid')
    const { sub, iss = issuer.issuer } = act
    if (typeof sub !== 'string' || sub === '' || typeof iss !== 'string' || iss === '')
      throw new Denied('actor_invalid')
    if (actors.length === issuer.max_depth) throw new Denied('actor_chain_too_deep')
    const principal = JSON.stringify([iss, sub])
    if (met.has(principal)) throw new Denied('actor_invalid', 'an actor comes twice')
    met.add(principal)
    actors.push({ sub, iss })
  }
  return actors
}

function withoutPriorActors({ act: _, ...current }: JsonObject): JsonObject {
  return current
}
