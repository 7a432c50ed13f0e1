import type { Json, JsonObject } from '../../types.ts'
import { namesItsClient } from './marks.ts'
import type { Profile } from './profile.ts'

const CLIENT = ['azp', 'appid']
/** Facets of a subject (`xms_sub_fct`): an agent identity, and the user account that an agent has. */
const AGENTS = ['11', '13']

/**
 * Microsoft Entra ID, v1 (`appid`) and v2 (`azp`): the delegator is `oid`, since `sub` differs from client to
 * client; the client is the agent, an agent identity or any other.
 */
export const entra: Profile = {
  delegator: 'oid',
  client: CLIENT,
  scopes: ['scp'],
  tokenId: ['jti', 'uti'],
  clientActs: true,
  isClientsOwn,
  rules: [namesItsClient(CLIENT)],
}

function isClientsOwn({ idtyp, scp, xms_sub_fct: facets }: JsonObject): boolean {
  const person = idtyp === undefined ? isDelegated(scp) : idtyp === 'user'
  return !person || (facets !== undefined && isAgent(facets))
}

/** Without a person there is no `scp`, or an empty one, or `/`; `roles` are there in either case. */
function isDelegated(scp: Json | undefined): boolean {
  return typeof scp === 'string' && scp.trim() !== '' && scp.trim() !== '/'
}

/** An agent that uses its own user account has a token like a person's, and nobody else's authority. */
function isAgent(facets: Json): boolean {
  return typeof facets !== 'string' || facets.split(' ').some(facet => AGENTS.includes(facet))
}
