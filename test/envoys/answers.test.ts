import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { REASONS, type Reason } from '../../src/denied.ts'
import { ALICE } from '../e2e/stack.ts'
import { AS_ALICE, expectAllowed, expectRefusal, ID, INVALID_TOKEN, seenByPolicy } from './expectations.ts'
import { bearer, type Field, JSON_TYPE } from './http1.ts'
import { type Changes, GONE, type Issuers, SEVERAL, startIssuers } from './issuers.ts'
import { ENCODINGS, inEachEncoding } from './listeners.ts'
import { type Matrix, startMatrix } from './matrix.ts'
import { type Sent, send } from './raw-client.ts'

const now = () => Math.floor(Date.now() / 1000)

let matrix: Matrix
let issuers: Issuers
let alice: Field
beforeAll(async () => {
  issuers = await startIssuers()
  matrix = await startMatrix(
    inEachEncoding(({ hcm, route }) => {
      Object.assign(hcm.common_http_protocol_options as object, { max_headers_count: 2000 })
      Object.assign(hcm, { upgrade_configs: [{ upgrade_type: 'CONNECT' }] })
      // Otherwise Envoy waits for the end of what has no end.
      route({ connect_matcher: {} }, { disable_request_body_buffering: true })
      route(
        { path_separated_prefix: '/by-envoy' },
        { context_extensions: { agent_authz_source: 'jwt_authn' } },
      )
      route({ path_separated_prefix: '/misspelt' }, { context_extensions: { agent_authz_moed: 'observe' } })
      route({ path_separated_prefix: '/keep' }, { context_extensions: { agent_authz_authorization: 'keep' } })
    }),
    issuers.configure,
  )
  alice = bearer(await matrix.issuer.mint(ALICE))
}, 60_000)
afterAll(async () => {
  await matrix?.stop()
  await issuers?.close()
})

/** The token that is refused for this reason. */
const TOKENS: { readonly [reason in Reason]?: Changes | (() => Promise<string> | string) } = {
  token_malformed: () => 'garbage',
  token_too_large: { claims: { note: 'a'.repeat(17_000) } },
  token_algorithm: { by: 'other_algorithm' },
  token_type: { header: { typ: 'JWT' } },
  token_critical_header: () =>
    issuers.relabelled({ alg: 'ES256', typ: 'at+jwt', kid: 'k1', crit: ['x'], x: 1 }),
  issuer_unknown: { claims: { iss: 'https://nobody.example.com' } },
  key_unknown: { header: { kid: 'k2' } },
  key_ambiguous: { claims: { iss: SEVERAL }, by: 'nameless' },
  signature_invalid: { by: 'stranger' },
  token_expired: { claims: { iat: now() - 200, exp: now() - 100 } },
  token_not_yet_valid: () => issuers.token({ claims: { nbf: now() + 200 } }),
  token_lifetime: { claims: { exp: now() + 100_000 } },
  audience_mismatch: { claims: { aud: 'https://elsewhere.example.com' } },
  claim_invalid: { claims: { sub: 5 } },
  claim_missing: { claims: { scope: undefined } },
  client_not_allowed: { claims: { client_id: 'another' } },
  sender_constrained: { claims: { cnf: { jkt: 'x' } } },
  actor_invalid: { claims: { act: 'mail-summary' } },
  actor_is_delegator: { claims: { act: { sub: 'alice@example.com' } } },
  actor_chain_too_deep: {
    claims: { act: { sub: 'a', act: { sub: 'b', act: { sub: 'c', act: { sub: 'd', act: { sub: 'e' } } } } } },
  },
  agent_missing: { claims: { act: undefined } },
  delegator_missing: { claims: { sub: 'console' } },
  header_too_large: { claims: { sub: 'é'.repeat(100) } },
  keys_unavailable: { claims: { iss: GONE } },
}

