import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { type Issuer, startIssuer, type Wanted } from '../../deploy/demo/issuer.ts'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { ALICE, echo, type Stack, startStack } from './stack.ts'

const JWT_AUTHN = 'envoy.filters.http.jwt_authn'
const BOB: Wanted = { ...ALICE, sub: 'bob@example.com' }
const BEARER = { from_headers: [{ name: 'Authorization', value_prefix: 'Bearer ' }] }

/** Envoy's own verifiers. None has `audiences`, so that these are ours to look at. */
const providers = (corp: string) => ({
  passes_on: { ...verifies('corp-keys', 'corp'), ...BEARER, issuer: corp, forward: true },
  takes_away: { ...verifies('corp-keys', 'corp'), ...BEARER, issuer: corp },
  /** Envoy makes a list of the scopes. */
  normalizes: {
    ...verifies('corp-keys', 'corp'),
    ...BEARER,
    issuer: corp,
    forward: true,
    normalize_payload_in_metadata: { space_delimited_claims: ['scope'] },
  },
  /** Where Envoy looks unless it is told: the header, and `access_token` in the query. */
  anywhere: { ...verifies('corp-keys', 'corp'), issuer: corp, forward: true },
  /** Its tokens may name any issuer. */
  partner: { ...verifies('partner-keys', 'partner'), from_headers: [{ name: 'x-partner-token' }] },
})

function verifies(cluster: string, payload: string) {
  const http_uri = { uri: 'http://127.0.0.1/keys', cluster, timeout: '5s' }
  return { remote_jwks: { http_uri }, payload_in_metadata: payload }
}

const SOURCE = { agent_authz_source: 'jwt_authn' }

/** What Envoy requires by path, and what the route says to agent-authz. */
const ROUTES: Record<string, { requires: object; says: object }> = {
  '/allowed/verified': { requires: { provider_name: 'passes_on' }, says: SOURCE },
  '/allowed/taken': { requires: { provider_name: 'takes_away' }, says: SOURCE },
  '/allowed/kept': {
    requires: { provider_name: 'passes_on' },
    says: { ...SOURCE, agent_authz_authorization: 'keep' },
  },
  '/allowed/normalized': { requires: { provider_name: 'normalizes' }, says: SOURCE },
  '/allowed/anywhere': { requires: { provider_name: 'anywhere' }, says: SOURCE },
  '/allowed/lenient': { requires: eitherOr('anywhere'), says: SOURCE },
  '/public/lenient': {
    requires: eitherOr('takes_away'),
    says: { ...SOURCE, agent_authz_identity: 'optional' },
  },
  '/observe/lenient': { requires: eitherOr('takes_away'), says: { ...SOURCE, agent_authz_mode: 'observe' } },
  '/allowed/partner': { requires: { provider_name: 'partner' }, says: SOURCE },
  '/allowed/both': {
    requires: {
      requires_all: { requirements: [{ provider_name: 'takes_away' }, { provider_name: 'partner' }] },
    },
    says: SOURCE,
  },
  '/allowed/unsaid': { requires: { provider_name: 'takes_away' }, says: {} },
}

function eitherOr(provider: string): object {
  return { requires_any: { requirements: [{ provider_name: provider }, { allow_missing_or_failed: {} }] } }
}

/** `envoy/envoy.yaml` with jwt_authn before ext_authz, as README says. */
function withJwtAuthn(text: string, corp: string, partner: string, namespaces: string[]): string {
  const config = parse(text)
  const { listeners, clusters } = config.static_resources
  const manager = listeners[0].filter_chains[0].filters[0].typed_config
  const [strip, authz, router] = manager.http_filters
  authz.typed_config.metadata_context_namespaces = namespaces
  const rules = Object.entries(ROUTES).map(([path_separated_prefix, { requires }]) => ({
    match: { path_separated_prefix },
    requires,
  }))
  const jwtAuthn = {
    name: JWT_AUTHN,
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
      providers: providers(corp),
      rules,
    },
  }
  manager.http_filters = [strip, jwtAuthn, authz, router]
  const routes = Object.entries(ROUTES).map(([path_separated_prefix, { says }]) => ({
    match: { path_separated_prefix },
    route: { cluster: 'upstream' },
    typed_per_filter_config: {
      'envoy.filters.http.ext_authz': {
        '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute',
        check_settings: { context_extensions: says },
      },
    },
  }))
  manager.route_config.virtual_hosts[0].routes.unshift(...routes)
  clusters.push(keysOf('corp-keys', corp), keysOf('partner-keys', partner))
  return stringify(config)
}

