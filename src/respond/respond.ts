import type { Allow, AllowReply, Deny, DenyReply, Field, JsonObject, Reply, Trail } from '../types.ts'
import { TRUSTED_HEADERS, trustedHeaderLike } from '../types.ts'
import { mayHaveBody, standardBody, statusHeaders } from './refusal.ts'

const DECISION_ID = 'x-authz-decision-id'
const TRUSTED: ReadonlySet<string> = new Set(TRUSTED_HEADERS)

/**
 * The answer to Envoy for a decision. In observe mode a refusal is let through here and nowhere else: it
 * makes a reply, never a decision. `route_invalid` is refused in either mode, and so is what is no
 * CheckRequest, since the route's own mode is not known then.
 */
export function respond(trail: Trail): Reply {
  const { decision } = trail
  if (decision.outcome === 'allow') return allow(trail, decision)
  if (trail.request && trail.route.mode === 'observe' && decision.reason !== 'route_invalid')
    return allow(trail, NOTHING_FROM_POLICY)
  return deny(trail, decision)
}

type FromPolicy = Omit<Allow, 'outcome' | 'reason'>

const NOTHING_FROM_POLICY: FromPolicy = {
  headers: [],
  responseHeaders: [],
  requestHeadersToRemove: [],
  queryToSet: [],
  queryToRemove: [],
  metadata: {},
}

function allow(trail: Trail, policy: FromPolicy): AllowReply {
  const trusted: Field[] = [...(trail.identity?.headers ?? []), [DECISION_ID, trail.decisionId]]
  const removed = new Set([...untrusted(trail, trusted), ...policy.requestHeadersToRemove])
  if (removesBearer(trail) && !policy.headers.some(([name]) => name === 'authorization'))
    removed.add('authorization')
  return {
    kind: 'allow',
    // Envoy removes after it sets: a name in both lists would be gone.
    headers: [...trusted, ...policy.headers.filter(([name]) => !removed.has(name))],
    headersToRemove: [...removed],
    responseHeaders: policy.responseHeaders,
    queryToSet: policy.queryToSet,
    queryToRemove: policy.queryToRemove,
    metadata: dynamicMetadata(trail, policy.metadata),
  }
}

/** One that was verified: another scheme stays, with a token that Envoy found elsewhere. */
function removesBearer({ request, identity, route }: Trail): boolean {
  const isBearer = /^bearer\s/i.test(request?.header('authorization')[0] ?? '')
  return identity !== undefined && isBearer && route.mode === 'enforce' && route.authorization === 'remove'
}

/**
 * Every trusted header that we do not set, and what came in that could pass for one: `x_agent_id` is
 * `x-agent-id` to a CGI-like upstream.
 */
function untrusted(trail: Trail, set: readonly Field[]): string[] {
  const names = new Set(set.map(([name]) => name))
  const twins = (trail.request?.headerNames ?? []).filter(
    name => !TRUSTED.has(name) && trustedHeaderLike(name) !== undefined,
  )
  return [...TRUSTED_HEADERS.filter(name => !names.has(name)), ...twins]
}

function deny(trail: Trail, decision: Deny): DenyReply {
  const { reason, status, headers, body, challengeScope, metadata } = decision
  const named = new Set(headers.map(([name]) => name))
  const defaults: Field[] = statusHeaders(reason, status, challengeScope)
  if (body === undefined) defaults.push(['content-type', 'application/json'])
  return {
    kind: 'deny',
    status,
    headers: [[DECISION_ID, trail.decisionId], ...defaults.filter(([name]) => !named.has(name)), ...headers],
    body: mayHaveBody(trail.request?.method, status) ? (body ?? standardBody(reason, trail.decisionId)) : '',
    metadata: dynamicMetadata(trail, metadata),
  }
}

/** What Envoy's access log may show. Policy's keys come first, so that none can stand in for ours. */
function dynamicMetadata({ decisionId, identity, decision }: Trail, policy: JsonObject): JsonObject {
  return {
    ...policy,
    decision_id: decisionId,
    outcome: decision.outcome,
    reason: decision.reason,
    issuer: identity?.issuer ?? '',
    delegator: identity?.delegator ?? '',
    agent: identity?.agent?.sub ?? '',
  }
}