/** The request that is refused for this reason, with alice's token unless it says otherwise. */
const REQUESTS: { readonly [reason in Reason]?: (() => Sent) | Sent } = {
  request_malformed: { method: 'CONNECT', target: 'mail.example.com:443' },
  request_too_large: () => ({
    target: '/see',
    headers: [alice, ...Array.from({ length: 1001 }, (_, i): Field => [`x-${i}`, ''])],
  }),
  authorization_repeated: () => ({ target: '/see', headers: [alice, alice] }),
  path_invalid: { target: '/see/%FF' },
  body_invalid: () => ({ method: 'POST', target: '/see', headers: [alice, JSON_TYPE], body: '{"a":' }),
  token_missing: { target: '/see', headers: [] },
  token_unverified: { target: '/by-envoy' },
  policy_denied: { target: '/no' },
  policy_undefined: { target: '/elsewhere' },
  insufficient_scope: { target: '/scope' },
  policy_error: { target: '/malformed' },
  route_invalid: { target: '/misspelt' },
}

/** Why a reason is not among these. */
const NOT_HERE: { readonly [reason in Reason]?: string } = {
  internal_error: 'a fault of ours, which nothing from outside causes',
  cancelled: 'whom it would be told has gone: outages.test.ts',
  overloaded: 'needs a flood: floods.test.ts',
  deadline: 'needs time: failures.test.ts',
  log_full: 'needs a full log: failures.test.ts',
}

const CHALLENGES: { readonly [reason in Reason]?: string } = {
  token_missing: 'Bearer',
  insufficient_scope: 'Bearer error="insufficient_scope", scope="read:mail:inbox"',
}

/** The headers that come with a reason, by its status. */
function headersOf(reason: Reason): { [name: string]: string } {
  const challenge = CHALLENGES[reason] ?? (REASONS[reason] === 401 ? INVALID_TOKEN : undefined)
  return {
    ...(challenge !== undefined && { 'www-authenticate': challenge }),
    ...(REASONS[reason] === 503 && { 'retry-after': '1' }),
  }
}

it(`the Envoy that runs is ${process.env.ENVOY_VERSION}`, () => {
  expect(matrix.version).toBe(process.env.ENVOY_VERSION)
})

it('every reason is here, or it is said why not', () => {
  const told = [TOKENS, REQUESTS, NOT_HERE].flatMap(table => Object.keys(table))
  expect(told.toSorted()).toEqual(Object.keys(REASONS).toSorted())
})

