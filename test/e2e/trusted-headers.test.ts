import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { echo, type Stack, startStack } from './stack.ts'

type Headers = [name: string, value: string][]

const upper = (name: string) => name.toUpperCase()
const title = (name: string) => name.replace(/(^|-)[a-z]/g, letter => letter.toUpperCase())

/** Every trusted header, once and twice, in every spelling that HTTP takes for the same name. */
const FORGED: [what: string, headers: Headers][] = [
  ['lower case', TRUSTED_HEADERS.map(name => [name, 'forged'])],
  ['upper case', TRUSTED_HEADERS.map(name => [upper(name), 'forged'])],
  ['title case', TRUSTED_HEADERS.map(name => [title(name), 'forged'])],
  [
    'two of each',
    TRUSTED_HEADERS.flatMap<Headers[number]>(name => [
      [name, 'forged'],
      [title(name), 'forged'],
    ]),
  ],
  ['an empty value', TRUSTED_HEADERS.map(name => [name, ''])],
  [
    'named in Connection',
    [
      ['Connection', TRUSTED_HEADERS.join(', ')],
      ...TRUSTED_HEADERS.map<Headers[number]>(name => [name, 'forged']),
    ],
  ],
]

describe.each([
  ['with the stripping filter of the sample configuration', (config: string) => config],
  [
    'by agent-authz alone',
    (config: string) =>
      config.replace(
        /- name: strip-trusted-headers\n[\s\S]*?(?=- name: envoy\.filters\.http\.ext_authz)/,
        '',
      ),
  ],
])('a forged trusted header %s', (_, envoy) => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({ envoy })
  }, 60_000)
  afterAll(() => stack?.stop())

  it.each(FORGED)('does not reach the upstream: %s', async (_, headers) => {
    const seen = echo(await stack.asAlice('/allowed', { headers })).headers
    expect(seen).toMatchObject({ 'x-delegator-id': 'alice@example.com', 'x-agent-id': 'mail-summary' })
    expect(seen).not.toHaveProperty('x-agent-chain')
    expect(JSON.stringify(seen)).not.toContain('forged')
  })

  it.each(FORGED)('does not reach it where nobody has a token: %s', async (_, headers) => {
    const seen = echo(await stack.call('/public', { headers })).headers
    expect(TRUSTED_HEADERS.filter(name => name in seen)).toEqual(['x-authz-decision-id'])
    expect(JSON.stringify(seen)).not.toContain('forged')
  })

  it.each(FORGED)('does not reach it where a refusal is only observed: %s', async (_, headers) => {
    const seen = echo(await stack.call('/observe', { token: 'garbage', headers })).headers
    expect(TRUSTED_HEADERS.filter(name => name in seen)).toEqual(['x-authz-decision-id'])
    expect(JSON.stringify(seen)).not.toContain('forged')
  })

  it('is refused by Envoy when it is spelt with an underscore', async () => {
    for (const name of ['x_agent_id', 'X_Delegator_Id', 'x-agent_id'])
      expect((await stack.asAlice('/allowed', { headers: [[name, 'forged']] })).status).toBe(400)
  })
})

describe('where the sample configuration is relaxed', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({
      envoy: config => config.replace('headers_with_underscores_action: REJECT_REQUEST', ''),
    })
  }, 60_000)
  afterAll(() => stack?.stop())

  it('a name with underscores is removed by agent-authz', async () => {
    const headers: Headers = [
      ['x_agent_id', 'forged'],
      ['X_Delegator-Id', 'forged'],
      ['x_other', 'kept'],
    ]
    const seen = echo(await stack.asAlice('/allowed', { headers })).headers
    expect(JSON.stringify(seen)).not.toContain('forged')
    expect(seen).toHaveProperty('x_other', 'kept')
  })
})

describe('a route that is not checked', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack()
  }, 60_000)
  afterAll(() => stack?.stop())

  it('is clean of trusted headers all the same', async () => {
    for (const [, headers] of FORGED) {
      const seen = echo(await stack.call('/healthz', { headers })).headers
      expect(TRUSTED_HEADERS.filter(name => name in seen)).toEqual([])
    }
  })
})
