import { type Keycloak, postForm } from './keycloak.ts'

/** The audience of what is protected. */
export const TOOLS = 'https://tools.example.com'
const PERSON = 'alice'
/** The scopes of most tokens. */
const USUAL = 'openid tools.read'

/** What the token endpoint answers. */
export type Grant = Readonly<Record<string, string>>

export interface Realm {
  readonly name: string
  readonly issuer: string
  readonly tokenUrl: string
  /** Alice signs in at a client; `dpop` (RFC 9449) binds what she gets to the key of this proof. */
  login(client: ClientId, scope?: string, dpop?: string): Promise<Grant>
  /** A client asks for a token for itself. */
  own(client: ClientId, scope?: string): Promise<Grant>
  /** A client exchanges a token (RFC 8693). */
  exchange(
    client: ClientId,
    token: string | undefined,
    more?: Readonly<Record<string, string>>,
  ): Promise<Grant>
  /** A client gets a token for what another issuer wrote (RFC 7523). */
  assert(client: ClientId, assertion: string | undefined, scope: string): Promise<Grant>
  logout(client: ClientId, refreshToken: string | undefined): Promise<void>
}

const tokenMapper = (name: string, protocolMapper: string, config: object) => ({
  name,
  protocol: 'openid-connect',
  protocolMapper,
  config: { 'access.token.claim': 'true', ...config },
})
const audience = (name: string) =>
  tokenMapper(`audience ${name}`, 'oidc-audience-mapper', {
    'included.custom.audience': name,
    'lightweight.claim': 'true',
  })
const actor = (act: object) =>
  tokenMapper('act', 'oidc-hardcoded-claim-mapper', {
    'claim.name': 'act',
    'claim.value': JSON.stringify(act),
    'jsonType.label': 'JSON',
  })

/** What may be asked for by `scope`. Keycloak's own exchange writes no `act`, so a scope does. */
const optionalScopes = (realms: string) => ({
  // With the clients that may exchange such a token.
  'tools.read': [audience(TOOLS), audience('gateway'), audience('strict')],
  actor: [actor({ sub: 'mail-summary' })],
  'actor-chain': [actor({ sub: 'mail-summary', act: { sub: 'planner' } })],
  // An assertion may have no other audience.
  'to-agents': [audience(`${realms}/agents`)],
})

const EXCHANGES = { 'standard.token.exchange.enabled': 'true' }

/** The attributes of each client. All are confidential, with passwords allowed and a service account. */
const CLIENTS = {
  /** Where Alice signs in. */
  console: { 'backchannel.logout.session.required': 'true' },
  gateway: { ...EXCHANGES, 'oauth2.jwt.authorization.grant.enabled': 'true' },
  /** Its access tokens are `at+jwt`. */
  strict: { ...EXCHANGES, 'access.token.header.type.rfc9068': 'true' },
  /** A session for its own tokens too. Its service account is named in lower case. */
  Resident: { 'client_credentials.use_refresh_token': 'true' },
  /** Access tokens that say little. */
  light: { 'client.use.lightweight.access.token.enabled': 'true' },
} as const

type ClientId = keyof typeof CLIENTS

/** What a realm may trust and tell beyond itself. */
interface Beyond {
  /** Where logout tokens of `console` are sent. */
  readonly logoutUrl?: string
  /** Another realm, whose tokens may be asserted here for Alice. */
  readonly partner?: Realm
}