function keysOf(name: string, issuer: string): object {
  const socket_address = { address: '127.0.0.1', port_value: Number(new URL(issuer).port) }
  const endpoint = { address: { socket_address } }
  return { name, load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] } }
}

async function startWithJwtAuthn(partner: Issuer, namespaces = [JWT_AUTHN]): Promise<Stack> {
  let corp = ''
  return startStack({
    service(config) {
      const [issuer] = config.issuers as [(typeof config.issuers)[number]]
      corp = issuer.issuer
      config.issuers = [
        { ...issuer, name: 'corp', jwt_authn_payload: 'corp' },
        { ...issuer, name: 'partner', jwt_authn_payload: 'partner', issuer: partner.url },
      ]
    },
    envoy: text => withJwtAuthn(text, corp, partner.url, namespaces),
  })
}

let partner: Issuer
let stack: Stack
beforeAll(async () => {
  partner = await startIssuer(0)
  stack = await startWithJwtAuthn(partner)
})
afterAll(async () => {
  await stack?.stop()
  await partner?.close()
})

/** The line of the decision log for the only request with this path. */
async function recordOf(path: string): Promise<Record<string, unknown>> {
  const patience = performance.now() + 10_000
  for (;;) {
    const lines = stack.decisions().filter(line => line.path === path)
    if (lines.length > 0) return lines.length === 1 ? (lines[0] as object as Record<string, unknown>) : {}
    if (performance.now() > patience) throw new Error(`no record of ${path}`)
    await setImmediate()
  }
}

const errorOf = ({ status, body }: { status: number; body: string }) => [status, JSON.parse(body).error]

describe.each(['verified', 'taken'])('what Envoy verified, under /allowed/%s', route => {
  const path = `/allowed/${route}`

  it('says who acts for whom, to the upstream and in the record', async () => {
    const token = await stack.issuer.mint({ ...ALICE, act: ['mail-summary', 'planner'] })
    const { headers } = echo(await stack.call(`${path}/good`, { token }))
    expect(headers).toMatchObject({
      'x-delegator-id': 'alice@example.com',
      'x-delegator-issuer': 'corp',
      'x-agent-id': 'mail-summary',
      'x-agent-issuer': 'corp',
      'x-agent-chain': 'planner',
    })
    expect(headers).not.toHaveProperty('authorization')
    expect(await recordOf(`${path}/good`)).toMatchObject({
      outcome: 'allow',
      issuer: 'corp',
      delegator: 'alice@example.com',
      agent: 'mail-summary',
      actor_source: 'act',
      client_id: 'demo',
      token_id: expect.any(String),
      prior_actors: [{ sub: 'planner', iss: stack.issuer.url }],
    })
  })

  const now = () => Math.floor(Date.now() / 1000)
  it.each<[what: string, token: () => Partial<Wanted>, reason: string]>([
    ['is for another API', () => ({ aud: 'https://other.example.com' }), 'audience_mismatch'],
    ['expired within the skew that Envoy allows', () => ({ ttl: -45 }), 'token_expired'],
    ['never expires', () => ({ claims: { exp: undefined } }), 'claim_missing'],
    ['was issued in the future', () => ({ claims: { iat: now() + 45 } }), 'token_not_yet_valid'],
    ['lives too long', () => ({ ttl: 3600 }), 'token_lifetime'],
    ['is an ID token', () => ({ claims: { nonce: 'n' } }), 'token_type'],
    ['is bound to a key', () => ({ claims: { cnf: { jkt: 'k' } } }), 'sender_constrained'],
    ['names nobody who acts', () => ({ act: [] }), 'agent_missing'],
    ['names an actor who acts for itself', () => ({ act: ['alice@example.com'] }), 'actor_is_delegator'],
    ['names an actor twice', () => ({ act: ['a', 'b', 'a'] }), 'actor_invalid'],
    ['names too many actors', () => ({ act: ['a', 'b', 'c', 'd', 'e'] }), 'actor_chain_too_deep'],
    ['has scopes that are no text', () => ({ claims: { scope: 7 } }), 'claim_invalid'],
    ['has a number that Envoy rounds', () => ({ claims: { account: 2 ** 60 } }), 'claim_invalid'],
  ])('is refused by us where the token %s', async (_, token, reason) => {
    const called = await stack.call(`${path}/${reason}`, {
      token: await stack.issuer.mint({ ...ALICE, ...token() }),
    })
    expect(errorOf(called)).toEqual([401, reason])
  })

  it('is nothing where the signature is wrong: Envoy refuses it alone, without a record', async () => {
    const forged = await stack.issuer.mint({ ...ALICE, signedBy: 'stranger' })
    const refused = await stack.call(`${path}/forged`, { token: forged })
    expect(refused.status).toBe(401)
    expect(refused.headers).not.toHaveProperty('x-authz-decision-id')
    await stack.asAlice(`${path}/after-forged`)
    await recordOf(`${path}/after-forged`)
    expect(stack.decisions().filter(line => line.path === `${path}/forged`)).toEqual([])
  })
})

