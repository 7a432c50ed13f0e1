import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createCheck, type Rooms } from '../../src/check.ts'
import { Denied, REASONS, type Reason } from '../../src/denied.ts'
import { gather } from '../../src/gather/gather.ts'
import { encodeCheckResponse, PREPARED_REFUSAL } from '../../src/listen/wire/check-response.ts'
import { respond } from '../../src/respond/respond.ts'
import type { Deadline, HeldRequest, Reply, Trail } from '../../src/types.ts'
import { responseOf } from './listen/wire/oracle.ts'
import { allow, deny, heldRequest, identity } from './trail.ts'

const enforce = { mode: 'enforce', identity: 'required', authorization: 'remove', source: 'token' } as const
const patient: Deadline = {
  at: Number.POSITIVE_INFINITY,
  cancelled: () => false,
  signal: () => new AbortController().signal,
}

interface Run {
  reply: Reply
  records: { trail: Trail; reply: Reply }[]
  logged: unknown[]
}

/** Runs one check through real `gather` and `respond`, with any room replaced. */
async function run(
  rooms: Partial<Rooms> & { hasRoom?: () => boolean } = {},
  { read = () => heldRequest(), deadline = patient, route = enforce as typeof enforce | typeof observe } = {},
): Promise<Run> {
  const records: Run['records'] = []
  const logged: unknown[] = []
  const keep = (fields: object, message: string) => logged.push({ ...fields, message })
  let now = 1_000
  const check = createCheck(
    {
      identify: () => identity,
      gather,
      decide: () => allow,
      respond,
      record: {
        hasRoom: rooms.hasRoom ?? (() => true),
        record: (trail, reply) => records.push({ trail: { ...trail }, reply }),
      },
      ...rooms,
    },
    route,
    { clock: () => now++, newId: () => 'd-1', log: { info: keep, warn: keep, error: keep } },
  )
  return { reply: await check(read, deadline), records, logged }
}
const observe = { mode: 'observe', identity: 'required', authorization: 'remove', source: 'token' } as const

describe('a check', () => {
  it('that Envoy has given up is no allow, however it was decided', async () => {
    for (const identify of [() => identity, async () => identity]) {
      const { reply, records } = await run({ identify }, { deadline: { ...patient, cancelled: () => true } })
      expect(reply).toMatchObject({ kind: 'deny', metadata: { reason: 'cancelled' } })
      expect(records.map(({ trail }) => trail.decision?.reason)).toEqual(['cancelled'])
    }
  })

  it('answers at once when nothing has to be waited for', () => {
    const check = createCheck(
      {
        identify: () => identity,
        gather,
        decide: () => allow,
        respond,
        record: { hasRoom: () => true, record: () => undefined },
      },
      enforce,
      { clock: () => 0, newId: () => 'd-1', log: { info() {}, warn() {}, error() {} } },
    )
    expect(check(() => heldRequest(), patient)).toMatchObject({ kind: 'allow' })
  })

  it('hands the identity on, also when it had to be waited for', async () => {
    for (const identify of [() => identity, async () => identity]) {
      const { reply, records } = await run({ identify })
      expect(reply).toMatchObject({ kind: 'allow', metadata: { agent: 'mail-summary' } })
      expect(records).toHaveLength(1)
      expect(Object.keys(records[0]?.trail.durations ?? {})).toEqual([
        'identify',
        'gather',
        'decide',
        'respond',
      ])
    }
  })

  it('refuses what policy refuses', async () => {
    expect((await run({ decide: () => deny })).reply).toMatchObject({ kind: 'deny', status: 403 })
  })

  it('refuses an allow that comes too late', async () => {
    const { reply, records } = await run({}, { deadline: { ...patient, at: 1_000 } })
    expect(reply).toMatchObject({ kind: 'deny', status: 503 })
    expect(records[0]?.trail.decision?.reason).toBe('deadline')
  })

  it('refuses where its record could not be kept', async () => {
    const { reply } = await run({ hasRoom: () => false })
    expect(reply).toMatchObject({ kind: 'deny', status: 503, metadata: { reason: 'log_full' } })
  })

  it('refuses a route that cannot be read, in observe mode too', async () => {
    const read = () => heldRequest({ contextExtensions: { agent_authz_mode: 'enforced' } })
    expect((await run({}, { read, route: observe })).reply).toMatchObject({ kind: 'deny', status: 500 })
  })

  it('logs a fault of our own without the text of what it choked on', async () => {
    const { reply, logged } = await run({
      decide: () => {
        throw new Error('Bearer secret')
      },
    })
    expect(reply).toMatchObject({ kind: 'deny', status: 500, metadata: { reason: 'internal_error' } })
    expect(logged).toHaveLength(1)
    expect(JSON.stringify(logged)).toMatch(/check\.test\.ts/)
    expect(JSON.stringify(logged)).not.toMatch(/secret/)
  })
})

