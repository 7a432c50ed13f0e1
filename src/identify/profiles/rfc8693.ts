import type { Profile } from './profile.ts'

/** RFC 8693 and RFC 9068 as they are written: the agent is who `act` names, and nobody else. */
export const rfc8693: Profile = {
  delegator: 'sub',
  client: ['client_id', 'azp'],
  scopes: ['scope'],
  tokenId: ['jti'],
  clientActs: false,
  isClientsOwn: () => false,
  rules: [],
}
