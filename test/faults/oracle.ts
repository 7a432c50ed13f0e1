import { CHECK_TIMEOUT_MS } from './cells.ts'
import type { Line } from './decision-log.ts'
import type { Asked, Kind } from './requests.ts'
import type { Sent } from './sending.ts'
import { type Arrival, markOf } from './upstream.ts'

/** One request, and all that was seen of it from outside. */
export interface Exchange extends Sent {
  readonly mark: number
  readonly kind: Kind
  readonly asked: Asked
  /** Whether its token was good by the clock of the service, at its beginning or at its end. */
  readonly good: boolean
  /** Its client was told to go away before it was answered. */
  readonly leaves: boolean
  /** In milliseconds, as its client saw it. */
  readonly took: number
  readonly arrivals: readonly Arrival[]
}

/** What is right because of a fault, and wrong without it. */
export interface Excuse {
  /** Reasons to refuse whoever shows a token. */
  readonly token?: readonly string[]
  /** The decision log may have no room. */
  readonly full?: true
  /** A check may be late at once: the clock was set. */
  readonly early?: true
  /** Answers of ours that nobody gets, although the client waits: Envoy is what breaks. */
  readonly undelivered?: true
  /** Calls beside the exchanges that brought no message which can be read, each answered; to be recorded. */
  readonly unread?: number
}

export interface Evidence {
  readonly exchanges: readonly Exchange[]
  /** Those of before, whose lines may come late. */
  readonly earlier: readonly Exchange[]
  readonly lines: readonly Line[]
  /** Of the log, what is no line. */
  readonly damaged: readonly string[]
  /** Of the lines before these. */
  readonly seen: ReadonlySet<string>
  /** Of the policies that decide, one after the other. */
  readonly revisions: readonly string[]
  readonly excuse: Excuse
  readonly onFull: 'refuse' | 'drop'
  /** By the metrics of the service. */
  readonly counted: { readonly decisions: ReadonlyMap<string, number>; readonly dropped: number }
}

export interface Verdict {
  readonly violations: readonly string[]
  readonly counts: {
    readonly requests: number
    readonly allowed: number
    readonly observed: number
    readonly refused: { readonly [reason: string]: number }
    readonly byEnvoy: number
    /** Nobody waited for it, or the connection broke. */
    readonly unanswered: number
    readonly lines: number
    /** Lines `cancelled` or `deadline` of checks that Envoy had given up. */
    readonly givenUp: number
    /** Lines of answers that did not reach the client. */
    readonly undelivered: number
    /** Answers without a line. */
    readonly unlogged: number
  }
}

const TRUSTED = ['delegator-id', 'delegator-issuer', 'agent-id', 'agent-issuer', 'agent-chain'].map(
  name => `x-${name}`,
)
const ID = 'x-authz-decision-id'
const NAMES = [...TRUSTED, ID]
/** Of a check that nobody waits for any more. */
const GIVEN_UP = ['cancelled', 'deadline']
/** Of a message that nothing is known of. */
const UNREAD = ['request_malformed', 'request_too_large']

/** A check did not end in time, and the listener answered for it; the line comes when it ends. */
const isAnsweredFor = ({ answer }: Exchange): boolean =>
  answer?.status === 503 &&
  answer.headers['retry-after'] !== undefined &&
  answer.headers[ID] === undefined &&
  ['', '{"error":"deadline"}'].includes(answer.body)

/** What the metric of decisions calls one like this. */
export const labelsOf = ({ outcome, reason, mode }: Pick<Line, 'outcome' | 'reason' | 'mode'>): string =>
  `{outcome="${outcome}",reason="${reason}",mode="${mode}"}`

/**
 * The one oracle: no allow without a complete positive decision, and one record for every answer. Looks at what
 * reached the upstream, what reached the client, the decision log and the metrics; none of them is believed alone.
 */
