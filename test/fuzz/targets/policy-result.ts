import fc from 'fast-check'
import { verdict } from '../../../src/decide/verdict.ts'
import { encodeCheckResponse } from '../../../src/listen/wire/check-response.ts'
import { respond } from '../../../src/respond/respond.ts'
import type { Decision, JsonObject, Trail } from '../../../src/types.ts'
import { TRUSTED_HEADERS } from '../../../src/types.ts'
import { responseOf } from '../../unit/listen/wire/oracle.ts'
import { heldRequest, identity, trail } from '../../unit/trail.ts'
import { Broken, hold, holdSame } from '../held.ts'
import { resultSets } from '../policy-results.ts'
import { createTarget } from '../target.ts'
import { meaning } from '../well-formed-result.ts'

const POLICY = { entrypoint: 'envoy/authz/result', revision: 'r1' }
const REASONS = new Set(['folder_not_allowed', 'read_by_owner'])
const FORGED = {
  'x-agent-id': ['root'],
  'x-authz-decision-id': ['1'],
  x_agent_id: ['root'],
  'x.agent.chain': ['a'],
}

const TRAILS: readonly Trail[] = (['enforce', 'observe'] as const).flatMap(mode =>
  [identity, undefined].flatMap(known =>
    ['GET', 'HEAD'].map(method =>
      trail({
        ...(known && { identity: known }),
        route: { mode, identity: 'optional', authorization: 'remove', source: 'token' },
        request: heldRequest({
          method,
          headers: { authorization: ['Bearer a'], 'x-debug': ['1'], ...FORGED },
        }),
      }),
    ),
  ),
)

interface Input {
  readonly text: string
  readonly at: Trail
}

/** The result of a policy, up to the bytes that Envoy gets, which protobufjs reads. */
export const policyResult = createTarget<Input>({
  name: 'policy-result',
  least: 0.2,
  file: 'policy.yaml',
  inputs: fc.record({ text: resultSets, at: fc.constantFrom(...TRAILS) }),
  accepts({ text, at }) {
    const resultSet: unknown = JSON.parse(text)
    const decision = read(resultSet)
    const meant = meaning(resultSet)
    const said = { allow: [], deny: [], undefined: ['policy_undefined', 403], error: ['policy_error', 500] }[
      meant
    ]
    hold(decision.outcome === (meant === 'allow' ? 'allow' : 'deny'), `${decision.outcome} and not ${meant}`)
    const isOurs = decision.reason === 'policy_undefined' || decision.reason === 'policy_error'
    hold(isOurs === said.length > 0, `${decision.reason} and not ${meant}`)
    if (decision.outcome === 'deny' && isOurs)
      holdSame([decision.reason, decision.status], said, 'a refusal of ours')
    holdAnswer(at, decision)
    return decision.outcome === 'allow'
  },
  shown: ({ text, at }) => ({ resultSet: text, mode: at.route.mode, method: at.request?.method }),
  vector: ({ text, at }) => ({
    config: { mode: at.route.mode },
    result: JSON.parse(text)?.[0]?.result ?? null,
  }),
})

function read(resultSet: unknown): Decision {
  try {
    return verdict(resultSet, POLICY, REASONS)
  } catch (thrown) {
    throw new Broken(`threw ${thrown}`, { cause: thrown })
  }
}

function holdAnswer(at: Trail, decision: Decision): void {
  const answered = { ...at, decision }
  const faults: unknown[] = []
  const response = responseOf(encodeCheckResponse(respond(answered), fault => faults.push(fault))) as Response
  hold(faults.length === 0, `an answer that cannot be encoded: ${faults}`)
  const lets = decision.outcome === 'allow' || at.route.mode === 'observe'
  hold((response.status.code ?? 0) === (lets ? 0 : 7), `code ${response.status.code}`)
  hold(
    (response.okResponse !== undefined) === lets && (response.deniedResponse !== undefined) !== lets,
    'its kind',
  )
  if (response.okResponse) holdUpstream(at, decision, response.okResponse)
  else holdRefusal(decision, response.deniedResponse)
  holdSame(
    response.dynamicMetadata,
    { ...policyMetadata(answered), ...ourMetadata(answered) },
    'metadata of policy, and ours over it',
  )
}

interface Option {
  readonly header: { readonly key?: string; readonly value?: string }
  readonly append: { readonly value?: boolean }
}

interface Response {
  readonly status: { readonly code?: number }
  readonly okResponse?: { readonly headers?: readonly Option[]; readonly headersToRemove?: readonly string[] }
  readonly deniedResponse?: {
    readonly status?: { readonly code?: number }
    readonly headers?: readonly Option[]
  }
  readonly dynamicMetadata?: JsonObject
}

/** What the upstream sees, as Envoy makes it: set and added in order, then removed. */
function holdUpstream(at: Trail, decision: Decision, ok: NonNullable<Response['okResponse']>): void {
  const request = at.request as NonNullable<Trail['request']>
  const seen = new Map(request.headerNames.map(name => [name, [...request.header(name)]]))
  for (const { header, append } of ok.headers ?? []) {
    const { key = '', value = '' } = header
    seen.set(key, append.value ? [...(seen.get(key) ?? []), value] : [value])
  }
  const removed = ok.headersToRemove ?? []
  const both = removed.filter(name => ok.headers?.some(({ header }) => header.key === name))
  hold(both.length === 0, `${both} is set and removed`)
  for (const name of removed) seen.delete(name)
  const ours = new Map([...(at.identity?.headers ?? []), ['x-authz-decision-id', at.decisionId] as const])
  for (const name of TRUSTED_HEADERS) {
    const value = ours.get(name)
    holdSame(seen.get(name), value === undefined ? undefined : [value], `${name} upstream`)
  }
  const twins = [...seen.keys()].filter(
    name =>
      !ours.has(name) && (TRUSTED_HEADERS as readonly string[]).includes(name.replace(/[^a-z0-9]/g, '-')),
  )
  hold(twins.length === 0, `${twins} could pass for a trusted header`)
  if (decision.outcome === 'allow') {
    const kept = decision.headers.filter(([name]) => !decision.requestHeadersToRemove.includes(name))
    for (const [name] of kept)
      holdSame(
        seen.get(name),
        kept.filter(([other]) => other === name).map(([, value]) => value),
        `${name} upstream`,
      )
  } else
    holdSame(
      [...seen.keys()].filter(name => !request.headerNames.includes(name) && !ours.has(name)),
      [],
      'nothing of policy',
    )
}

function holdRefusal(decision: Decision, denied: Response['deniedResponse']): void {
  hold(decision.outcome === 'deny' && denied?.status?.code === decision.status, 'the status of a refusal')
  const options = denied?.headers ?? []
  const ids = options.filter(({ header }) => header.key?.toLowerCase() === 'x-authz-decision-id')
  hold(ids.length === 1 && options.every(({ append }) => !append.value), 'headers of a refusal')
}

function policyMetadata({ decision, route }: Trail): JsonObject {
  return decision.outcome === 'allow' || route.mode === 'enforce' ? decision.metadata : {}
}

function ourMetadata({ decisionId, identity, decision }: Trail): JsonObject {
  return {
    decision_id: decisionId,
    outcome: decision.outcome,
    reason: decision.reason,
    issuer: identity?.issuer ?? '',
    delegator: identity?.delegator ?? '',
    agent: identity?.agent?.sub ?? '',
  }
}
