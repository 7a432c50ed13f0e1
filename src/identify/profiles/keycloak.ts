import { Denied } from '../../denied.ts'
import type { JsonObject } from '../../types.ts'
import type { Profile } from './profile.ts'

/** How the user name of a client's account begins; the rest is the client id. Names are in lower case. */
const CLIENTS_ACCOUNT = 'service-account-'
/** How the id of a token begins that came straight from client credentials: session, kind, grant. */
const CLIENT_CREDENTIALS = /^....cc:/

/**
 * Keycloak 26: its token exchange writes no `act`, so the client that exchanged is the agent. That is `azp`;
 * `client_id`, where it is there, is the first client of a chain of exchanges.
 */
export const keycloak: Profile = {
  delegator: 'sub',
  client: ['azp'],
  scopes: ['scope'],
  tokenId: ['jti'],
  clientActs: true,
  isClientsOwn,
  rules: [
    {
      name: 'a Bearer token',
      section: 'Keycloak: claim typ',
      check({ typ }) {
        if (typ !== 'Bearer') throw new Denied('token_type', 'claim typ')
      },
    },
    {
      // Else who exchanged the token would seem to act by itself.
      name: 'the account of no other client',
      section: 'Keycloak: service accounts',
      check(claims) {
        const { azp, client_id: first } = claims
        const name = userName(claims)
        const another = name.startsWith(CLIENTS_ACCOUNT) && name !== `${CLIENTS_ACCOUNT}${azp}`.toLowerCase()
        if (another || (fromClientCredentials(claims) && first !== azp))
          throw new Denied('delegator_missing', 'the account of another client')
      },
    },
  ],
}

/**
 * No single claim tells: a session (`sid`) is there for most people, and for clients whose credentials get
 * refresh tokens. Without `sub` it may be a person's: light tokens leave that out.
 */
function isClientsOwn(claims: JsonObject): boolean {
  const { sub, sid, jti, client_id: first } = claims
  const name = userName(claims)
  if (sub === undefined) return false
  if (fromClientCredentials(claims)) return true
  if (typeof jti === 'string' && CLIENT_CREDENTIALS.test(jti)) return true
  if (name !== '') return name.startsWith(CLIENTS_ACCOUNT)
  return typeof sid !== 'string' || first !== undefined
}

function userName({ preferred_username: name }: JsonObject): string {
  return typeof name === 'string' ? name.toLowerCase() : ''
}

function fromClientCredentials({ clientHost, clientAddress }: JsonObject): boolean {
  return clientHost !== undefined || clientAddress !== undefined
}
