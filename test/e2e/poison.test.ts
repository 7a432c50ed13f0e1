import { type ServiceError, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import type { Caller } from '../unit/listen/callers.ts'
import { type Held, type Outcome, outcomeOf, startHeld, together } from './held.ts'
import { forged, POLICY, type Poison, poisonMixer, request, type Tokens } from './poison.ts'

const ROUND = 10_000
const AT_ONCE = 64
const CONNECTIONS = 3
/** In bytes for a round: what 250 for each request would be. */
const MOST_IN_USE = 2_500_000
/** Pages come and go with messages of 10 MB; a policy instance kept for each that threw would be 700 MB. */
const MOST_RESIDENT = 100_000_000

/** Collects garbage on a signal, so that what is in use can be told from what is left over. */
const COLLECT = `
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
process.on('SIGWINCH', () => collect())
`

let held: Held
let callers: Caller[]
let tokens: Tokens
let mixPoison: ReturnType<typeof poisonMixer>
beforeAll(async () => {
  held = await startCollecting()
  callers = Array.from({ length: CONNECTIONS }, held.connect)
  const now = Math.floor(Date.now() / 1000)
  const long = { iat: now - 1, exp: now + 890 }
  tokens = {
    good: await held.at.mint(long),
    expired: await held.at.mint({ iat: now - 900, exp: now - 600 }),
    withoutAgent: await held.at.mint({ ...long, act: undefined }),
  }
  mixPoison = poisonMixer(tokens)
})
afterAll(() => held?.stop())

async function startCollecting(): Promise<Held> {
  const { NODE_OPTIONS: before } = process.env
  process.env.NODE_OPTIONS = `--import=data:text/javascript;base64,${Buffer.from(COLLECT).toString('base64')}`
  try {
    return await startHeld(POLICY)
  } finally {
    if (before === undefined) delete process.env.NODE_OPTIONS
    else process.env.NODE_OPTIONS = before
  }
}

/** What is in use after garbage was collected, the least of several looks. */
async function memory(): Promise<{ inUse: number; resident: number }> {
  const of = (name: string) => held.count(`agent_authz_${name}_bytes`)
  const collections = () => held.count('agent_authz_nodejs_gc_duration_seconds_count{kind="major"}')
  const looks: { inUse: number; resident: number }[] = []
  for (let look = 0; look < 5; look++) {
    const before = await collections()
    held.service.process.signal('SIGWINCH')
    await until('garbage to be collected', async () => (await collections()) > before)
    const inUse = (await of('nodejs_heap_size_used')) + (await of('nodejs_external_memory'))
    looks.push({ inUse, resident: await of('process_resident_memory') })
  }
  return {
    inUse: Math.min(...looks.map(({ inUse }) => inUse)),
    resident: Math.min(...looks.map(({ resident }) => resident)),
  }
}

interface Sent extends Poison {
  readonly id: string
  /** Absent where the client had left. */
  readonly outcome?: Outcome
}

async function send(i: number, id: string): Promise<Sent> {
  const poison = mixPoison(i, id)
  const { message, leaving } = poison
  const options = {
    'at once': { begun: (call: { cancel(): void }) => void setImmediate(() => call.cancel()) },
    'after 1 ms': { deadline: Date.now() + 1 },
  }
  const caller = callers[i % CONNECTIONS] as Caller
  const answer = await caller.check(message, leaving && options[leaving]).catch((error: ServiceError) => {
    const wanted = leaving === 'at once' ? status.CANCELLED : status.DEADLINE_EXCEEDED
    if (leaving === undefined || error.code !== wanted) throw error
  })
  return { ...poison, id, ...(answer && { outcome: outcomeOf(answer) }) }
}

describe('ten thousand poisonous requests, 64 at a time', () => {
  /** Reasons by decision id. */
  const answered = new Map<string, string>()
  const left = new Set<string>()
  const used: Awaited<ReturnType<typeof memory>>[] = []
  const keep = ({ id, reason }: Outcome) => void answered.set(id, reason)

  it.each(['first', 'second'])(
    'are refused, and a good one is allowed: the %s time',
    async time => {
      const sent = await together(AT_ONCE, Array(ROUND).keys(), i => send(i, `${time}-${i}`))
      const wrong = sent.filter(
        ({ reason, outcome }) =>
          outcome?.reason === 'policy_allowed' || (reason !== undefined && outcome?.reason !== reason),
      )
      expect(wrong.map(({ reason, outcome }) => [reason, outcome?.reason])).toEqual([])
      for (const { id, outcome } of sent) outcome ? keep(outcome) : left.add(id)

      for (const caller of callers) {
        const good = outcomeOf(await caller.check(request('good', tokens.good)))
        expect(good.reason).toBe('policy_allowed')
        keep(good)
      }
      used.push(await memory())
    },
    180_000,
  )

  it('have one record each, and at most one that refuses where the client had left', async () => {
    const records = await held.records()
    const ofAnswers = records.filter(({ decision_id: id }) => answered.has(String(id)))
    expect(ofAnswers).toHaveLength(answered.size)
    expect(new Map(ofAnswers.map(({ decision_id: id, reason }) => [id, reason]))).toEqual(answered)

    const ofLeft = records.filter(({ decision_id: id }) => !answered.has(String(id)))
    const clients = new Set(ofLeft.map(({ request_id: id }) => String(id)))
    expect(clients.size).toBe(ofLeft.length)
    expect(clients.size).toBeGreaterThan(0)
    expect([...clients].filter(id => !left.has(id))).toEqual([])
    expect(ofLeft.filter(({ outcome }) => outcome !== 'deny')).toEqual([])
  })

  it('leave no memory in use', () => {
    const [first, second] = used
    if (!first || !second) throw new Error('both rounds were not run')
    expect(second.inUse - first.inUse).toBeLessThan(MOST_IN_USE)
    expect(second.resident - first.resident).toBeLessThan(MOST_RESIDENT)
  })

  it('are no fault of ours', () => {
    expect(held.service.process.running()).toBe(true)
    expect(held.service.process.output()).not.toMatch(/"level":(?!30)/)
  })
})

describe('a call with less time than its answer needs for the way back', () => {
  it('is answered, if at all, with the id of its record', async () => {
    const answers = await together(4, Array(300).keys(), i => {
      const message = request(`short-${i}`, forged(tokens.good))
      return (callers[0] as Caller).check(message, { deadline: Date.now() + 10 }).catch(() => undefined)
    })
    const outcomes = answers.flatMap(answer => (answer ? [outcomeOf(answer)] : []))
    const records = new Map((await held.records()).map(({ decision_id: id, reason }) => [id, reason]))
    expect(outcomes.map(({ id, reason }) => [reason, id])).toEqual(
      outcomes.map(({ id }) => [records.get(id), id]),
    )
  })
})
