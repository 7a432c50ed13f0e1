import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { listen } from '../../deploy/demo/upstream.ts'
import { type Protected, protectBy, startIssuers } from './protected.ts'
import { claims, createRealm, header, type Realm } from './realm.ts'

type Token = () => Promise<string | undefined>

let stop: (() => Promise<void>)[] = []
let stack: Protected
/** Believed as it is by default. */
let agents: Realm
/** Believed without a delegator too. */
let robots: Realm
/** Not configured. */
let partner: Realm
let logoutTokens: string[]

beforeAll(async () => {
  logoutTokens = []
  const receiver = await listen(
    createServer(async (request, response) => {
      logoutTokens.push(new URLSearchParams(await text(request)).get('logout_token') ?? '')
      response.end()
    }),
    0,
  )
  stop = [receiver.close]
  const issuers = await startIssuers()
  stop.unshift(issuers.stop)
  partner = await createRealm(issuers.keycloak, 'partner')
  agents = await createRealm(issuers.keycloak, 'agents', {
    logoutUrl: `http://127.0.0.1:${receiver.port}`,
    partner,
  })
  robots = await createRealm(issuers.keycloak, 'robots')
  stack = await protectBy(issuers.folder, [
    { realm: agents },
    { realm: robots, settings: { require_delegator: false } },
  ])
  stop.unshift(stack.stop)
})
afterAll(async () => {
  for (const end of stop) await end()
})

const exchanged = async (realm: Realm, client: 'gateway' | 'strict', scope: string) =>
  (await realm.exchange(client, (await realm.login('console')).access_token, { scope })).access_token

/** What a client got for itself, exchanged by the gateway. */
const exchangedOwn = async (realm: Realm, client: 'gateway' | 'console' | 'Resident') =>
  (await realm.exchange('gateway', (await realm.own(client)).access_token, { scope: 'tools.read' }))
    .access_token

describe('a token of a person', () => {
  const accepted: [
    what: string,
    token: Token,
    expected: { agent: string; source: string; prior?: string[] },
  ][] = [
    [
      'exchanged: the client that did it is the agent',
      () => exchanged(agents, 'gateway', 'tools.read'),
      { agent: 'gateway', source: 'client' },
    ],
    [
      'exchanged, its header at+jwt',
      () => exchanged(agents, 'strict', 'tools.read'),
      { agent: 'strict', source: 'client' },
    ],
    [
      'exchanged, with an act',
      () => exchanged(agents, 'gateway', 'tools.read actor'),
      { agent: 'mail-summary', source: 'act' },
    ],
    [
      'exchanged, with an act inside an act',
      () => exchanged(agents, 'gateway', 'tools.read actor-chain'),
      { agent: 'mail-summary', source: 'act', prior: ['planner'] },
    ],
    [
      'from her sign-in',
      async () => (await agents.login('console')).access_token,
      { agent: 'console', source: 'client' },
    ],
    [
      'from her sign-in at a client that has sessions of its own',
      async () => (await agents.login('Resident')).access_token,
      { agent: 'Resident', source: 'client' },
    ],
    [
      'without a session, for what another realm wrote of her',
      async () => {
        const { access_token: assertion } = await partner.login('console', 'openid to-agents')
        return (await agents.assert('gateway', assertion, 'tools.read')).access_token
      },
      { agent: 'gateway', source: 'client' },
    ],
  ]

  it.each(accepted)('%s', async (_, mint, { agent, source, prior = [] }) => {
    const token = await mint()
    const { sub, azp, jti, scope } = claims(token)
    const { sub: alice } = claims((await agents.login('console')).access_token)
    expect(sub).toBe(alice)

    const { record, ...outcome } = await stack.ask(token)
    expect(outcome).toEqual({
      status: 200,
      reached: 1,
      trusted: {
        'x-delegator-id': alice,
        'x-delegator-issuer': 'agents',
        'x-agent-id': agent,
        'x-agent-issuer': 'agents',
        ...(prior.length > 0 && { 'x-agent-chain': prior.join(',') }),
      },
      seen: {
        issuer: 'agents',
        iss: agents.issuer,
        delegator: alice,
        agent,
        agent_iss: agents.issuer,
        actor_source: source,
        scopes: (scope as string).split(' '),
        client_id: azp,
        depth: 1 + prior.length,
      },
    })
    expect(record).toMatchObject({
      outcome: 'allow',
      reason: 'policy_allowed',
      issuer: 'agents',
      delegator: alice,
      agent,
      agent_iss: agents.issuer,
      actor_source: source,
      prior_actors: prior.map(sub => ({ sub, iss: agents.issuer })),
      client_id: azp,
      token_id: jti,
    })
  })

  it('has the type in its header that the client is set to', async () => {
    expect(header(await exchanged(agents, 'gateway', 'tools.read')).typ).toBe('JWT')
    expect(header(await exchanged(agents, 'strict', 'tools.read')).typ).toBe('at+jwt')
  })
})