describe.each(Object.keys(ENCODINGS))('%s', encoding => {
  const ask = (sent: Sent) =>
    matrix.ask(encoding, port => send(port, { ...sent, headers: sent.headers ?? [alice] }))

  it.each(Object.entries(TOKENS))('refuses a token: %s', async (reason, wanted) => {
    const token = typeof wanted === 'function' ? await wanted() : await issuers.token(wanted)
    for (const method of ['GET', 'POST']) {
      const asked = await ask({ method, target: '/see', headers: [bearer(token)] })
      expectRefusal(asked, REASONS[reason as Reason], reason, headersOf(reason as Reason))
    }
  })

  it.each(Object.entries(REQUESTS))('refuses a request: %s', async (reason, wanted) => {
    const asked = await ask(typeof wanted === 'function' ? wanted() : wanted)
    expectRefusal(asked, REASONS[reason as Reason], reason, headersOf(reason as Reason))
  })

  it.each<[what: string, target: string, reason: string]>([
    ['sets a trusted header', '/trusted', 'policy_error'],
    ['answers deeper than Envoy reads', '/deep', 'policy_error'],
  ])('refuses where policy %s', async (_, target, reason) => {
    expectRefusal(await ask({ target }), 500, reason)
  })

  it('refuses with a reason of policy', async () => {
    expectRefusal(await ask({ target: '/not-today' }), 403, 'not_today')
  })

  it.each<[target: string, status: number, body: string | undefined, headers: Record<string, string[]>]>([
    ['/teapot', 418, 'short and stout', {}],
    ['/login', 302, '', { location: ['https://login.example.com/'], 'set-cookie': ['a=1', 'b=2'] }],
    ['/quota', 429, undefined, { 'retry-after': ['7'], 'content-type': ['application/json'] }],
    // A success that policy made up: the upstream is not asked all the same.
    ['/mock', 200, 'answered by policy', {}],
  ])('refuses as policy says: %s', async (target, status, body, headers) => {
    const { client, upstream, counted } = await ask({ target })
    const id = client.headers['x-authz-decision-id']?.[0]
    expect(id).toMatch(ID)
    expect(client).toMatchObject({
      status,
      body: body ?? JSON.stringify({ error: 'policy_denied', decision_id: id }),
      headers,
    })
    expect(upstream).toEqual([])
    expect(counted).toEqual({ denied: 1 })
  })

  it('is 500 by Envoy where policy changes a header that is Envoy’s', async () => {
    const { client, upstream, counted } = await ask({ target: '/envoys-own' })
    expect({ status: client.status, upstream, counted }).toEqual({
      status: 500,
      upstream: [],
      counted: { invalid: 1 },
    })
  })

  it('allows with who acts for whom, and without the token', async () => {
    const seen = expectAllowed(await ask({ target: '/see/this' }), AS_ALICE)
    expect(seen).toMatchObject({ method: 'GET', target: '/see/this', body: '' })
    expect(seen.headers).not.toHaveProperty('authorization')
    expect(seenByPolicy(seen)).toMatchObject({ path: ['see', 'this'], query: {}, body: null })
  })

  it('allows with the token where the route keeps it', async () => {
    const seen = expectAllowed(await ask({ target: '/keep' }), AS_ALICE)
    expect(seen.headers.authorization).toEqual([alice[1]])
  })

  it('allows with prior actors, every name spelt in ASCII', async () => {
    const token = await matrix.issuer.mint({
      ...ALICE,
      sub: 'zoë, or 100%',
      act: ['mail summary', 'pl,an', 'x'],
    })
    expectAllowed(await ask({ target: '/see', headers: [bearer(token)] }), {
      ...AS_ALICE,
      'x-delegator-id': 'zo%C3%AB%2C%20or%20100%25',
      'x-agent-id': 'mail%20summary',
      'x-agent-chain': 'pl%2Can,x',
    })
  })

  it('allows without a token where identity is optional', async () => {
    expectAllowed(await ask({ target: '/public', headers: [] }))
    const seen = expectAllowed(await ask({ target: '/public', headers: [['authorization', 'Basic YTpi']] }))
    expect(seen.headers.authorization).toEqual(['Basic YTpi'])
  })

  it('lets a refusal pass where it is only observed, with nothing from policy', async () => {
    const seen = expectAllowed(await ask({ target: '/observe' }), AS_ALICE)
    expect(seen.headers).not.toHaveProperty('x-from-policy')
    for (const headers of [[], [bearer('garbage')], [alice, alice]])
      expectAllowed(await ask({ target: '/observe', headers }))
  })

  it('changes a request as policy says', async () => {
    const sent: Field[] = [
      ['x-changed', 'by the client'],
      ['X-Changed', 'again'],
      ['x-several', '3'],
      ['x-removed', '1'],
      ['x-other', '1'],
    ]
    const target = '/changes?changed=1&removed=1&kept=1'
    const asked = await ask({ target, headers: [alice, ...sent] })
    const seen = expectAllowed(asked, AS_ALICE)
    expect(seen.target).toBe('/changes?changed=2&kept=1&new=3')
    expect(seen.headers).toMatchObject({
      'x-new': ['1'],
      'x-changed': ['by policy'],
      'x-several': ['1,2'],
      'x-other': ['1'],
    })
    expect(seen.headers).not.toHaveProperty('x-removed')
    expect(asked.client.headers['x-to-client']).toEqual(['from policy'])
  })

  it('never asks about a route that is not checked', async () => {
    const { client, upstream, counted } = await ask({ target: '/healthz', headers: [] })
    expect({ status: client.status, upstream: upstream.length, counted }).toEqual({
      status: 200,
      upstream: 1,
      counted: {},
    })
  })
})

it('every answer left one record', async () => {
  const counted = await Promise.all(Object.keys(ENCODINGS).map(matrix.counters))
  const answers = counted.reduce((sum, { ok = 0, denied = 0, invalid = 0 }) => sum + ok + denied + invalid, 0)
  const ids = await until('the decision log', () => {
    const lines = matrix.decisions()
    return lines.length >= answers ? lines.map(line => line.decision_id) : undefined
  })
  expect(ids).toHaveLength(answers)
  expect(new Set(ids).size).toBe(answers)
})
