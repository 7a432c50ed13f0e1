import { describe, expect, it } from 'vitest'
import { createMetrics, type Metrics } from '../../../src/record/metrics.ts'
import type { Trail } from '../../../src/types.ts'
import { allow, deny, identity, trail } from '../trail.ts'

/** Our samples, by their name with labels; those of the process are left out. */
async function samples(metrics: Metrics): Promise<Record<string, number>> {
  const { text } = await metrics.page()
  const lines = text.split('\n').filter(line => /^agent_authz_(?!process|nodejs)/.test(line))
  return Object.fromEntries(
    lines.map(line => {
      const end = line.lastIndexOf(' ')
      return [line.slice(0, end), Number(line.slice(end + 1))]
    }),
  )
}

/** What an event adds to the page, or changes on it. */
async function changed(by: (metrics: Metrics) => void): Promise<Record<string, number>> {
  const metrics = createMetrics('1.2.3')
  const before = await samples(metrics)
  by(metrics)
  return Object.fromEntries(
    Object.entries(await samples(metrics)).filter(([name, value]) => before[name] !== value),
  )
}

const answered = (changes: Partial<Trail>, took = 0) =>
  changed(metrics => {
    const of = trail({ durations: {}, ...changes })
    metrics.answered(of, of.startedAt + took)
  })

describe('the metrics', () => {
  it('say which version runs', async () => {
    expect((await samples(createMetrics('1.2.3')))['agent_authz_build_info{version="1.2.3"}']).toBe(1)
  })

  it('are a Prometheus page with those of the process, every name beginning as ours', async () => {
    const { contentType, text } = await createMetrics('1.2.3').page()
    expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/)
    const names = text.split('\n').flatMap(line => /^# TYPE (\S+)/.exec(line)?.[1] ?? [])
    expect(names).toContain('agent_authz_process_cpu_seconds_total')
    expect(names).toContain('agent_authz_nodejs_heap_size_used_bytes')
    expect(names.filter(name => !name.startsWith('agent_authz_'))).toEqual([])
  })

  it('are of one service alone', async () => {
    const [one, other] = [createMetrics('1'), createMetrics('2')]
    one.logFailed()
    expect((await samples(one)).agent_authz_decision_log_errors_total).toBe(1)
    expect((await samples(other)).agent_authz_decision_log_errors_total).toBe(0)
  })
})

describe('an answer', () => {
  it.each([
    ['an allow', { decision: allow }, 'outcome="allow",reason="policy_allowed",mode="enforce"'],
    ['a refusal', { decision: deny }, 'outcome="deny",reason="policy_denied",mode="enforce"'],
    [
      'a refusal that was only observed',
      {
        decision: deny,
        route: { mode: 'observe', identity: 'required', authorization: 'remove', source: 'token' },
      },
      'outcome="deny",reason="policy_denied",mode="observe"',
    ],
    [
      'a reason of policy, its own words left out',
      { decision: { ...deny, reason: 'folder_not_allowed', note: 'inbox of bob' } },
      'outcome="deny",reason="folder_not_allowed",mode="enforce"',
    ],
  ] as [string, Partial<Trail>, string][])('is counted by what was decided: %s', async (_, of, labels) => {
    const counted = await answered(of)
    expect(counted[`agent_authz_decisions_total{${labels}}`]).toBe(1)
    expect(Object.keys(counted).filter(name => name.startsWith('agent_authz_decisions'))).toHaveLength(1)
    expect(JSON.stringify(counted)).not.toContain('bob')
  })

  it('is timed in seconds, from its arrival', async () => {
    const counted = await answered({ decision: allow }, 0.2)
    expect(counted.agent_authz_check_duration_seconds_count).toBe(1)
    expect(counted.agent_authz_check_duration_seconds_sum).toBeCloseTo(0.0002, 6)
    expect(counted['agent_authz_check_duration_seconds_bucket{le="0.00025"}']).toBe(1)
    expect(counted).not.toHaveProperty('agent_authz_check_duration_seconds_bucket{le="0.0001"}')
  })

  it('is timed stage by stage, in seconds too, where a stage was entered', async () => {
    const counted = await answered({ decision: deny, durations: { identify: 300, gather: 20 } })
    const stages = Object.entries(counted).filter(([name]) => /^agent_authz_stage_.*_sum/.test(name))
    expect(stages).toEqual([
      ['agent_authz_stage_duration_seconds_sum{stage="identify"}', 0.0003],
      ['agent_authz_stage_duration_seconds_sum{stage="gather"}', 0.00002],
    ])
    expect(counted['agent_authz_stage_duration_seconds_bucket{le="0.0005",stage="identify"}']).toBe(1)
  })

  it.each(['act', 'client', 'none'] as const)(
    'counts its verified token by issuer and by where the agent came from: %s',
    async actorSource => {
      const counted = await answered({ decision: allow, identity: { ...identity, actorSource } })
      expect(counted[`agent_authz_identities_total{issuer="corp",actor="${actorSource}"}`]).toBe(1)
    },
  )

  it('counts no identity without a verified token', async () => {
    const counted = await answered({ decision: deny })
    expect(Object.keys(counted).join()).not.toMatch(/identities/)
  })

  it('names no one in a label', async () => {
    const counted = await answered({ decision: { ...deny, note: 'alice' }, identity })
    const page = Object.keys(counted).join('\n')
    for (const name of ['alice', 'mail-summary', 'planner', 'console', 'token-1', 'inbox', 'mail.example'])
      expect(page).not.toContain(name)
  })
})

