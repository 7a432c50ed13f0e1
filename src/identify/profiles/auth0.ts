import { saysNoUser } from './entity-profile.ts'
import type { Profile } from './profile.ts'

/**
 * Auth0, in its own dialect (`azp`) and in that of RFC 9068 (`client_id`). What a client got for itself has a
 * `sub` that ends in `@clients`; tokens of agents say by `sub_profile` whose they are.
 */
export const auth0: Profile = {
  delegator: 'sub',
  client: ['client_id', 'azp'],
  scopes: ['scope'],
  clientActs: false,
  isClientsOwn: ({ sub, gty, sub_profile: profile }) =>
    (typeof sub === 'string' && sub.endsWith('@clients')) ||
    [gty].flat().includes('client-credentials') ||
    saysNoUser(profile),
  rules: [],
}
