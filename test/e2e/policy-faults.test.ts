import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Answer } from '../../deploy/demo/client.ts'
import { until } from '../../deploy/demo/processes.ts'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { caller } from '../unit/listen/callers.ts'
import { encodeHttp } from '../unit/listen/wire/oracle.ts'
import { outcomeOf as heldOutcome, together } from './held.ts'
import { metric } from './metrics.ts'
import { ALICE, buildBundle, echo, JSON_TYPE, patient, type Stack, startStack } from './stack.ts'

const THROWN = 2_000
const AT_ONCE = 16

/** The body of a request to /result is the result. */
const POLICY = `
package envoy.authz

import rego.v1

wanted := input.parsed_path[0]

result := input.parsed_body if wanted == "result"

result := {"allowed": true} if wanted in {"allowed", "two-values"}

result := {"allowed": false} if wanted == "two-values"
`

let stack: Stack
let token: string
beforeAll(async () => {
  stack = await startStack({
    service(config) {
      // What is late here is late because two cores are few.
      config.listen.check_timeout = '20s'
    },
    envoy: config => patient(config, '25s').replace('failure_mode_allow: false', 'failure_mode_allow: true'),
  })
  buildBundle(POLICY, stack.bundle)
  await until('the policy of these tests', async () => (await count('policy_loads_total')) === 2)
  token = await stack.issuer.mint(ALICE)
}, 60_000)
afterAll(() => stack?.stop())

const count = (name: string) => metric(stack.service.adminUrl, `agent_authz_${name}`)

/** What the client got, and under which id it is recorded: `allowed`, or the reason of a refusal with its status. */
function readAnswer(answer: Answer): { outcome: string; id: string } {
  const { status, headers, body } = answer
  if (status === 200) return { outcome: 'allowed', id: String(echo(answer).headers['x-authz-decision-id']) }
  const { error, decision_id: id } = JSON.parse(body)
  expect(headers['x-authz-decision-id']).toBe(id)
  return { outcome: `${status} ${error}`, id }
}

const call = async (path: string) => readAnswer(await stack.call(path, { token }))

/** What becomes of a request where policy gives this result. */
function resulting(result: unknown, path = '/result', more: [string, string][] = []): Promise<Answer> {
  return stack.call(path, {
    method: 'POST',
    token,
    headers: [JSON_TYPE, ...more],
    body: JSON.stringify(result),
  })
}
const outcomeOf = async (result: unknown) => readAnswer(await resulting(result)).outcome

const ERROR = '500 policy_error'

/** Their records, once there are as many. */
function recordsOf(ids: readonly string[]): Promise<Record<string, unknown>[]> {
  const wanted = new Set(ids)
  return until('every record', () => {
    const found = stack.decisions().filter(({ decision_id: id }) => wanted.has(String(id)))
    return found.length >= wanted.size ? found : undefined
  })
}

describe('a policy that throws', () => {
  it('on each of 2,000 requests refuses each with a record, and decides the next', async () => {
    const headers = { authorization: `Bearer ${token}` }
    const message = encodeHttp({ method: 'GET', path: '/two-values', headers })
    const replaced = await count('policy_instances_replaced_total')
    const envoy = caller(stack.service.grpc)
    const thrown = await together(AT_ONCE, Array(THROWN).keys(), async () =>
      heldOutcome(await envoy.check(message)),
    )
    envoy.close()
    expect(new Set(thrown.map(({ reason }) => reason))).toEqual(new Set(['policy_error']))
    expect((await call('/two-values')).outcome).toBe(ERROR)
    expect((await call('/allowed')).outcome).toBe('allowed')
    expect((await count('policy_instances_replaced_total')) - replaced).toBe(THROWN + 1)

    const records = await recordsOf(thrown.map(({ id }) => id))
    expect(records).toHaveLength(THROWN)
    const said = new Set(records.map(({ reason, status, note }) => `${reason} ${status} ${note}`))
    expect(said).toEqual(new Set(['policy_error 500 the policy threw']))
  })
})

describe('a policy without a result', () => {
  it('refuses with a record', async () => {
    const { outcome, id } = await call('/undefined')
    expect(outcome).toBe('403 policy_undefined')
    expect(await recordsOf([id])).toMatchObject([
      { outcome: 'deny', reason: 'policy_undefined', status: 403 },
    ])
  })
})