const fault = fc.oneof(
  fc.constantFrom(...(Object.keys(REASONS) as Reason[])).map(reason => new Denied(reason)),
  fc.constantFrom(
    new Error('broken'),
    new TypeError('x is undefined'),
    'text',
    { message: 'object' },
    null,
    undefined,
    0,
  ),
)
const outcome = fc.oneof(
  fc.constant({ kind: 'fine' } as const),
  fault.map(thrown => ({ kind: 'throws', thrown }) as const),
  fault.map(thrown => ({ kind: 'rejects', thrown }) as const),
)

describe('whatever any stage throws', () => {
  it('there is no allow without a complete positive decision, and one record for every answer', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          read: outcome,
          identify: outcome,
          gather: outcome,
          decide: outcome,
          denies: fc.boolean(),
          late: fc.boolean(),
          full: fc.boolean(),
        }),
        async plan => {
          const stage = <T>(name: 'read' | 'identify' | 'gather' | 'decide', value: T): T => {
            const { kind, ...rest } = plan[name]
            if (kind === 'fine') return value
            if (kind === 'rejects' && name === 'identify')
              return Promise.reject((rest as { thrown: unknown }).thrown) as T
            throw (rest as { thrown: unknown }).thrown
          }
          const { reply, records } = await run(
            {
              identify: () => stage('identify', identity),
              gather: (...args) => stage('gather', gather(...args)),
              decide: () => stage('decide', plan.denies ? deny : allow),
              hasRoom: () => !plan.full,
            },
            {
              read: () => stage<HeldRequest>('read', heldRequest()),
              deadline: { ...patient, at: plan.late ? 0 : Number.POSITIVE_INFINITY },
            },
          )
          const allFine = (['read', 'identify', 'gather', 'decide'] as const).every(
            name => plan[name].kind === 'fine',
          )
          expect(reply.kind).toBe(allFine && !plan.denies && !plan.late && !plan.full ? 'allow' : 'deny')
          expect(records).toHaveLength(1)
          expect(records[0]?.trail.decision?.outcome).toBe(reply.kind)
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

const broken = () => {
  throw new Error('Bearer secret')
}

/** Fails when it is first called, and is right after that. */
function brokenOnce<Args extends unknown[], Result>(right: (...args: Args) => Result) {
  let calls = 0
  return (...args: Args): Result => (calls++ === 0 ? broken() : right(...args))
}

describe('what fails for an allow alone', () => {
  it.each<[string, () => Parameters<typeof run>[0]]>([
    ['its answer', () => ({ respond: brokenOnce(respond) })],
    ['the room for its record', () => ({ hasRoom: brokenOnce(() => true) })],
  ])('%s makes it a refusal with a record', async (_, rooms) => {
    for (const identify of [() => identity, async () => identity]) {
      const { reply, records, logged } = await run({ identify, ...rooms() })
      expect(reply).toMatchObject({ kind: 'deny', status: 500, metadata: { reason: 'internal_error' } })
      expect(records.map(({ trail }) => trail.decision?.reason)).toEqual(['internal_error'])
      expect(logged).toHaveLength(1)
      expect(JSON.stringify(logged)).not.toMatch(/secret/)
    }
  })

  it('its record makes it a refusal', async () => {
    const kept: string[] = []
    const record = brokenOnce((trail: Trail) => void kept.push(trail.decision?.reason ?? ''))
    const { reply } = await run({ record: { hasRoom: () => true, record } })
    expect(reply).toMatchObject({ kind: 'deny', status: 500 })
    expect(kept).toEqual(['internal_error'])
  })
})

describe('what fails at the request, refused or not', () => {
  const brokenWith =
    <Result>(right: (trail: Trail) => Result) =>
    (trail: Trail): Result =>
      trail.request ? broken() : right(trail)

  it.each(['enforce', 'observe'] as const)(
    'is a refusal with an id and a record that name nothing of it: %s',
    async mode => {
      const kept: Trail[] = []
      const record = { hasRoom: () => true, record: brokenWith(trail => void kept.push(trail)) }
      const failing: Parameters<typeof run>[0][] = [{ respond: brokenWith(respond) }, { record }]
      for (const rooms of failing) {
        const { reply, records, logged } = await run(rooms, { route: mode === 'observe' ? observe : enforce })
        const [trail] = [...records.map(({ trail }) => trail), ...kept]
        expect(reply).toMatchObject({ kind: 'deny', status: 500, metadata: { reason: 'internal_error' } })
        expect(trail).toMatchObject({ decision: { outcome: 'deny', reason: 'internal_error' } })
        expect(reply.headers).toContainEqual(['x-authz-decision-id', trail?.decisionId])
        expect(trail).not.toHaveProperty('request')
        expect(JSON.stringify(logged)).not.toMatch(/secret/)
      }
    },
  )
})

const { headers: _, ...withoutHeaders } = allow
const { requestHeadersToRemove: __, ...withoutRemovals } = allow

/** What a stage of another shape than it promises could give in place of a decision. */
const NO_DECISION = [
  undefined,
  null,
  0,
  '',
  'allow',
  true,
  [],
  [allow],
  {},
  { outcome: true },
  { outcome: 'allow' },
  { outcome: 'ALLOW' },
  { allowed: true },
  { ...allow, outcome: ['allow'] },
  { ...deny, outcome: 'allow' },
  { ...allow, outcome: 'deny' },
  { ...allow, headers: 'x' },
  Promise.resolve(allow),
  withoutHeaders,
  withoutRemovals,
]

describe('in place of a decision', () => {
  it.each(NO_DECISION.map(decision => [decision]))('%j is none', async decision => {
    const { reply, records } = await run({ decide: () => decision as never })
    expect(reply.kind).toBe('deny')
    expect(records).toHaveLength(1)
  })
})

/** What is no whole allow for Envoy either. */
const NO_REPLY = [undefined, null, 0, 'allow', [], {}, { kind: 'allow' }, { kind: 'allow', headers: [] }]

describe('whatever the last stages throw or give', () => {
  /** The bytes that leave, as the listener makes them of whatever becomes of a check. */
  const leaving = (rooms: Parameters<typeof run>[0]) =>
    run(rooms).then(
      ({ reply }) => encodeCheckResponse(reply, () => undefined),
      () => PREPARED_REFUSAL,
    )

  it('an allow leaves only where all went well', async () => {
    const how = fc.constantFrom('fine', 'fine', 'broken', 'brokenOnce', 'garbage')
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          respond: how,
          hasRoom: how,
          record: how,
          denies: fc.boolean(),
          waits: fc.boolean(),
          garbage: fc.constantFrom(...NO_REPLY),
        }),
        async ({ denies, waits, garbage, ...plan }) => {
          const stage = <Args extends unknown[], Result>(
            name: keyof typeof plan,
            right: (...args: Args) => Result,
          ) => {
            const made = {
              fine: right,
              broken,
              brokenOnce: brokenOnce(right),
              garbage: () => garbage as Result,
            }
            return made[plan[name] as keyof typeof made]
          }
          const bytes = await leaving({
            identify: waits ? async () => identity : () => identity,
            decide: () => (denies ? deny : allow),
            respond: stage('respond', respond),
            record: {
              hasRoom: stage('hasRoom', () => true),
              record: stage('record', () => undefined),
            },
          })
          const allows =
            !denies &&
            plan.respond === 'fine' &&
            (plan.hasRoom === 'fine' || (plan.hasRoom === 'garbage' && Boolean(garbage))) &&
            (plan.record === 'fine' || plan.record === 'garbage')
          expect(responseOf(bytes).status.code ?? 0).toBe(allows ? 0 : 7)
        },
      ),
      { numRuns: 500 },
    )
  })
})
