import { Denied } from '../../denied.ts'
import type { Actor, JsonObject } from '../../types.ts'
import type { IssuerSettings } from '../settings.ts'

export interface Delegation {
  readonly delegator?: string
  /** The current actor first, then prior ones. Empty: nobody acts. */
  readonly actors: readonly Actor[]
  /** The claims without prior actors. */
  readonly claims: JsonObject
}

/**
 * Who acts for whom as RFC 8693, section 4.1, writes it: `sub` is the delegator, the outermost `act.sub` the
 * agent; nested `act` are prior actors. An `act` without `iss` takes the token's. Refuses a chain that is
 * malformed, too deep or comes back to an actor, and an agent that acts for itself. Never takes a client for
 * an agent; claims such as `exp` inside `act` mean nothing.
 */
export function readDelegation(claims: JsonObject, issuer: IssuerSettings): Delegation {
  const delegator = subject(claims.sub)
  if (delegator === undefined && issuer.require_delegator) throw new Denied('delegator_missing')
  const actors = Object.hasOwn(claims, 'act') ? chain(claims.act, issuer) : []
  const [agent] = actors
  if (agent && agent.sub === delegator && agent.iss === issuer.issuer) throw new Denied('actor_is_delegator')
  return {
    ...(delegator !== undefined && { delegator }),
    actors,
    claims: agent ? { ...claims, act: withoutPriorActors(claims.act as JsonObject) } : claims,
  }
}

function subject(sub: unknown): string | undefined {
  if (sub === undefined) return undefined
  if (typeof sub !== 'string' || sub === '') throw new Denied('claim_invalid', 'sub')
  return sub
}

function chain(outermost: unknown, issuer: IssuerSettings): Actor[] {
  const actors: Actor[] = []
  const met = new Set<string>()
  for (let act = outermost; act !== undefined; act = (act as JsonObject).act) {
    if (typeof act !== 'object' || act === null || Array.isArray(act)) throw new Denied('actor_invalid')
    const { sub, iss = issuer.issuer } = act as { sub?: unknown; iss?: unknown }
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
  return current as JsonObject
}