describe('a result of the wrong type is an error', () => {
  it.each([
    ['in place of the result', (value: unknown) => value],
    ['in allowed', (value: unknown) => ({ allowed: value })],
  ])('%s', async (_, result) => {
    for (const value of [null, 0, 1, 'true', '', [], [true], {}, { allow: true }, [{ allowed: true }]])
      expect([value, await outcomeOf(result(value))]).toEqual([value, ERROR])
  })

  const notFields = [
    null,
    true,
    7,
    'text',
    { x: null },
    { x: true },
    { x: 7 },
    { x: {} },
    { x: [7] },
    { x: [[]] },
  ]
  const notHeaders = [...notFields, [null], [7], ['text'], [[]], [{ x: 7 }]]
  const notTexts = [null, true, 7, 'text', {}, [null], [true], [7], [[]], [{}]]
  const inObjects = (depth: number): object => (depth === 0 ? {} : { a: inObjects(depth - 1) })
  const anything = [null, false, true, 0, 7, '', 'text', [], {}]
  const both = ['allow', 'deny']

  it.each<[key: string, bearsOn: string[], wrong: unknown[]]>([
    ['headers', both, notHeaders],
    ['response_headers_to_add', ['allow'], notHeaders],
    ['request_headers_to_remove', ['allow'], notTexts],
    ['query_parameters_to_set', ['allow'], [...notFields, [], [{ x: 'y' }]]],
    ['query_parameters_to_remove', ['allow'], notTexts],
    ['dynamic_metadata', both, [null, true, 7, 'text', [], [{}], inObjects(40)]],
    ['reason', both, [null, true, 7, [], ['text'], {}]],
    ['body', ['deny'], [null, true, 7, [], ['text'], {}]],
    ['http_status', ['deny'], [null, true, '403', [], [403], {}, -1, 0, 99, 299, 403.5, 600, 1e10]],
    ['challenge', ['deny'], [null, true, 7, 'text', [], {}, { scope: null }, { scope: 7 }, { scope: '' }]],
    ['approval', both, anything],
    ['credential', both, anything],
    ['limits', both, anything],
  ])('in %s, where the outcome needs it', async (key, bearsOn, wrong) => {
    for (const value of wrong) {
      const got = [
        await outcomeOf({ allowed: true, [key]: value }),
        await outcomeOf({ allowed: false, [key]: value }),
      ]
      expect([value, ...got]).toEqual([
        value,
        bearsOn.includes('allow') ? ERROR : 'allowed',
        bearsOn.includes('deny') ? ERROR : '403 policy_denied',
      ])
    }
  })
})

/** Results in which a header is named, wherever one may be. */
const naming = (name: string, value = 'admin') => [
  { allowed: true, headers: { [name]: value } },
  { allowed: true, headers: [{ [name]: ['a', value] }] },
  { allowed: true, response_headers_to_add: { [name]: value } },
  { allowed: false, headers: { [name]: value } },
]

describe('a trusted header that policy names is an error', () => {
  it.each(TRUSTED_HEADERS)('%s, in any spelling', async trusted => {
    for (const name of [
      trusted,
      trusted.toUpperCase(),
      trusted.replaceAll('-', '_'),
      trusted.replaceAll('-', '.'),
    ])
      for (const result of [...naming(name), { allowed: true, request_headers_to_remove: ['x-a', name] }])
        expect([result, await outcomeOf(result)]).toEqual([result, ERROR])
  })

  it.each(['host', 'Host', ':authority', ':path', ':method'])('and so is %s', async name => {
    for (const result of [...naming(name), { allowed: true, request_headers_to_remove: [name] }])
      expect([result, await outcomeOf(result)]).toEqual([result, ERROR])
  })
})

describe('a line break or another control character', () => {
  const BROKEN = [
    '\r',
    '\n',
    'a\r\nx-agent-id: admin',
    'a\nx-agent-id: admin',
    'a\r\n\r\nb',
    '\0',
    'a\u007f',
    '\u001b[2J',
  ]

  it.each(BROKEN)('is an error in a header, query parameter or scope: %j', async text => {
    for (const result of [
      ...naming('x-a', text),
      ...naming(text),
      { allowed: true, request_headers_to_remove: [text] },
      { allowed: true, query_parameters_to_set: { a: text } },
      { allowed: true, query_parameters_to_set: { [text]: 'a' } },
      { allowed: false, challenge: { scope: text } },
    ])
      expect([result, await outcomeOf(result)]).toEqual([result, ERROR])
  })

  it.each(BROKEN)('breaks nothing where any text may stand: %j', async text => {
    const harmless = { reason: text, dynamic_metadata: { [text]: text } }
    const allowed = readAnswer(await resulting({ allowed: true, ...harmless }))
    const denied = readAnswer(await resulting({ allowed: false, ...harmless }))
    expect([allowed.outcome, denied.outcome]).toEqual(['allowed', '403 policy_denied'])
    expect(await resulting({ allowed: false, body: text })).toMatchObject({ status: 403, body: text })
    const records = await recordsOf([allowed.id, denied.id])
    expect(records.map(({ note }) => note)).toEqual([text, text])
  })
})

describe('none of this', () => {
  it('was for Envoy to decide', async () => {
    for (const stat of ['error', 'failure_mode_allowed', 'invalid'])
      expect([stat, await stack.envoy.stat(`http.agents.ext_authz.${stat}`)]).toEqual([stat, 0])
  })

  it('harms a result with everything in it that may be', async () => {
    const whole = {
      allowed: true,
      reason: 'not_today',
      headers: [{ 'x-a': ['1', '2'] }, { 'x-b': '3' }],
      response_headers_to_add: { 'x-c': '4' },
      request_headers_to_remove: ['x-d'],
      query_parameters_to_set: { a: 'b' },
      query_parameters_to_remove: ['c'],
      dynamic_metadata: { a: { b: [null, true, 7, 'text'] } },
    }
    const answer = await resulting(whole, '/result?c=1', [['x-d', '5']])
    expect(answer.headers).toHaveProperty('x-c', '4')
    const { headers, path } = echo(answer)
    expect(headers).toMatchObject({ 'x-a': '1,2', 'x-b': '3', 'x-agent-id': 'mail-summary' })
    expect(headers).not.toHaveProperty('x-d')
    expect(path).toBe('/result?a=b')
  })
})