describe('a token that a client got for itself', () => {
  it.each<[what: string, token: Token]>([
    ['by its credentials', async () => (await robots.own('gateway')).access_token],
    ['by its credentials, its header at+jwt', async () => (await robots.own('strict')).access_token],
    ['with a session', async () => (await robots.own('Resident')).access_token],
    ['with as few claims as there can be', async () => (await robots.own('light')).access_token],
    ['and exchanged', () => exchangedOwn(robots, 'gateway')],
  ])('%s has an agent and no delegator, where that is allowed', async (_, mint) => {
    const token = await mint()
    const { azp: agent } = claims(token)
    const { record, ...outcome } = await stack.ask(token)
    expect(outcome).toMatchObject({ status: 200, reached: 1 })
    expect(outcome.trusted).toEqual({ 'x-agent-id': agent, 'x-agent-issuer': 'robots' })
    expect(outcome.seen).toMatchObject({ agent, actor_source: 'client', client_id: agent })
    expect(outcome.seen).not.toHaveProperty('delegator')
    expect(record).toMatchObject({ outcome: 'allow', agent, actor_source: 'client' })
    expect(record).not.toHaveProperty('delegator')
  })

  it('takes nothing from a person of that realm', async () => {
    const token = await exchanged(robots, 'gateway', 'tools.read')
    const { trusted } = await stack.ask(token)
    expect(trusted).toMatchObject({ 'x-delegator-id': claims(token).sub, 'x-agent-id': 'gateway' })
  })
})

describe('refused is', () => {
  it.each<[what: string, token: Token, reason: string]>([
    ['an ID token', async () => (await agents.login('console')).id_token, 'token_type'],
    ['an ID token of an exchange, which has no mark but its type', exchangedForIdToken, 'token_type'],
    ['a refresh token', async () => (await agents.login('console')).refresh_token, 'token_algorithm'],
    ['a logout token', logoutToken, 'token_type'],
    ['a token bound to a key', boundToken, 'sender_constrained'],
    [
      'a token for nobody in particular',
      async () => (await agents.login('console', 'openid')).access_token,
      'audience_mismatch',
    ],
    ['a token of another realm', () => exchanged(partner, 'gateway', 'tools.read'), 'issuer_unknown'],
  ])('%s', async (_, mint, reason) => {
    const token = await mint()
    expect(claims(token)).toHaveProperty('iss')
    const { record, ...outcome } = await stack.ask(token)
    expect(outcome).toEqual({ status: 401, error: reason, reached: 0, trusted: {} })
    expect(record).toMatchObject({ outcome: 'deny', enforced: true, reason, status: 401 })
  })

  it.each<[what: string, realm: () => Realm, token: (realm: Realm) => ReturnType<Token>, agent: string]>([
    [
      'what a client got for itself',
      () => agents,
      async realm => (await realm.own('gateway')).access_token,
      'gateway',
    ],
    [
      'what a client got for itself, with a session',
      () => agents,
      async realm => (await realm.own('Resident')).access_token,
      'Resident',
    ],
    [
      'what a client got for itself, exchanged',
      () => agents,
      realm => exchangedOwn(realm, 'gateway'),
      'gateway',
    ],
    // Where no delegator is needed, too: neither is the client's own.
    [
      'what another client got for itself, exchanged',
      () => robots,
      realm => exchangedOwn(realm, 'console'),
      'gateway',
    ],
    [
      'what another client got for itself, with a session, exchanged',
      () => robots,
      realm => exchangedOwn(realm, 'Resident'),
      'gateway',
    ],
    [
      'a token of a person that does not name the person',
      () => robots,
      async realm => (await realm.login('light')).access_token,
      'light',
    ],
  ])('for want of a delegator %s', async (_, realm, mint, client) => {
    const token = await mint(realm())
    expect(claims(token)).toMatchObject({ iss: realm().issuer, azp: client })
    const { record, ...outcome } = await stack.ask(token)
    expect(outcome).toEqual({ status: 401, error: 'delegator_missing', reached: 0, trusted: {} })
    expect(record).toMatchObject({ outcome: 'deny', issuer: realm().name, client_id: client })
    expect(record).not.toHaveProperty('delegator')
  })
})

async function exchangedForIdToken() {
  const { access_token: token } = await agents.login('console')
  const requested_token_type = 'urn:ietf:params:oauth:token-type:id_token'
  const { access_token: given } = await agents.exchange('gateway', token, {
    scope: 'openid',
    requested_token_type,
  })
  expect(claims(given)).toMatchObject({ typ: 'ID', aud: 'gateway' })
  for (const mark of ['nonce', 'at_hash']) expect(claims(given)).not.toHaveProperty(mark)
  return given
}

async function logoutToken() {
  await agents.logout('console', (await agents.login('console')).refresh_token)
  return until('the logout token', () => logoutTokens.at(-1))
}

/** Her sign-in with a proof of a key (RFC 9449). */
async function boundToken() {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const proof = await new SignJWT({ htm: 'POST', htu: agents.tokenUrl, jti: randomUUID() })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: await exportJWK(publicKey) })
    .setIssuedAt()
    .sign(privateKey)
  const { access_token: token } = await agents.login('console', 'openid tools.read', proof)
  expect(claims(token)).toHaveProperty('cnf.jkt')
  return token
}
