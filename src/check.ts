import type { DecideRoom } from './decide/decide.ts'
import { asDenied, Denied, refusal } from './denied.ts'
import { frames } from './frames.ts'
import type { gather } from './gather/gather.ts'
import { type IdentifyRoom, insistOnAgent } from './identify/identify.ts'
import type { RecordRoom } from './record/record.ts'
import type { respond } from './respond/respond.ts'
import { routeSettings } from './route.ts'
import type {
  Check,
  Clock,
  Deadline,
  HeldRequest,
  Identity,
  Log,
  Reply,
  RouteSettings,
  Stage,
  Trail,
} from './types.ts'

export interface Rooms {
  readonly identify: IdentifyRoom['identify']
  readonly gather: typeof gather
  readonly decide: DecideRoom['decide']
  readonly respond: typeof respond
  readonly record: Pick<RecordRoom, 'hasRoom' | 'record'>
}

const UNDECIDED = refusal(new Denied('internal_error'))

/**
 * One check: identify → gather → decide → respond → record. Starts from a refusal; whatever a stage throws is
 * a refusal with a reason. Where even a refusal that names nothing of the request fails, that is thrown on,
 * for the listener's prepared one. Synchronous unless `identify` has to wait.
 */
export function createCheck(
  { identify, gather, decide, respond, record }: Rooms,
  defaults: RouteSettings,
  { clock, newId, log }: { clock: Clock; newId: () => string; log: Log },
): Check {
  return (read, deadline) => {
    const trail: Trail = {
      decisionId: newId(),
      startedAt: clock(),
      route: defaults,
      decision: UNDECIDED,
      durations: {},
    }
    try {
      const request = read()
      trail.request = request
      trail.route = routeSettings(defaults, request.contextExtensions)
      request.assertJudgeable()
      enter(trail, 'identify')
      const identity = identify(request, trail.route, deadline)
      if (!(identity instanceof Promise)) return settle(trail, request, identity, deadline)
      return identity.then(
        known => settle(trail, request, known, deadline),
        thrown => refuse(trail, thrown),
      )
    } catch (thrown) {
      return refuse(trail, thrown)
    }
  }

  function settle(
    trail: Trail,
    request: HeldRequest,
    identity: Identity | undefined,
    deadline: Deadline,
  ): Reply {
    try {
      if (identity) {
        trail.identity = identity
        insistOnAgent(identity, trail.route)
      }
      const context = gather(request, identity, enter(trail, 'gather'))
      enter(trail, 'decide')
      const decision = decide(context)
      // A late allow is no allow: Envoy has stopped waiting, and what was true may no longer be.
      if (enter(trail, 'respond') > deadline.at) throw new Denied('deadline')
      if (deadline.cancelled()) throw new Denied('cancelled')
      trail.decision = decision
      return answer(trail)
    } catch (thrown) {
      return refuse(trail, thrown)
    }
  }

  function refuse(trail: Trail, thrown: unknown): Reply {
    const denied = asDenied(thrown)
    tell(trail, denied)
    enter(trail, 'respond')
    if (denied.parties) trail.refused = denied.parties
    trail.decision = refusal(denied)
    try {
      return answer(trail)
    } catch (again) {
      tell(trail, asDenied(again))
      // Without the request, which may be what it fails at.
      const { decisionId, startedAt, route } = trail
      return answer({ decisionId, startedAt, route, decision: UNDECIDED, durations: {} })
    }
  }

  function tell({ decisionId }: Trail, { cause }: Denied): void {
    if (cause instanceof Error)
      log.error({ decision_id: decisionId, at: frames(cause) }, 'a check failed inside')
  }

  /** No record, no access: where the decision log has no room, an allow becomes a refusal. */
  function answer(trail: Trail): Reply {
    if (trail.decision.outcome === 'allow' && !record.hasRoom())
      trail.decision = refusal(new Denied('log_full'))
    const reply = respond(trail)
    leave(trail, clock())
    record.record(trail, reply)
    return reply
  }

  /** Ends the stage before, and gives the time. */
  function enter(trail: Trail, stage: Stage): number {
    const now = clock()
    leave(trail, now)
    trail.entered = { stage, at: now }
    return now
  }
}

function leave({ entered, durations }: Trail, now: number): void {
  if (entered) durations[entered.stage] = Math.round((now - entered.at) * 1000)
}