describe('an issuer that was removed', () => {
  it('has no keys any more, not even none', async () => {
    const metrics = createMetrics('1.2.3')
    metrics.keysLoaded('corp', 2, 0)
    metrics.keysIgnored('corp', 1)
    metrics.keysLoaded('other', 1, 0)
    metrics.issuerRemoved('corp')
    const { text } = await metrics.page()
    expect(text).not.toMatch(/agent_authz_keys.*corp/)
    expect(text).toContain('agent_authz_keys{issuer="other"} 1')
  })
})

describe('an event', () => {
  const AT = 1_790_000_000_500
  const events: [what: string, event: (metrics: Metrics) => void, counted: Record<string, number>][] = [
    [
      'keys that were read',
      metrics => {
        metrics.keysFetched('corp', 'ok')
        metrics.keysLoaded('corp', 2, AT)
      },
      {
        'agent_authz_key_fetches_total{issuer="corp",outcome="ok"}': 1,
        'agent_authz_keys{issuer="corp"}': 2,
        'agent_authz_keys_loaded_timestamp_seconds{issuer="corp"}': AT / 1000,
      },
    ],
    [
      'keys that could not be read',
      metrics => metrics.keysFetched('corp', 'unreachable'),
      { 'agent_authz_key_fetches_total{issuer="corp",outcome="unreachable"}': 1 },
    ],
    [
      'keys that are published and not used',
      metrics => metrics.keysIgnored('corp', 2),
      { 'agent_authz_keys_ignored{issuer="corp"}': 2 },
    ],
    [
      'a key that is not known',
      metrics => metrics.unknownKey('corp'),
      { 'agent_authz_unknown_keys_total{issuer="corp"}': 1 },
    ],
    [
      'a token that was verified already',
      metrics => metrics.tokenCache('hit'),
      { 'agent_authz_token_cache_total{result="hit"}': 1 },
    ],
    [
      'a token that was not',
      metrics => metrics.tokenCache('miss'),
      { 'agent_authz_token_cache_total{result="miss"}': 1 },
    ],
    [
      'a policy that was activated',
      metrics => metrics.policyLoaded(AT),
      {
        'agent_authz_policy_loads_total{outcome="ok"}': 1,
        agent_authz_policy_loaded_timestamp_seconds: AT / 1000,
      },
    ],
    [
      'a policy that was not',
      metrics => metrics.policyFailed(),
      { 'agent_authz_policy_loads_total{outcome="error"}': 1 },
    ],
    [
      'a policy instance that was thrown away',
      metrics => metrics.instanceReplaced(),
      { agent_authz_policy_instances_replaced_total: 1 },
    ],
    [
      'a configuration that was read',
      metrics => metrics.configurationLoaded('ok'),
      { 'agent_authz_configuration_loads_total{outcome="ok"}': 1 },
    ],
    [
      'a configuration that was refused',
      metrics => metrics.configurationLoaded('error'),
      { 'agent_authz_configuration_loads_total{outcome="error"}': 1 },
    ],
    [
      'a decision log that began to fail',
      metrics => metrics.logFailed(),
      { agent_authz_decision_log_errors_total: 1 },
    ],
    [
      'an answer that left no line',
      metrics => metrics.logDropped(),
      { agent_authz_decision_log_dropped_total: 1 },
    ],
  ]
  it.each(events)('is counted once, and nothing else with it: %s', async (_, event, counted) => {
    expect(await changed(event)).toEqual(counted)
  })

  it('is the bytes that wait, at the moment when the page is asked for', async () => {
    const metrics = createMetrics('1.2.3')
    expect((await samples(metrics)).agent_authz_decision_log_pending_bytes).toBe(0)
    let bytes = 7
    metrics.pendingLogBytes(() => bytes)
    expect((await samples(metrics)).agent_authz_decision_log_pending_bytes).toBe(7)
    bytes = 0
    expect((await samples(metrics)).agent_authz_decision_log_pending_bytes).toBe(0)
  })
})