/** A realm with Keycloak's own scopes, ours beside them, the clients above, and Alice. */
export async function createRealm(
  keycloak: Keycloak,
  name: string,
  { logoutUrl, partner }: Beyond = {},
): Promise<Realm> {
  const { admin } = keycloak
  const realms = `${keycloak.url}/realms`
  const issuer = `${realms}/${name}`
  const scopes = optionalScopes(realms)
  await admin('POST', '', { realm: name, enabled: true })
  const credentials = [{ type: 'password', value: PERSON, temporary: false }]
  const person = { username: PERSON, email: 'alice@example.com', firstName: 'Alice', lastName: 'Archer' }
  await admin('POST', `/${name}/users`, { ...person, enabled: true, credentials })
  for (const [scope, protocolMappers] of Object.entries(scopes))
    await admin('POST', `/${name}/client-scopes`, {
      name: scope,
      protocol: 'openid-connect',
      attributes: { 'include.in.token.scope': 'true' },
      protocolMappers,
    })
  if (partner) await trust(partner)
  for (const [clientId, attributes] of Object.entries(CLIENTS)) await addClient(clientId, attributes)

  async function addClient(clientId: string, attributes: Readonly<Record<string, string>>): Promise<void> {
    await admin('POST', `/${name}/clients`, {
      clientId,
      secret: clientId,
      directAccessGrantsEnabled: true,
      serviceAccountsEnabled: true,
      fullScopeAllowed: false,
      attributes: {
        ...attributes,
        ...(logoutUrl !== undefined && clientId === 'console' && { 'backchannel.logout.url': logoutUrl }),
        ...(partner && clientId === 'gateway' && { 'oauth2.jwt.authorization.grant.idp': partner.name }),
      },
    })
    const [client] = (await admin('GET', `/${name}/clients?clientId=${clientId}`)) as [{ id: string }]
    const known = (await admin('GET', `/${name}/client-scopes`)) as { id: string; name: string }[]
    for (const { id } of known.filter(scope => scope.name in scopes))
      await admin('PUT', `/${name}/clients/${client.id}/optional-client-scopes/${id}`)
  }

  async function trust({ name: alias, issuer: theirs, login }: Realm): Promise<void> {
    await admin('POST', `/${name}/identity-provider/instances`, {
      alias,
      providerId: 'jwt-authorization-grant',
      enabled: true,
      config: {
        issuer: theirs,
        jwksUrl: `${theirs}/protocol/openid-connect/certs`,
        useJwksUrl: 'true',
        validateSignature: 'true',
        jwtAuthorizationGrantEnabled: 'true',
        jwtAuthorizationGrantMaxAllowedAssertionExpiration: '600',
        jwtAuthorizationGrantAssertionSignatureAlg: 'RS256',
      },
    })
    const [user] = (await admin('GET', `/${name}/users?username=${PERSON}&exact=true`)) as [{ id: string }]
    const { sub } = claims((await login('console')).access_token)
    await admin('POST', `/${name}/users/${user.id}/federated-identity/${alias}`, {
      identityProvider: alias,
      userId: sub,
      userName: PERSON,
    })
  }

  const place = `${issuer}/protocol/openid-connect`
  const tokenUrl = `${place}/token`
  const basic = (client: ClientId) => ({ authorization: `Basic ${btoa(`${client}:${client}`)}` })
  const grant = (client: ClientId, fields: Readonly<Record<string, string>>, headers = {}) =>
    postForm(tokenUrl, fields, { ...basic(client), ...headers })

  return {
    name,
    issuer,
    tokenUrl,
    login: (client, scope = USUAL, dpop) =>
      grant(
        client,
        { grant_type: 'password', username: PERSON, password: PERSON, scope },
        dpop === undefined ? {} : { dpop },
      ),
    own: (client, scope = USUAL) => grant(client, { grant_type: 'client_credentials', scope }),
    exchange: (client, token = '', more = {}) =>
      grant(client, {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        ...more,
      }),
    assert: (client, assertion = '', scope) =>
      grant(client, { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion, scope }),
    async logout(client, refreshToken = '') {
      await postForm(`${place}/logout`, { refresh_token: refreshToken }, basic(client))
    },
  }
}

/** The claims of a token, and its header, as they stand. */
export function claims(token: string | undefined): Record<string, unknown> {
  return part(token, 1)
}

export function header(token: string | undefined): Record<string, unknown> {
  return part(token, 0)
}

function part(token: string | undefined, index: number): Record<string, unknown> {
  return JSON.parse(Buffer.from(token?.split('.')[index] ?? '', 'base64url').toString())
}
