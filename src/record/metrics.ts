import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { DecideEvents } from '../decide/decide.ts'
import type { IdentifyEvents } from '../identify/identify.ts'
import type { ListenEvents } from '../listen/listen.ts'
import type { Stage, Trail } from '../types.ts'

/** All that is counted. Label values come from closed sets: reasons, stages, names of the configuration. */
export interface Metrics extends IdentifyEvents, DecideEvents, ListenEvents {
  answered(trail: Trail, finishedAt: number): void
  pendingLogBytes(read: () => number): void
  logFailed(): void
  logDropped(): void
  /** Takes away the gauges of an issuer that is configured no more: they would raise alarms for ever. */
  issuerRemoved(issuer: string): void
  configurationLoaded(outcome: 'ok' | 'error'): void
  /** The Prometheus text format, and its content type. */
  page(): Promise<{ contentType: string; text: string }>
}

const CHECK_BUCKETS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25]

export function createMetrics(version: string): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, prefix: 'agent_authz_' })

  new Gauge({
    name: 'agent_authz_build_info',
    help: 'Always 1; the version is in the label.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1)
  const decisions = new Counter({
    name: 'agent_authz_decisions_total',
    help: 'Answers given, by what was decided; in mode observe a deny was let through.',
    labelNames: ['outcome', 'reason', 'mode'],
    registers,
  })
  const duration = new Histogram({
    name: 'agent_authz_check_duration_seconds',
    help: 'From the arrival of a check to its answer.',
    buckets: CHECK_BUCKETS,
    registers,
  })
  const stages = new Histogram({
    name: 'agent_authz_stage_duration_seconds',
    help: 'Time spent in one stage of a check.',
    labelNames: ['stage'],
    buckets: CHECK_BUCKETS,
    registers,
  })
  const identities = new Counter({
    name: 'agent_authz_identities_total',
    help: 'Verified tokens seen, by issuer and by where the agent came from (act, client, none).',
    labelNames: ['issuer', 'actor'],
    registers,
  })
  const tokenCache = new Counter({
    name: 'agent_authz_token_cache_total',
    help: 'Tokens found verified already (hit) or not (miss).',
    labelNames: ['result'],
    registers,
  })
  const fetches = new Counter({
    name: 'agent_authz_key_fetches_total',
    help: 'Attempts to read the keys of an issuer, by ok or by how they failed.',
    labelNames: ['issuer', 'outcome'],
    registers,
  })
  const keys = new Gauge({
    name: 'agent_authz_keys',
    help: 'Usable signing keys of an issuer.',
    labelNames: ['issuer'],
    registers,
  })
  const keysIgnored = new Gauge({
    name: 'agent_authz_keys_ignored',
    help: 'Keys that an issuer publishes and that are not used; the service log says why.',
    labelNames: ['issuer'],
    registers,
  })
  const keysAt = new Gauge({
    name: 'agent_authz_keys_loaded_timestamp_seconds',
    help: 'When the keys of an issuer were last read.',
    labelNames: ['issuer'],
    registers,
  })
  const unknownKeys = new Counter({
    name: 'agent_authz_unknown_keys_total',
    help: 'Tokens that named a key which the issuer does not have.',
    labelNames: ['issuer'],
    registers,
  })
  const policyLoads = new Counter({
    name: 'agent_authz_policy_loads_total',
    help: 'Attempts to activate a policy bundle.',
    labelNames: ['outcome'],
    registers,
  })
  const policyAt = new Gauge({
    name: 'agent_authz_policy_loaded_timestamp_seconds',
    help: 'When the policy that decides now was activated.',
    registers,
  })
  const policyReplacements = new Counter({
    name: 'agent_authz_policy_instances_replaced_total',
    help: 'Policy instances thrown away after a failed evaluation.',
    registers,
  })
  const configurations = new Counter({
    name: 'agent_authz_configuration_loads_total',
    help: 'Attempts to read the configuration, the first one included.',
    labelNames: ['outcome'],
    registers,
  })
  const connections = new Counter({
    name: 'agent_authz_connections_refused_total',
    help: 'Connections to the gRPC port beyond max_connections, or beyond 1,024 in the middle of TLS.',
    registers,
  })
  const certificates = new Counter({
    name: 'agent_authz_certificate_loads_total',
    help: 'Attempts to read the certificate of the gRPC port, the first one included.',
    labelNames: ['outcome'],
    registers,
  })
  const certificateEnds = new Gauge({
    name: 'agent_authz_certificate_not_after_timestamp_seconds',
    help: 'When the certificate of the gRPC port ends.',
    registers,
  })
  const logErrors = new Counter({
    name: 'agent_authz_decision_log_errors_total',
    help: 'Times that the decision log began to fail.',
    registers,
  })
  const logDrops = new Counter({
    name: 'agent_authz_decision_log_dropped_total',
    help: 'Answers that left no line in the decision log, because it was full.',
    registers,
  })
  let pending = () => 0
  new Gauge({
    name: 'agent_authz_decision_log_pending_bytes',
    help: 'Lines of the decision log that are not written yet.',
    registers,
    collect() {
      this.set(pending())
    },
  })

  return {
    answered({ decision, route, identity, startedAt, durations }, finishedAt) {
      decisions.inc({ outcome: decision.outcome, reason: decision.reason, mode: route.mode })
      duration.observe((finishedAt - startedAt) / 1000)
      for (const stage of Object.keys(durations) as Stage[])
        stages.observe({ stage }, (durations[stage] as number) / 1_000_000)
      if (identity) identities.inc({ issuer: identity.issuer, actor: identity.actorSource })
    },
    pendingLogBytes: read => {
      pending = read
    },
    logFailed: () => logErrors.inc(),
    logDropped: () => logDrops.inc(),
    keysFetched: (issuer, outcome) => fetches.inc({ issuer, outcome }),
    keysLoaded(issuer, count, at) {
      keys.set({ issuer }, count)
      keysAt.set({ issuer }, at / 1000)
    },
    keysIgnored: (issuer, count) => keysIgnored.set({ issuer }, count),
    issuerRemoved(issuer) {
      for (const gauge of [keys, keysIgnored, keysAt]) gauge.remove({ issuer })
    },
    unknownKey: issuer => unknownKeys.inc({ issuer }),
    tokenCache: result => tokenCache.inc({ result }),
    policyLoaded(at) {
      policyLoads.inc({ outcome: 'ok' })
      policyAt.set(at / 1000)
    },
    policyFailed: () => policyLoads.inc({ outcome: 'error' }),
    instanceReplaced: () => policyReplacements.inc(),
    connectionRefused: () => connections.inc(),
    certificateLoaded(notAfter) {
      certificates.inc({ outcome: 'ok' })
      certificateEnds.set(notAfter)
    },
    certificateFailed: () => certificates.inc({ outcome: 'error' }),
    configurationLoaded: outcome => configurations.inc({ outcome }),
    page: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  }
}
