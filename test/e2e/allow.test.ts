import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ALICE, echo, JSON_TYPE, type Stack, startStack } from './stack.ts'

describe('an allowed request', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack()
  }, 60_000)
  afterAll(() => stack?.stop())

  it('reaches the upstream with who acts and for whom', async () => {
    const { headers } = echo(await stack.asAlice('/allowed'))
    expect(headers).toMatchObject({
      'x-delegator-id': 'alice@example.com',
      'x-delegator-issuer': 'demo',
      'x-agent-id': 'mail-summary',
      'x-agent-issuer': 'demo',
      'x-authz-decision-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    expect(headers).not.toHaveProperty('x-agent-chain')
  })

  it('names the prior actors, the most recent first', async () => {
    const token = await stack.issuer.mint({ ...ALICE, act: ['mail-summary', 'planner', 'front desk'] })
    const { headers } = echo(await stack.call('/allowed', { token }))
    expect(headers).toMatchObject({ 'x-agent-id': 'mail-summary', 'x-agent-chain': 'planner,front%20desk' })
  })

  it('carries subjects that are no header text percent-encoded', async () => {
    const token = await stack.issuer.mint({ ...ALICE, sub: 'zoë,\r\nx-agent-id: admin' })
    const { headers } = echo(await stack.call('/allowed', { token }))
    expect(headers['x-delegator-id']).toBe('zo%C3%AB%2C%0D%0Ax-agent-id:%20admin')
    expect(headers['x-agent-id']).toBe('mail-summary')
  })

  it('arrives without the token', async () => {
    expect(echo(await stack.asAlice('/allowed')).headers).not.toHaveProperty('authorization')
  })

  it('arrives as it was sent, and policy may add headers', async () => {
    const { method, path, headers } = echo(
      await stack.asAlice('/whoami?q=a%20b', { method: 'POST', body: 'x', headers: [['x-kept', 'yes']] }),
    )
    expect({ method, path }).toEqual({ method: 'POST', path: '/whoami?q=a%20b' })
    expect(headers).toMatchObject({ 'x-kept': 'yes', 'x-seen-by-policy': 'mail-summary' })
  })

  it('may be decided by its body', async () => {
    const post = (folder: string) =>
      stack.asAlice('/body', {
        method: 'POST',
        body: JSON.stringify({ folder }),
        headers: [JSON_TYPE],
      })
    expect((await post('inbox')).status).toBe(200)
    expect((await post('archive')).status).toBe(403)
  })

  it('is not decided by a part of its body', async () => {
    const body = JSON.stringify({ folder: 'inbox', padding: 'x'.repeat(70_000) })
    const answer = await stack.asAlice('/body', {
      method: 'POST',
      body,
      headers: [JSON_TYPE],
    })
    expect(answer.status).toBe(413)
  })

  it('is allowed with a rotated key too', async () => {
    await stack.issuer.rotate()
    expect((await stack.asAlice('/allowed')).status).toBe(200)
  })
})
