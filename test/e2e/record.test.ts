import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { metrics } from './metrics.ts'
import { ALICE, type Stack, startStack } from './stack.ts'

const SECRET_QUERY = 'code=hidden-in-the-query'

describe('the record of what was answered', () => {
  let stack: Stack
  let ids: string[]
  beforeAll(async () => {
    stack = await startStack()
    const chain = await stack.issuer.mint({
      ...ALICE,
      act: ['mail-summary', 'planner'],
      client_id: 'console',
    })
    const answers = [
      await stack.call(`/allowed?${SECRET_QUERY}`, {
        token: chain,
        headers: [
          ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
          ['cookie', 'session=hidden-in-a-cookie'],
        ],
      }),
      await stack.asAlice('/not-today'),
      await stack.asAlice('/malformed'),
      await stack.call('/allowed', { token: 'garbage' }),
      await stack.call('/allowed'),
      await stack.call('/public'),
      await stack.asAlice('/observe'),
      await stack.call('/observe'),
    ]
    ids = answers.map(({ headers, body }) => {
      const seen = headers['x-authz-decision-id'] ?? JSON.parse(body).headers['x-authz-decision-id']
      return String(seen)
    })
    await stack.call('/healthz')
    await until('the decision log', () => stack.decisions().length >= ids.length)
  }, 60_000)
  afterAll(() => stack?.stop())

  it('has one line in the decision log for each answer, by the id that the client or the upstream got', () => {
    expect(stack.decisions().map(line => line.decision_id)).toEqual(ids)
  })

  it('says who acted for whom, where, and what was decided', () => {
    const [allowed, refused, , , , , observed] = stack.decisions()
    expect(allowed).toMatchObject({
      trace_id: '0af7651916cd43dd8448eb211c80319c',
      request_id: expect.any(String),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
      mode: 'enforce',
      outcome: 'allow',
      enforced: true,
      reason: 'policy_allowed',
      status: 200,
      issuer: 'demo',
      delegator: 'alice@example.com',
      agent: 'mail-summary',
      agent_iss: stack.issuer.url,
      actor_source: 'act',
      prior_actors: [{ sub: 'planner', iss: stack.issuer.url }],
      client_id: 'console',
      token_id: expect.any(String),
      source: { address: '127.0.0.1' },
      method: 'GET',
      host: 'mail.example.com',
      path: '/allowed',
      entrypoint: 'envoy/authz/result',
    })
    expect(refused).toMatchObject({ outcome: 'deny', enforced: true, reason: 'not_today', status: 403 })
    expect(observed).toMatchObject({ mode: 'observe', outcome: 'deny', enforced: false, reason: 'not_today' })
  })

  it('is counted the same in the metrics', async () => {
    const counted = new Map<string, number>()
    for (const { outcome, reason, mode } of stack.decisions()) {
      const name = `agent_authz_decisions_total{outcome="${outcome}",reason="${reason}",mode="${mode}"}`
      counted.set(name, (counted.get(name) ?? 0) + 1)
    }
    const samples = await metrics(stack.service.adminUrl)
    const decisions = [...samples].filter(([name]) => name.startsWith('agent_authz_decisions_total'))
    expect(new Map(decisions)).toEqual(counted)
    expect(samples.get('agent_authz_check_duration_seconds_count')).toBe(ids.length)
    expect(samples.get('agent_authz_identities_total{issuer="demo",actor="act"}')).toBe(4)
  })

  it('is in the access log of Envoy', async () => {
    const lines = await until('the access log', () => {
      const lines = stack.envoy.accessLog()
      return lines.length > ids.length ? lines : undefined
    })
    const ours = (line: Record<string, unknown>) => ({
      decision_id: line.decision_id,
      outcome: line.outcome,
      reason: line.reason,
      issuer: line.issuer ?? '',
      delegator: line.delegator ?? '',
      agent: line.agent ?? '',
    })
    expect(lines.slice(0, -1).map(ours)).toEqual(stack.decisions().map(ours))
    expect(lines.at(-1)).toMatchObject({ path: '/healthz', status: 200, decision_id: null })
  })

  it('holds no token, query or cookie anywhere', async () => {
    const everything = [
      JSON.stringify(stack.decisions()),
      JSON.stringify(stack.envoy.accessLog()),
      stack.service.process.output(),
      JSON.stringify([...(await metrics(stack.service.adminUrl)).keys()]),
    ].join('\n')
    for (const secret of ['hidden-in', 'eyJ', 'garbage']) expect(everything).not.toContain(secret)
  })

  it('is complete after SIGTERM', async () => {
    const token = await stack.issuer.mint(ALICE)
    await Promise.all(Array.from({ length: 50 }, () => stack.call('/allowed', { token })))
    await stack.service.process.stop()
    expect(stack.decisions()).toHaveLength(ids.length + 50)
  })
})
