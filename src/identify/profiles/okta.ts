import { Denied } from '../../denied.ts'
import { saysNoUser } from './entity-profile.ts'
import type { Profile } from './profile.ts'

/**
 * Okta: the client in `cid`, scopes in a list `scp`, actors without `iss`. What a client got for itself has no
 * user (`uid`), and its `sub` is the client; tokens of agents say by `sub_profile` whose they are.
 */
export const okta: Profile = {
  delegator: 'sub',
  client: ['cid', 'client_id'],
  scopes: ['scp', 'scope'],
  clientActs: false,
  isClientsOwn: ({ uid, act, sub_profile: profile }) =>
    profile === undefined ? uid === undefined && act === undefined : saysNoUser(profile),
  rules: [
    {
      name: 'an access token by its id',
      section: 'Okta: claim jti',
      check({ jti }) {
        if (typeof jti === 'string' && jti.startsWith('ID.')) throw new Denied('token_type', 'an ID token')
      },
    },
  ],
}
