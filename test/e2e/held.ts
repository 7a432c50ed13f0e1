import { join } from 'node:path'
import { expect } from 'vitest'
import { createProcesses, until } from '../../deploy/demo/processes.ts'
import { type Service, startService } from '../../deploy/demo/service.ts'
import { REASONS, type Reason } from '../../src/denied.ts'
import { type Configured, configured } from '../unit/configured.ts'
import { type Answer, type Caller, caller } from '../unit/listen/callers.ts'
import { metric } from './metrics.ts'
import { buildBundle } from './stack.ts'

/** A whole answer: `policy_allowed`, or why it refuses. */
export interface Outcome {
  readonly reason: string
  readonly id: string
}

export interface Held {
  readonly at: Configured
  readonly service: Service
  /** Asks with the bytes of a CheckRequest. */
  ask(message: Buffer): Promise<Outcome>
  /** Another connection to the same service. */
  connect(): Caller
  /** The sum of this metric over its labels, or of one sample where these are named too. */
  count(name: string): Promise<number>
  /** The whole decision log, once it has a line for each decision that is counted, and no other. */
  records(): Promise<Record<string, unknown>[]>
  /** There is one record for each outcome of `ask`, with its reason, and no other. */
  expectRecords(): Promise<void>
  stop(): Promise<void>
}

/** A service process with this policy and no Envoy before it: what is sent goes straight to the Check method. */
export async function startHeld(rego: string): Promise<Held> {
  const at = await configured()
  const processes = createProcesses(join(at.folder, 'processes'))
  const bundle = at.path('bundle.tar.gz')
  buildBundle(rego, bundle)
  const file = at.configure(config => {
    config.policy = { bundle }
    // What is late here is late because two cores are few.
    config.listen.check_timeout = '30s'
  })
  const service = await startService(processes, file)
  const envoy = caller(service.grpc)
  const connections = [envoy]
  const answered: Outcome[] = []

  const count = (name: string) => metric(service.adminUrl, name)
  const records = () =>
    until('as many records as decisions', async () => {
      const decided = await count('agent_authz_decisions_total')
      const lines = at.decisions()
      return lines.length === decided ? lines : undefined
    })
  return {
    at,
    service,
    async ask(message) {
      const outcome = outcomeOf(await envoy.check(message))
      answered.push(outcome)
      return outcome
    },
    connect() {
      const made = caller(service.grpc)
      connections.push(made)
      return made
    },
    count,
    records,
    async expectRecords() {
      const recorded = (await records()).map(line => `${line.decision_id} ${line.reason}`)
      const expected = answered.map(({ id, reason }) => `${id} ${reason}`)
      expect(recorded.toSorted()).toEqual(expected.toSorted())
    },
    async stop() {
      for (const each of connections) each.close()
      await processes.stop()
      at.remove()
    },
  }
}

/** What an answer says, which it says in full: of a refusal, status, body and metadata are of one mind. */
export function outcomeOf({ code, status, body, metadata }: Answer): Outcome {
  const { reason, decision_id: id, outcome } = metadata as Record<string, string>
  const said = { code, status, body, outcome }
  if (code === 0) expect(said).toEqual({ code: 0, status: undefined, body: undefined, outcome: 'allow' })
  else
    expect(said).toEqual({
      code: 7,
      status: REASONS[reason as Reason],
      body: JSON.stringify({ error: reason, decision_id: id }),
      outcome: 'deny',
    })
  expect(String(id)).toMatch(/^[0-9a-f-]{36}$/)
  return { reason: reason as string, id: id as string }
}

/** Does this for each item, so many at once. */
export async function together<T, R>(
  atOnce: number,
  items: Iterable<T>,
  act: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const left = [...items].entries()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const [place, item] of left) results[place] = await act(item)
    }),
  )
  return results
}
