import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { replaceFile } from '../unit/replace-file.ts'
import { metric } from './metrics.ts'
import { buildBundle, type Stack, startStack } from './stack.ts'

const ALLOW_ALL = 'package envoy.authz\n\nresult := {"allowed": true}\n'

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
}, 60_000)
afterAll(() => stack?.stop())

const count = (name: string) => metric(stack.service.adminUrl, name)
const failed = () => count('agent_authz_policy_loads_total{outcome="error"}')

describe('a policy bundle that is replaced while running', () => {
  it('is taken when it is good', async () => {
    expect((await stack.asAlice('/not-today')).status).toBe(403)
    buildBundle(ALLOW_ALL, stack.bundle)
    await until('the new policy', async () => (await stack.asAlice('/not-today')).status === 200)
  })

  it.each([
    ['no bundle', (file: string) => writeFileSync(file, 'no bundle at all')],
    [
      'a bundle without the entry point',
      (file: string) => buildBundle(ALLOW_ALL.replace('authz', 'other'), file, 'envoy/other/result'),
    ],
    ['empty', (file: string) => writeFileSync(file, '')],
  ])('leaves the one before in force when it is %s', async (_, replace) => {
    const before = await failed()
    replace(stack.bundle)
    await until('the bundle to be refused', async () => (await failed()) > before)
    expect((await stack.asAlice('/not-today')).status).toBe(200)
    expect((await fetch(`${stack.service.adminUrl}/readyz`)).status).toBe(200)
  })
})

describe('a configuration that is replaced while running', () => {
  const replace = (edit: (text: string) => string) =>
    replaceFile(stack.config, edit(readFileSync(stack.config, 'utf8')))

  it('leaves the one before in force when it is wrong', async () => {
    replace(text => `${text}polcy: {}\n`)
    const name = 'agent_authz_configuration_loads_total{outcome="error"}'
    await until('the configuration to be refused', async () => (await count(name)) > 0)
    expect((await stack.asAlice('/allowed')).status).toBe(200)
    expect(stack.service.process.output()).toContain('polcy: unknown key; did you mean policy?')
  })

  it('is taken whole when it is good', async () => {
    buildBundle(ALLOW_ALL, stack.bundle)
    replace(text => `${text.replace('polcy: {}\n', '')}identity: optional\n`)
    const open = async () => (await stack.call('/allowed')).status === 200
    await until('a request without a token to be allowed', open)
  })
})
