import { Denied } from '../../denied.ts'
import type { Json, JsonObject } from '../../types.ts'
import type { Profile } from './profile.ts'

/** Facets of a subject (`xms_sub_fct`): an agent identity, and the user account that an agent has for itself. */
const AGENTS = ['11', '13']

/**
 * Microsoft Entra ID, v1 (`appid`) and v2 (`azp`): the delegator is `oid`, since `sub` differs from client to
 * client; the client is the agent, also where it is an agent identity.
 */
export const entra: Profile = {
  delegator: 'oid',
  client: ['azp', 'appid'],
  scopes: ['scp'],
  clientActs: true,
  isClientsOwn,
  rules: [
    {
      // Its ID tokens may have the same audience, and need not have a nonce.
      name: 'an access token by its client',
      section: 'Entra: claims azp and appid',
      check({ azp, appid }) {
        if (azp === undefined && appid === undefined) throw new Denied('token_type', 'it names no client')
      },
    },
  ],
}

/** An agent that uses its own user account has a token like a person's, and nobody else's authority. */
function isClientsOwn({ idtyp, scp, xms_sub_fct: facets }: JsonObject): boolean {
  const person = idtyp === undefined ? isDelegated(scp) : idtyp === 'user'
  return !person || AGENTS.some(agent => `${facets}`.split(' ').includes(agent))
}

/** Tokens without a person have no `scp`, or an empty one, or `/`. */
function isDelegated(scp: Json | undefined): boolean {
  return typeof scp === 'string' && scp !== '' && scp !== '/'
}