describe('a token that Envoy passes on', () => {
  it('is held to the type that is wanted; one that was taken away cannot be', async () => {
    const token = await stack.issuer.mint({ ...ALICE, typ: 'JWT' })
    expect(errorOf(await stack.call('/allowed/verified', { token }))).toEqual([401, 'token_type'])
    expect((await stack.call('/allowed/taken', { token })).status).toBe(200)
  })

  it.each(['xBearer', 'Basic x Bearer'])('cannot hide its header in %s, which Envoy reads', async scheme => {
    const headers = async (): Promise<[string, string][]> => [
      ['authorization', `${scheme} ${await stack.issuer.mint({ ...ALICE, typ: 'JWT' })}`],
    ]
    const called = await stack.call('/allowed/verified', { headers: await headers() })
    expect(errorOf(called)).toEqual([401, 'token_malformed'])
    expect((await stack.call('/allowed/taken', { headers: await headers() })).status).toBe(200)
  })

  it('may have its scopes made a list', async () => {
    const token = await stack.issuer.mint({ ...ALICE, scope: 'read:mail:inbox  read:mail:archive' })
    expect((await stack.call('/allowed/normalized', { token })).status).toBe(200)
  })

  it('goes to the upstream where the route keeps it', async () => {
    const { headers } = echo(await stack.asAlice('/allowed/kept'))
    expect(headers).toMatchObject({ authorization: expect.stringMatching(/^Bearer /) })
  })
})

describe('a request with two tokens', () => {
  const both = async (path: string, header: Wanted, query: Wanted) =>
    stack.call(`${path}?access_token=${await stack.issuer.mint(query)}`, {
      token: await stack.issuer.mint(header),
    })

  it('is refused by Envoy where one is forged', async () => {
    const forged: Wanted = { ...BOB, signedBy: 'stranger' }
    expect((await both('/allowed/anywhere', forged, ALICE)).headers).not.toHaveProperty('x-authz-decision-id')
    expect((await both('/allowed/anywhere', ALICE, forged)).headers).not.toHaveProperty('x-authz-decision-id')
  })

  it('is refused by us where Envoy lets a forged header pass beside the good one', async () => {
    const forged: Wanted = { ...BOB, signedBy: 'stranger' }
    expect(errorOf(await both('/allowed/lenient', forged, ALICE))).toEqual([401, 'token_unverified'])
  })

  it('has the identity of its header', async () => {
    const { headers } = echo(await both('/allowed/anywhere', ALICE, BOB))
    expect(headers).toMatchObject({ 'x-delegator-id': 'alice@example.com' })
  })

  it('is refused where they are of two issuers, each verified', async () => {
    const headers: [string, string][] = [['x-partner-token', await partner.mint(BOB)]]
    const called = await stack.asAlice('/allowed/both', { headers })
    expect(errorOf(called)).toEqual([401, 'token_unverified'])
  })
})

