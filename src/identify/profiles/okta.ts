import { Denied } from '../../denied.ts'
import { namesItsClient, saysNoUser } from './marks.ts'
import type { Profile } from './profile.ts'

const CLIENT = ['cid', 'client_id']
/** How the ids of ID tokens, and of assertions towards other servers, begin. */
const OTHER_TOKENS = /^(ID|IDAAG)\./

/**
 * Okta: the client in `cid`, scopes in a list `scp`, actors without `iss`. A token of a person has a `uid`;
 * one that agents pass on says by `sub_profile` whose it is.
 */
export const okta: Profile = {
  delegator: 'sub',
  client: CLIENT,
  scopes: ['scp', 'scope'],
  tokenId: ['jti'],
  clientActs: false,
  isClientsOwn: ({ uid, act, sub_profile: profile }) =>
    profile === undefined ? typeof uid !== 'string' && act === undefined : saysNoUser(profile),
  rules: [
    namesItsClient(CLIENT),
    {
      name: 'the id of an access token',
      section: 'Okta: claim jti',
      check({ jti }) {
        if (typeof jti === 'string' && OTHER_TOKENS.test(jti)) throw new Denied('token_type', 'claim jti')
      },
    },
  ],
}
