import { until } from '../../deploy/demo/processes.ts'
import { newKey } from '../unit/identify/issuer.ts'
import type { FaultyIssuer } from './faulty-issuer.ts'
import { type Exchange, type Excuse, judge, type Verdict } from './oracle.ts'
import type { Parts, Revision } from './parts.ts'
import { DIRECT, KINDS, type Kind, type Subjects, strangerTo } from './requests.ts'
import { type How, sendByEnvoy } from './sending.ts'

/** What a cell of the matrix breaks, and sends its requests with. */
export interface Scene {
  readonly parts: Parts
  readonly subjects: Subjects
  /** The policies that decide, one after the other. */
  readonly revisions: Revision[]
  /** One request; done when it is answered, or given up. */
  ask(kind: Kind, how?: How): Promise<Exchange>
  /** Requests of every kind, all at once. */
  everyKind(how?: How): Promise<readonly Exchange[]>
  /** Asks until it is let through, which must come. */
  letsThrough(...kinds: readonly Kind[]): Promise<void>
  /** A metric of the service, summed over its labels. */
  metric(name: string): Promise<number>
  /** Waits until every line of what was answered is written, then calls the oracle over this scene. */
  verdict(excuse: Excuse): Promise<Verdict>
}

/** The history of one service: each of its scenes begins where the one before ended. */
export function stage(parts: Parts, onFull: 'refuse' | 'drop') {
  const earlier: Exchange[] = []
  const seen = new Set<string>()
  let known = { decisions: new Map() as ReadonlyMap<string, number>, dropped: 0, lines: 0, damaged: 0 }
  let marks = 0
  let inForce: Revision = 'first'

  return {
    /** How many there were at the end of the last scene. */
    lines: () => known.lines,
    /** A scene whose tokens are of this issuer, with one that the service knows already. */
    async scene(issuer: FaultyIssuer): Promise<Scene> {
      const exchanges: Exchange[] = []
      const subjects: Subjects = {
        issuer,
        silent: parts.silent,
        known: await issuer.mint({ now: parts.clock.now() }),
        next: await newKey(`next-${marks}`),
        stranger: await strangerTo(issuer),
        now: parts.clock.now,
      }
      const scene: Scene = {
        parts,
        subjects,
        revisions: [inForce],
        ask,
        everyKind: how => Promise.all(KINDS.map(kind => ask(kind, how))),
        async letsThrough(...kinds) {
          for (const kind of kinds)
            await until(`${kind.name} to be let through`, async () => {
              const { arrivals } = await ask(kind)
              return arrivals.length > 0
            })
        },
        metric,
        verdict,
      }
      await scene.letsThrough(DIRECT)
      return scene

      async function ask(kind: Kind, how: How = {}): Promise<Exchange> {
        const mark = ++marks
        const asked = await kind.ask(subjects)
        const good = () => parts.clock.maybe().some(now => asked.token?.good(now))
        const before = good()
        const since = performance.now()
        const sent = kind.direct
          ? await parts.direct.send(asked, mark, how)
          : await sendByEnvoy(parts.envoy.current.port, asked, mark, how)
        const exchange = {
          ...{ ...sent, mark, kind, asked, good: before || good(), took: performance.now() - since },
          leaves: how.leaves !== undefined || how.deadline !== undefined,
          // Asked for when all is over: of what a client gave up, something may still arrive.
          get arrivals() {
            return [...parts.upstream.arrivals(mark), ...(sent.passed ? [sent.passed] : [])]
          },
        }
        exchanges.push(exchange)
        return exchange
      }

      async function verdict(excuse: Excuse): Promise<Verdict> {
        const evidence = async () => {
          const { lines, damaged } = parts.log.read()
          const decisions = await byLabels('decisions_total')
          const dropped = await metric('decision_log_dropped_total')
          const since = [...decisions].map(
            ([labels, count]) => [labels, count - (known.decisions.get(labels) ?? 0)] as const,
          )
          return {
            ...{ exchanges, earlier, seen, excuse, onFull, revisions: scene.revisions },
            lines: lines.slice(known.lines),
            damaged: damaged.slice(known.damaged),
            counted: { decisions: new Map(since), dropped: dropped - known.dropped },
            // What comes later is for the next scene, all of it.
            end: { decisions, dropped, lines: lines.length, damaged: damaged.length },
          }
        }
        let last = await evidence()
        // What is found wrong may only be late, and is wrong when it stays.
        const judged = await until('every line', async () => {
          last = await evidence()
          const found = judge(last)
          return found.violations.length === 0 ? found : undefined
        }).catch(() => judge(last))
        for (const { decision_id } of last.lines) seen.add(decision_id)
        known = last.end
        earlier.push(...exchanges)
        inForce = scene.revisions.at(-1) as Revision
        return judged
      }
    },
  }

  async function byLabels(name: string): Promise<ReadonlyMap<string, number>> {
    const whole = `agent_authz_${name}`
    const samples = [...(await parts.samples())].filter(([sample]) => sample.replace(/\{.*/, '') === whole)
    return new Map(samples.map(([sample, value]) => [sample.slice(whole.length), value]))
  }

  async function metric(name: string): Promise<number> {
    return [...(await byLabels(name)).values()].reduce((sum, value) => sum + value, 0)
  }
}
