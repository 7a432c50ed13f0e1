import { readFileSync } from 'node:fs'
import { createEngine } from './app.ts'
import { createClock } from './clock.ts'
import { readConfig } from './config.ts'
import { heldRequestFromProtojson } from './listen/listen.ts'
import { withPatience } from './patience.ts'
import { printable } from './printable.ts'
import { createMetrics } from './record/record.ts'
import type { AllowReply, Identity, Log, Parties, Reply, RouteSettings, Trail } from './types.ts'
import { Unusable } from './unusable.ts'

export interface Explanation {
  /** What was decided, which observe mode may not enforce. */
  readonly outcome: Reply['kind']
  readonly text: string
}

/**
 * Decides one CheckRequest (protojson) under a configuration, as `serve` would, and tells what each stage
 * found. Writes no decision log. Unusable where the configuration or the request cannot be read.
 */
export async function explain(configFile: string, requestFile: string, log: Log): Promise<Explanation> {
  const clock = createClock()
  const config = readConfig(configFile)
  const request = heldRequestFromProtojson(readText(requestFile))
  const trails: Trail[] = []
  const record = { hasRoom: () => true, record: (trail: Trail) => void trails.push(trail) }
  const engine = await createEngine(config, { clock, log, metrics: createMetrics(''), record })
  try {
    const reply = await withPatience(clock, deadline => engine.check(() => request, deadline))
    const [trail] = trails
    if (!trail) throw new Error('a check without a record')
    return { outcome: trail.decision.outcome, text: tell(trail, reply) }
  } finally {
    engine.close()
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new Unusable(`cannot read the request ${file} (${(error as NodeJS.ErrnoException).code})`)
  }
}

type Told = [stage: string, finding: string]

function tell(trail: Trail, reply: Reply): string {
  const { decision } = trail
  const answered: Told[] = [
    ['reason', why(trail)],
    ['respond', reply.kind === 'deny' ? `${reply.status} ${reply.body}` : 'goes on to the upstream'],
    ...reply.headers.map(([name, value]): Told => ['', `${name}: ${value}`]),
    ...(reply.kind === 'allow' ? changes(reply) : []).map((change): Told => ['', change]),
  ]
  const observed = decision.outcome !== reply.kind
  return [
    `${reply.kind}${observed ? ' (observed: deny)' : ''}`,
    ...[...stages(trail), ...answered].map(([stage, finding]) => `${stage.padEnd(10)}${printable(finding)}`),
    '',
  ].join('\n')
}

function changes({ headersToRemove, responseHeaders, queryToSet, queryToRemove }: AllowReply): string[] {
  return [
    ...headersToRemove.map(name => `${name} removed`),
    ...responseHeaders.map(([name, value]) => `${name}: ${value} added to the answer`),
    ...queryToSet.map(([name, value]) => `?${name}=${value} set`),
    ...queryToRemove.map(name => `?${name} removed`),
  ]
}

/** What each stage found, up to the one that refused. */
function stages(trail: Trail): Told[] {
  const { request, route, identity, refused, decision } = trail
  const { policy } = decision
  const parties = identity ?? refused
  const found: Told[] = [
    // Without the query, as in the decision log: it may hold what is nobody else's to see.
    ['request', request ? `${request.method} ${request.host}${request.path.split('?', 1)[0]}` : ''],
    ['route', routeFound(route)],
    ['identify', parties ? partiesFound(parties) : 'no token, and none is required'],
    ['gather', 'path, query and body read'],
    ['decide', `${decision.outcome} by ${policy?.entrypoint} at revision ${policy?.revision}`],
  ]
  const refusing = found.findIndex(([stage]) => stage === refusedBy(trail))
  return found.map(([stage, finding], i) => {
    if (refusing === -1 || i < refusing) return [stage, finding]
    if (i > refusing) return [stage, 'not reached']
    const known = stage === 'request' || (stage === 'identify' && parties) ? finding : ''
    return [stage, [`refused: ${why(trail)}`, known].filter(Boolean).join('; ')]
  })
}

/** The last stage that was entered; none where policy decided. */
function refusedBy({ decision, durations }: Trail): string | undefined {
  if (decision.policy) return undefined
  const entered = (['decide', 'gather', 'identify'] as const).find(stage => durations[stage] !== undefined)
  return entered ?? (decision.reason === 'route_invalid' ? 'route' : 'request')
}

function routeFound({ mode, identity, authorization, source }: RouteSettings): string {
  const base = `mode ${mode}, identity ${identity}, authorization ${authorization}`
  return source === 'token' ? base : `${base}, source ${source}`
}

function partiesFound(parties: Parties & { readonly scopes?: Identity['scopes'] }): string {
  const { issuer, agent, actorSource, delegator, scopes } = parties
  // Of a refused token it may be unknown.
  const acting = actorSource && `agent ${agent?.sub ?? 'none'} (${actorSource}), for ${delegator ?? 'nobody'}`
  const allowed = scopes && `scopes ${scopes.join(' ') || 'none'}`
  return [`issuer ${issuer}`, acting, allowed].filter(Boolean).join(', ')
}

function why({ decision }: Trail): string {
  return [decision.reason, decision.note].filter(Boolean).join(': ')
}
