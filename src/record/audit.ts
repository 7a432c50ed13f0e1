import {
  type Actor,
  type ActorSource,
  type Decision,
  type HeldRequest,
  isObject,
  type JsonObject,
  type Parties,
  type Reply,
  type RouteSettings,
  type Trail,
} from '../types.ts'

const LONGEST = 2048

/** What is kept of one check. Every field is named here; nothing is written "minus the secrets". */
export interface AuditRecord {
  decision_id: string
  trace_id?: string
  request_id?: string
  time: string
  mode: RouteSettings['mode']
  outcome: Decision['outcome']
  enforced: boolean
  reason: string
  note?: string
  status: number
  issuer?: string
  delegator?: string
  agent?: string
  agent_iss?: string
  actor_source?: ActorSource
  prior_actors?: readonly Actor[]
  client_id?: string
  token_id?: string
  source?: { address?: string; principal?: string }
  method?: string
  host?: string
  path?: string
  entrypoint?: string
  policy_revision?: string
  durations_us: { readonly [stage: string]: number }
}

/** The record of a finished check. `status` is what was decided, which observe mode may not have enforced. */
export function auditRecord(trail: Trail, reply: Reply, finishedAt: number): AuditRecord {
  const { request, decision } = trail
  const parties = trail.identity ?? trail.refused
  const traceId = request && traceIdOf(request)
  const requestId = request?.header('x-request-id')[0]
  return {
    decision_id: trail.decisionId,
    ...(traceId !== undefined && { trace_id: traceId }),
    ...(requestId !== undefined && { request_id: shorten(requestId) }),
    time: rfc3339(trail.startedAt),
    mode: trail.route.mode,
    outcome: decision.outcome,
    enforced: reply.kind === decision.outcome,
    reason: decision.reason,
    ...(decision.note !== undefined && { note: decision.note }),
    status: decision.outcome === 'allow' ? 200 : decision.status,
    ...(parties && whoseToken(parties)),
    ...(request && whatWasAsked(request)),
    ...(decision.policy && {
      entrypoint: decision.policy.entrypoint,
      policy_revision: decision.policy.revision,
    }),
    durations_us: { ...trail.durations, total: Math.round((finishedAt - trail.startedAt) * 1000) },
  }
}

/** A hostile request must not choose how much of the log it fills. */
function shorten(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}…`
}

/** W3C Trace Context, section 3.2: `version-traceid-parentid-flags`, not all zeros. */
function traceIdOf(request: HeldRequest): string | undefined {
  const match = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(
    request.header('traceparent')[0] ?? '',
  )
  const id = match?.[1]
  return id === undefined || /^0+$/.test(id) ? undefined : id
}

/** Shortened too: of a refused token nothing says how long a name may be. */
function whoseToken(parties: Parties): Partial<AuditRecord> {
  const { issuer, delegator, agent, actorSource, priorActors, clientId, tokenId } = parties
  return {
    issuer,
    ...(delegator !== undefined && { delegator: shorten(delegator) }),
    ...(agent && { agent: shorten(agent.sub), agent_iss: shorten(agent.iss) }),
    ...(actorSource && { actor_source: actorSource }),
    ...(priorActors && {
      prior_actors: priorActors.map(({ sub, iss }) => ({ sub: shorten(sub), iss: shorten(iss) })),
    }),
    ...(clientId !== undefined && { client_id: shorten(clientId) }),
    ...(tokenId !== undefined && { token_id: shorten(tokenId) }),
  }
}

function whatWasAsked(request: HeldRequest): Pick<AuditRecord, 'source' | 'method' | 'host' | 'path'> {
  const { method, host, path } = request
  const source = sourceOf(request)
  return {
    ...(source && { source }),
    ...(method !== '' && { method: shorten(method) }),
    ...(host !== '' && { host: shorten(host) }),
    ...(path !== '' && { path: shorten(path.split('?', 1)[0] as string) }),
  }
}

function sourceOf({ attributes }: HeldRequest): AuditRecord['source'] {
  const source = object(attributes.source)
  const address = object(object(source?.address)?.socketAddress)?.address
  const principal = source?.principal
  if (typeof address !== 'string' && typeof principal !== 'string') return undefined
  return {
    ...(typeof address === 'string' && { address }),
    ...(typeof principal === 'string' && { principal: shorten(principal) }),
  }
}

function object(value: unknown): JsonObject | undefined {
  return isObject(value) ? value : undefined
}

function rfc3339(milliseconds: number): string {
  const micros = Math.floor((milliseconds % 1) * 1000)
  return `${new Date(milliseconds).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`
}
