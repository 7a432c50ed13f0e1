import { namesItsClient, saysNoUser } from './marks.ts'
import type { Profile } from './profile.ts'

const CLIENT = ['client_id', 'azp']

/**
 * Auth0, in its own dialect (`azp`) and in that of RFC 9068 (`client_id`). What a client got for itself has a
 * `sub` that ends in `@clients`, or, where agents have an identity of their own, says so by `sub_profile`.
 */
export const auth0: Profile = {
  delegator: 'sub',
  client: CLIENT,
  scopes: ['scope'],
  tokenId: ['jti'],
  clientActs: false,
  isClientsOwn: ({ sub, gty, sub_profile: profile }) =>
    (typeof sub === 'string' && sub.endsWith('@clients')) ||
    // Text or a list.
    JSON.stringify(gty ?? '').includes('"client-credentials"') ||
    saysNoUser(profile),
  rules: [namesItsClient(CLIENT)],
}