export function judge(evidence: Evidence): Verdict {
  const { exchanges, earlier, lines, damaged, seen, revisions, excuse, onFull, counted } = evidence
  const violations = damaged.map(text => `no line: ${text.slice(0, 80)}`)
  const byMark = new Map([...earlier, ...exchanges].map(exchange => [exchange.mark, exchange]))
  const byId = new Map<string, Line>()
  const answered = new Set<string>()
  const count = {
    allowed: 0,
    observed: 0,
    byEnvoy: 0,
    unanswered: 0,
    givenUp: 0,
    undelivered: 0,
    unlogged: 0,
  }
  const refused: Record<string, number> = {}
  let newest = 0
  let ofNobody = 0
  const before = new Set(earlier)
  const recorded = new Set(lines.map(({ path }) => markOf(path)))

  for (const line of lines) {
    if (byId.has(line.decision_id) || seen.has(line.decision_id))
      violations.push(`two lines for one decision: ${line.decision_id}`)
    byId.set(line.decision_id, line)
  }
  for (const exchange of exchanges) judgeExchange(exchange)
  for (const line of lines) judgeLine(line)

  const { unread = 0 } = excuse
  const unreadable = exchanges.filter(({ asked, answer }) => asked.bytes && !answer).length
  if (ofNobody < unread || ofNobody > unread + unreadable)
    violations.push(`${ofNobody} lines that nobody asked for, and ${unread} calls that could not be read`)
  judgeCounts()
  const unknown = count.unanswered + count.byEnvoy
  if (count.unlogged > counted.dropped || count.unlogged + unknown < counted.dropped)
    violations.push(`${count.unlogged} answers without a line, ${counted.dropped} dropped lines counted`)
  if (counted.dropped > 0 && !excuse.full) violations.push(`${counted.dropped} dropped lines counted`)
  return { violations, counts: { requests: exchanges.length, ...count, refused, lines: lines.length } }

  function judgeCounts(): void {
    const written = new Map<string, number>()
    for (const line of lines) written.set(labelsOf(line), (written.get(labelsOf(line)) ?? 0) + 1)
    let unwritten = 0
    for (const labels of new Set([...counted.decisions.keys(), ...written.keys()])) {
      const more = (counted.decisions.get(labels) ?? 0) - (written.get(labels) ?? 0)
      if (more < 0) violations.push(`${-more} lines ${labels} more than were counted`)
      else unwritten += more
    }
    if (unwritten !== counted.dropped)
      violations.push(`${unwritten} decisions counted that have no line, and ${counted.dropped} dropped ones`)
  }

  function judgeExchange(exchange: Exchange): void {
    const { kind, answer, arrivals } = exchange
    const wrong = (what: string) => violations.push(`${kind.name} (${exchange.mark}): ${what}`)
    if (arrivals.length > 1) wrong('let through more than once')
    for (const arrival of arrivals) judgeArrival(exchange, arrival, wrong)
    if (answer === undefined) {
      if (arrivals.length > 0) return
      count.unanswered++
      if (!mayBeUnanswered(exchange)) wrong('no answer')
      return
    }
    const id = answer.headers[ID]
    if (answer.headers['x-upstream'] !== undefined) {
      if (arrivals.length === 0) wrong('an answer of the upstream, which it never reached')
      return
    }
    if (typeof id === 'string') judgeRefusal(exchange, id, wrong)
    else if (isAnsweredFor(exchange)) {
      refused.deadline = (refused.deadline ?? 0) + 1
      judgeHaste(exchange, 'deadline', wrong)
      if (!recorded.has(exchange.mark)) count.unlogged++
    } else if (answer.body.startsWith('{"error":')) wrong(`a refusal without an id: ${answer.body}`)
    else {
      count.byEnvoy++
      if (answer.status < 400) wrong(`neither refused nor let through: ${answer.status}`)
      if (!mayBeUnanswered(exchange)) wrong(`answered by Envoy: ${answer.status} ${answer.body}`)
    }
  }

  /** By us. */
  function mayBeUnanswered({ kind, leaves }: Exchange): boolean {
    return kind.direct ? leaves : excuse.undelivered === true
  }

  function judgeHaste({ took, leaves }: Exchange, error: string, wrong: (what: string) => void): void {
    const early = excuse.early || excuse.undelivered || leaves
    if (error === 'deadline' && took < CHECK_TIMEOUT_MS && !early) wrong(`late after ${Math.round(took)} ms`)
  }

  function judgeArrival(
    { kind, asked, good }: Exchange,
    { headers }: Arrival,
    wrong: (what: string) => void,
  ): void {
    const id = String(headers[ID])
    const line = byId.get(id)
    answered.add(id)
    if (line) {
      if (line.outcome !== 'allow' && !kind.observed) wrong(`let through with a line ${line.reason}`)
      if (line.outcome !== 'allow' && line.enforced) wrong('let through with a line that says enforced')
    } else {
      count.unlogged++
      if (onFull === 'refuse' && !kind.observed) wrong('let through without a line')
      if (!kind.observed && !revisions.some(revision => kind.wanted(revision) === 'allow'))
        wrong('let through without a line, and against the policy')
    }
    if (kind.observed) count.observed++
    else count.allowed++

    const verified = TRUSTED.some(name => name in headers)
    if (verified && !good) wrong('trusted headers of a token that is not good')
    const judged = !kind.observed || line?.policy_revision !== undefined
    if (!verified && asked.token && judged) wrong('let through with a token, and nobody named')
    const wanted: Record<string, string> = verified ? { ...asked.token?.headers } : {}
    for (const name of TRUSTED)
      if (headers[name] !== wanted[name]) wrong(`${name} is ${headers[name]}, not ${wanted[name]}`)
    for (const name of Object.keys(headers))
      if (!NAMES.includes(name) && NAMES.includes(name.replace(/[^a-z0-9]/g, '-')))
        wrong(`${name} may be taken for one of ours`)
    if (asked.token && !kind.observed && /^bearer/i.test(String(headers.authorization)))
      wrong('the token went on to the upstream')
  }

  function judgeRefusal(exchange: Exchange, id: string, wrong: (what: string) => void): void {
    const { kind, answer, asked } = exchange
    const line = byId.get(id)
    answered.add(id)
    const said = answer?.body ? JSON.parse(answer.body) : undefined
    const error = said ? said.error : line?.reason
    if (said && said.decision_id !== id) wrong(`its body says ${said.decision_id}, its header ${id}`)
    judgeHaste(exchange, error, wrong)
    refused[error] = (refused[error] ?? 0) + 1
    if (kind.observed) wrong(`refused on a route that observes: ${error}`)
    if (!line) {
      count.unlogged++
      // Of HEAD nothing else is known.
      if (said && !revisions.some(revision => rightReasons(exchange, revision).includes(error)))
        wrong(`refused as ${error}, without a line`)
      return
    }
    if (line.outcome !== 'deny' || !line.enforced) wrong(`refused, with a line ${line.outcome}`)
    if (line.reason !== error) wrong(`refused as ${error}, with a line ${line.reason}`)
    if (line.status !== answer?.status) wrong(`refused with ${answer?.status}, with a line ${line.status}`)
    if (asked.method === 'HEAD' && answer?.body !== '') wrong('HEAD was answered with a body')
  }

  function judgeLine(line: Line): void {
    const wrong = (what: string) => violations.push(`line ${line.decision_id} (${line.path}): ${what}`)
    const revision = line.policy_revision
    if (revision !== undefined && !revisions.includes(revision, newest)) wrong(`policy ${revision} decides`)
    newest = Math.max(newest, revisions.indexOf(revision ?? ''))
    const exchange = byMark.get(markOf(line.path))
    // Of what is no CheckRequest nothing is known but its answer, where there was one.
    if (!exchange) {
      if (!answered.has(line.decision_id)) ofNobody++
      if (!UNREAD.includes(line.reason)) wrong(`${line.reason} without a path`)
      return
    }
    judgeOutcome(line, exchange, wrong)
    if (answered.has(line.decision_id)) return
    const { answer, arrivals, passed } = exchange
    const ours = passed !== undefined || answer?.headers['x-upstream'] !== undefined || answer?.headers[ID]
    const givenUp = GIVEN_UP.includes(line.reason)
    // Envoy asks again where a connection breaks.
    if (ours && !(givenUp && excuse.undelivered))
      wrong(`a second line for one answer (${arrivals.length} let through)`)
    else if (givenUp) count.givenUp++
    else count.undelivered++
  }

  function rightReasons(exchange: Exchange, revision: string): string[] {
    const { kind, asked, leaves } = exchange
    const wanted = kind.wanted(revision)
    const right = [wanted, ...(kind.or ?? []), 'deadline']
    const nobodyWaits = leaves || excuse.undelivered || before.has(exchange) || isAnsweredFor(exchange)
    if (nobodyWaits) right.push('cancelled')
    if (asked.token) right.push(...(excuse.token ?? []))
    if (wanted === 'allow' && excuse.full && onFull === 'refuse') right.push('log_full')
    return right
  }

  /** The line alone: whoever got the answer, this must not have been decided. */
  function judgeOutcome(line: Line, exchange: Exchange, wrong: (what: string) => void): void {
    const { kind, asked, good } = exchange
    const wanted = kind.wanted(line.policy_revision ?? '')
    if (line.delegator !== undefined && line.delegator !== asked.token?.delegator)
      wrong(`it names ${line.delegator}, the token ${asked.token?.delegator}`)
    if (line.mode !== (kind.observed ? 'observe' : 'enforce')) wrong(`mode ${line.mode}`)
    if (line.outcome === 'allow') {
      if (line.policy_revision === undefined) wrong('an allow that no policy made')
      if (wanted !== 'allow') wrong('an allow against the policy')
      if (asked.token && !good) wrong('an allow with a token that is not good')
      if (asked.token && line.delegator === undefined) wrong('an allow of nobody')
      if (!asked.token && !kind.anonymous) wrong('an allow without a token')
      return
    }
    if (!rightReasons(exchange, line.policy_revision ?? '').includes(line.reason))
      wrong(`refused as ${line.reason}, not ${wanted}`)
  }
}
