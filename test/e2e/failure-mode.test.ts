import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { type Call, JSON_TYPE, type Stack, startStack } from './stack.ts'

const LARGE = 'a'.repeat(5 * 1024 * 1024)

const relaxed = (config: string) =>
  config
    .replace('failure_mode_allow: false', 'failure_mode_allow: true')
    .replace('max_request_bytes: 65536', 'max_request_bytes: 8388608')
    .replace('agent_authz_mode: observe', 'agent_authz_mode: enforce')

describe('where Envoy lets a request through when the check fails', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({ envoy: relaxed })
  }, 60_000)
  afterAll(() => stack?.stop())

  it.each<[string, string, Call, number]>([
    ['policy that makes no sense', '/malformed', {}, 500],
    ['policy with an answer too deep for Envoy', '/deep', {}, 500],
    ['policy with no answer', '/elsewhere', {}, 403],
    ['a body over our limit', '/allowed', { method: 'POST', body: LARGE }, 400],
    ['a body that is none', '/body', { method: 'POST', body: '{', headers: [JSON_TYPE] }, 400],
    [
      'a body nested without end',
      '/body',
      { method: 'POST', body: '['.repeat(60_000), headers: [JSON_TYPE] },
      400,
    ],
  ])('%s is a refusal of ours all the same', async (_, path, call, status) => {
    const answer = await stack.asAlice(path, call)
    expect(answer.status).toBe(status)
    expect(answer.headers).toHaveProperty('x-authz-decision-id')
    expect(await stack.envoy.stat('http.agents.ext_authz.failure_mode_allowed')).toBe(0)
  })
})

describe('a route that enforces where the service observes', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({
      envoy: relaxed,
      service(config) {
        config.mode = 'observe'
      },
    })
  }, 60_000)
  afterAll(() => stack?.stop())

  it('refuses, whatever is wrong with a request', async () => {
    expect((await stack.call('/allowed')).status).toBe(200)
    expect((await stack.call('/observe')).status).toBe(401)
    expect((await stack.call('/observe', { method: 'POST', body: LARGE })).status).toBe(400)
    const line = await until('its record', () => stack.decisions()[2])
    expect(line).toMatchObject({
      mode: 'enforce',
      outcome: 'deny',
      enforced: true,
      reason: 'request_too_large',
      method: 'POST',
      path: '/observe',
    })
  })
})
