import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Issuer, startIssuer } from '../../deploy/demo/issuer.ts'
import { until } from '../../deploy/demo/processes.ts'
import { startService } from '../../deploy/demo/service.ts'
import { ALICE, type Stack, startStack } from './stack.ts'

describe('when agent-authz is gone', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack()
  }, 60_000)
  afterAll(() => stack?.stop())

  it('Envoy refuses and counts it, and allows again when it is back', async () => {
    expect((await stack.asAlice('/allowed')).status).toBe(200)

    stack.service.process.signal('SIGKILL')
    await until('the service to be gone', () => !stack.service.process.running())
    const refused = await stack.asAlice('/allowed')
    expect(refused).toMatchObject({ status: 503, body: '' })
    expect(refused.headers).not.toHaveProperty('x-authz-decision-id')
    expect(await stack.envoy.stat('http.agents.ext_authz.error')).toBe(1)
    expect(await stack.envoy.stat('http.agents.ext_authz.failure_mode_allowed')).toBe(0)

    // At the place that Envoy knows.
    const config = readFileSync(stack.config, 'utf8').replace(
      'grpc: 127.0.0.1:0',
      `grpc: ${stack.service.grpc}`,
    )
    writeFileSync(stack.config, config)
    await startService(stack.processes, stack.config)
    const answer = await until('Envoy to allow again', async () => {
      const { status } = await stack.asAlice('/allowed')
      return status === 503 ? undefined : status
    })
    expect(answer).toBe(200)
  }, 60_000)
})

describe('when an issuer cannot be reached at the start', () => {
  let stack: Stack
  let late: Issuer
  beforeAll(async () => {
    late = await startIssuer(0)
    await late.close()
    stack = await startStack({
      service(config) {
        config.issuers.push({ ...config.issuers[0], name: 'late', issuer: late.url })
      },
    })
  }, 60_000)
  afterAll(async () => {
    await stack?.stop()
    await late?.close()
  })

  it('its tokens are 503, those of others are served, and it works once it is there', async () => {
    const refused = await stack.call('/allowed', { token: await late.mint(ALICE) })
    expect(refused.status).toBe(503)
    expect(JSON.parse(refused.body)).toHaveProperty('error', 'keys_unavailable')
    expect(refused.headers['retry-after']).toMatch(/^\d+$/)
    expect((await stack.asAlice('/allowed')).status).toBe(200)

    late = await startIssuer(late.port)
    const token = await late.mint(ALICE)
    const answer = await until(
      'the late issuer to be known',
      async () => {
        const { status } = await stack.call('/allowed', { token })
        return status === 503 ? undefined : status
      },
      40_000,
    )
    expect(answer).toBe(200)
  }, 60_000)
})
