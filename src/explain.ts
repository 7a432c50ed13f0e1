import { readFileSync } from 'node:fs'
import { createEngine } from './app.ts'
import { createClock } from './clock.ts'
import { readConfig } from './config.ts'
import { heldRequestFromProtojson } from './listen/listen.ts'
import { createMetrics } from './record/record.ts'
import type { Log, Reply, Trail } from './types.ts'
import { Unusable } from './unusable.ts'

/** A person waits longer than Envoy: keys may have to be fetched first. */
const PATIENCE_MS = 10_000

export interface Explanation {
  readonly outcome: Reply['kind']
  readonly text: string
}

/**
 * Decides one CheckRequest (protojson) under a configuration, as `serve` would, and tells what each stage found.
 * Writes no decision log. Unusable where the configuration or the request cannot be read.
 */
export async function explain(configFile: string, requestFile: string, log: Log): Promise<Explanation> {
  const clock = createClock()
  const config = readConfig(configFile)
  const request = heldRequestFromProtojson(readText(requestFile))
  let seen: { trail: Trail; reply: Reply } | undefined
  const record = {
    hasRoom: () => true,
    record: (trail: Trail, reply: Reply) => {
      seen = { trail, reply }
    },
  }
  const engine = await createEngine(config, { clock, log, metrics: createMetrics(''), record })
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS)
    await engine.check(() => request, { at: clock() + PATIENCE_MS, signal: () => signal })
  } finally {
    engine.close()
  }
  const { trail, reply } = seen as unknown as { trail: Trail; reply: Reply }
  return { outcome: reply.kind, text: tell(trail, reply) }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new Unusable(`cannot read the request ${file} (${(error as NodeJS.ErrnoException).code})`)
  }
}

function tell({ request, route, identity, decision, durations }: Trail, reply: Reply): string {
  const stages: [string, string][] = [
    ['request', request ? `${request.method} ${request.host}${request.path}` : 'could not be read'],
    ['route', `mode ${route.mode}, identity ${route.identity}, authorization ${route.authorization}`],
    [
      'identify',
      identity
        ? [
            `issuer ${identity.issuer}`,
            `agent ${identity.agent ?? 'none'} (${identity.actorSource})`,
            `for ${identity.delegator ?? 'nobody'}`,
            `scopes ${identity.scopes.join(' ') || 'none'}`,
          ].join(', ')
        : 'no verified token',
    ],
    ['gather', durations.gather === undefined ? 'not reached' : 'path, query and body read'],
    [
      'decide',
      decision?.policy
        ? `${decision.policy.entrypoint} at revision ${decision.policy.revision}`
        : 'policy not asked',
    ],
    ['reason', decision ? [decision.reason, decision.note].filter(Boolean).join(': ') : 'none'],
    ['respond', reply.kind === 'deny' ? `${reply.status} ${reply.body}` : 'goes on to the upstream'],
    ...reply.headers.map(([name, value]): [string, string] => ['', `${name}: ${value}`]),
    ...(reply.kind === 'allow' ? reply.headersToRemove : []).map((name): [string, string] => [
      '',
      `${name} removed`,
    ]),
  ]
  const lines = stages.map(([stage, finding]) => `${stage.padEnd(10)}${finding}`)
  return [
    `${reply.kind}${decision && decision.outcome !== reply.kind ? ' (observed: deny)' : ''}`,
    ...lines,
    '',
  ].join('\n')
}