describe('a token of another verifier', () => {
  it('speaks for its own issuer only, though Envoy lets it name any', async () => {
    const send = async (token: Promise<string>) =>
      stack.call('/allowed/partner', { headers: [['x-partner-token', await token]] })
    expect(echo(await send(partner.mint(BOB))).headers).toMatchObject({
      'x-delegator-id': 'bob@example.com',
      'x-delegator-issuer': 'partner',
    })
    const asCorp = await send(partner.mint({ ...ALICE, iss: stack.issuer.url }))
    expect(errorOf(asCorp)).toEqual([401, 'issuer_unknown'])
  })
})

describe('without a token that Envoy verified', () => {
  it('nobody is known', async () => {
    expect(errorOf(await stack.call('/allowed/lenient'))).toEqual([401, 'token_missing'])
  })

  it.each([
    ['forged', () => stack.issuer.mint({ ...ALICE, signedBy: 'stranger' })],
    ['of an issuer that Envoy does not know', () => partner.mint(ALICE)],
    ['no token at all', async () => 'garbage'],
  ])('a Bearer token that Envoy let pass is refused: %s', async (_, mint) => {
    const token = await mint()
    for (const path of ['/allowed/lenient', '/public/lenient'])
      expect(errorOf(await stack.call(path, { token }))).toEqual([401, 'token_unverified'])
  })

  it('a route may be open', async () => {
    const { headers } = echo(await stack.call('/public/lenient'))
    expect(TRUSTED_HEADERS.filter(name => name in headers)).toEqual(['x-authz-decision-id'])
  })

  it('no header makes metadata', async () => {
    const payload = JSON.stringify({ iss: stack.issuer.url, sub: 'alice@example.com' })
    const names = ['corp', 'x-jwt-payload', 'metadata-context', 'envoy.filters.http.jwt-authn']
    const headers = names.map((name): [string, string] => [name, payload])
    expect(errorOf(await stack.call('/allowed/lenient', { headers }))).toEqual([401, 'token_missing'])
  })
})

describe('where only watching', () => {
  it('lets what policy refuses pass, with who was verified', async () => {
    const { headers } = echo(await stack.asAlice('/observe/lenient'))
    expect(headers).toMatchObject({ 'x-delegator-id': 'alice@example.com', 'x-agent-id': 'mail-summary' })
  })

  it('lets a bad token pass, with nobody verified', async () => {
    const token = await stack.issuer.mint({ ...ALICE, signedBy: 'stranger' })
    const { headers } = echo(await stack.call('/observe/lenient', { token }))
    expect(TRUSTED_HEADERS.filter(name => name in headers)).toEqual(['x-authz-decision-id'])
  })
})

describe('never by default', () => {
  it('a route that does not say so heeds tokens only, whatever Envoy verified', async () => {
    expect(errorOf(await stack.asAlice('/allowed/unsaid'))).toEqual([401, 'token_missing'])
  })

  it('a route that does say so looks for no token of its own', async () => {
    const unheard = await startWithJwtAuthn(partner, [])
    try {
      expect(errorOf(await unheard.asAlice('/allowed/verified'))).toEqual([401, 'token_unverified'])
      expect(errorOf(await unheard.asAlice('/allowed/taken'))).toEqual([401, 'token_missing'])
    } finally {
      await unheard.stop()
    }
  })
})
