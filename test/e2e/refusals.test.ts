import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Answer } from '../../deploy/demo/client.ts'
import type { Wanted } from '../../deploy/demo/issuer.ts'
import { ALICE, type Call, JSON_TYPE, type Stack, startStack } from './stack.ts'

const MISSPELT = 'agent_authz_mode: observe'

describe('a refused request', () => {
  let stack: Stack
  beforeAll(async () => {
    // One route has a setting that does not exist.
    stack = await startStack({ envoy: config => config.replace(MISSPELT, 'agent_authz_moed: observe') })
  }, 60_000)
  afterAll(() => stack?.stop())

  const INVALID = 'Bearer error="invalid_token"'

  const tokens: [what: string, wanted: Partial<Wanted>, reason: string][] = [
    ['expired', { ttl: -120 }, 'token_expired'],
    ['for another audience', { aud: 'https://elsewhere.example.com' }, 'audience_mismatch'],
    ['of an unknown issuer', { iss: 'https://nobody.example.com' }, 'issuer_unknown'],
    ['signed with another key', { signedBy: 'stranger' }, 'signature_invalid'],
    ['of another type', { typ: 'JWT' }, 'token_type'],
    ['in which nobody acts', { act: [] }, 'agent_missing'],
    ['of an agent that acts for itself', { act: ['alice@example.com'] }, 'actor_is_delegator'],
    ['with too many actors', { act: ['a', 'b', 'c', 'd', 'e'] }, 'actor_chain_too_deep'],
    ['bound to a key', { claims: { cnf: { jkt: 'x' } } }, 'sender_constrained'],
    ['with a subject too long for a header', { sub: 'é'.repeat(100) }, 'header_too_large'],
  ]

  it.each(tokens)('is 401 with a token %s', async (_, wanted, reason) => {
    const token = await stack.issuer.mint({ ...ALICE, ...wanted })
    expectRefusal(await stack.call('/allowed', { token }), 401, reason, INVALID)
  })

  const requests: [
    what: string,
    path: string,
    call: Call,
    status: number,
    reason: string,
    challenge?: string,
  ][] = [
    ['without a token', '/allowed', {}, 401, 'token_missing', 'Bearer'],
    [
      'with another scheme',
      '/allowed',
      { headers: [['authorization', 'Basic YTpi']] },
      401,
      'token_missing',
      'Bearer',
    ],
    ['with a token that is none', '/allowed', { token: 'garbage' }, 401, 'token_malformed', INVALID],
  ]

  it.each(requests)('is answered %s', async (_, path, call, status, reason, challenge) => {
    expectRefusal(await stack.call(path, call), status, reason, challenge)
  })

  const policies: [what: string, path: string, status: number, reason: string, challenge?: string][] = [
    ['policy says no', '/no', 403, 'policy_denied'],
    ['policy has no answer', '/elsewhere', 403, 'policy_undefined'],
    ['policy says why', '/not-today', 403, 'not_today'],
    [
      'policy names the scope that would help',
      '/scope',
      403,
      'insufficient_scope',
      'Bearer error="insufficient_scope", scope="read:mail:inbox"',
    ],
    ['policy answers what is no answer', '/malformed', 500, 'policy_error'],
    ['policy sets a trusted header', '/trusted', 500, 'policy_error'],
    ['the route has an unknown setting', '/observe', 500, 'route_invalid'],
  ]

  it.each(policies)('is answered when %s', async (_, path, status, reason, challenge) => {
    expectRefusal(await stack.asAlice(path), status, reason, challenge)
  })

  it('is 400 with two Authorization headers, whatever they hold', async () => {
    const good = `Bearer ${await stack.issuer.mint(ALICE)}`
    for (const other of [good, 'Bearer x', 'Basic YTpi']) {
      const headers: [string, string][] = [
        ['Authorization', good],
        ['authorization', other],
      ]
      expectRefusal(await stack.call('/allowed', { headers }), 400, 'authorization_repeated')
    }
  })

  it('is 400 with a body that is not what it says', async () => {
    const answer = await stack.asAlice('/body', {
      method: 'POST',
      body: '{"folder": ',
      headers: [JSON_TYPE],
    })
    expectRefusal(answer, 400, 'body_invalid')
  })

  it('has the status and body that policy asks for', async () => {
    const answer = await stack.asAlice('/teapot')
    expect(answer).toMatchObject({ status: 418, body: 'short and stout' })
    expect(answer.headers['x-authz-decision-id']).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('has no body when HEAD was asked, and the same headers', async () => {
    const answer = await stack.call('/allowed', { method: 'HEAD' })
    expect(answer).toMatchObject({ status: 401, body: '' })
    expect(answer.headers['www-authenticate']).toBe('Bearer')
    expect(answer.headers['x-authz-decision-id']).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('leaves paths that have two readings to Envoy, which refuses them', async () => {
    const climbing = ['/public/%2e%2e;/allowed', '/observe/.%2e;a=b/allowed', '/allowed/%2e;/x']
    for (const path of ['/allowed%2f..%2fnot-today', '/allowed%5Cx', ...climbing])
      expect((await stack.asAlice(path)).status).toBe(400)
  })

  it('is decided by the path that the upstream gets', async () => {
    expectRefusal(await stack.asAlice('/allowed/../not-today'), 403, 'not_today')
    expectRefusal(await stack.asAlice('//not-today'), 403, 'not_today')
  })
})

function expectRefusal(answer: Answer, status: number, reason: string, wwwAuthenticate?: string): void {
  const id = answer.headers['x-authz-decision-id']
  expect({
    status: answer.status,
    body: answer.body,
    type: answer.headers['content-type'],
    challenge: answer.headers['www-authenticate'],
  }).toEqual({
    status,
    body: JSON.stringify({ error: reason, decision_id: id }),
    type: 'application/json',
    challenge: wwwAuthenticate,
  })
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
}
