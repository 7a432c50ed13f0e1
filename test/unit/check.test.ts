import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createCheck, type Rooms } from '../../src/check.ts'
import { Denied, REASONS, type Reason } from '../../src/denied.ts'
import { gather } from '../../src/gather/gather.ts'
import { respond } from '../../src/respond/respond.ts'
import type { Deadline, HeldRequest, Reply, Trail } from '../../src/types.ts'
import { allow, deny, heldRequest, identity } from './trail.ts'

const enforce = { mode: 'enforce', identity: 'required', authorization: 'remove' } as const
const patient: Deadline = { at: Number.POSITIVE_INFINITY, signal: () => new AbortController().signal }

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
const observe = { mode: 'observe', identity: 'required', authorization: 'remove' } as const

describe('a check', () => {
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
