import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { ALICE, echo, type Stack, startStack } from './stack.ts'

let stack: Stack
beforeAll(async () => {
  stack = await startStack({
    service(config) {
      for (const issuer of config.issuers) issuer.require_agent = false
    },
  })
}, 60_000)
afterAll(() => stack?.stop())

describe('a route that observes', () => {
  it('lets what policy refuses pass, with who was verified and nothing from policy', async () => {
    const { headers } = echo(await stack.asAlice('/observe'))
    expect(headers).toMatchObject({ 'x-delegator-id': 'alice@example.com', 'x-agent-id': 'mail-summary' })
    expect(headers).not.toHaveProperty('x-from-policy')
    expect(headers.authorization).toMatch(/^Bearer /)
  })

  it('lets a bad token pass, with nobody verified', async () => {
    const token = await stack.issuer.mint({ ...ALICE, signedBy: 'stranger' })
    const { headers } = echo(await stack.call('/observe', { token }))
    expect(TRUSTED_HEADERS.filter(name => name in headers)).toEqual(['x-authz-decision-id'])
  })
})

describe('a route where identity is optional', () => {
  it('is decided by policy alone without a token', async () => {
    const { headers } = echo(await stack.call('/public'))
    expect(TRUSTED_HEADERS.filter(name => name in headers)).toEqual(['x-authz-decision-id'])
  })

  it('leaves another scheme as it is', async () => {
    const { headers } = echo(await stack.call('/public', { headers: [['authorization', 'Basic YTpi']] }))
    expect(headers.authorization).toBe('Basic YTpi')
  })

  it('refuses a bad token all the same', async () => {
    expect((await stack.call('/public', { token: 'garbage' })).status).toBe(401)
  })
})

describe('a route that insists on an agent', () => {
  it('refuses a person alone, whom other routes let in', async () => {
    const token = await stack.issuer.mint({ ...ALICE, act: [] })
    const { headers } = echo(await stack.call('/allowed', { token }))
    expect(headers).toHaveProperty('x-delegator-id', 'alice@example.com')
    expect(headers).not.toHaveProperty('x-agent-id')

    const refused = await stack.call('/agents', { token })
    expect(refused.status).toBe(401)
    expect(JSON.parse(refused.body)).toHaveProperty('error', 'agent_missing')
  })

  it('lets an agent in', async () => {
    expect((await stack.asAlice('/agents')).status).toBe(200)
  })
})
