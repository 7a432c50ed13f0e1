import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { auditRecord } from '../../../src/record/audit.ts'
import {
  createMetrics,
  createRecord,
  type DecisionLogSettings,
  decisionLogSettings,
} from '../../../src/record/record.ts'
import { respond } from '../../../src/respond/respond.ts'
import { Unusable } from '../../../src/unusable.ts'
import { allow, deny, identity, trail } from '../trail.ts'
import { wholeLines } from '../whole-lines.ts'

const folder = mkdtempSync(join(tmpdir(), 'record-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The room with a clock that stands, and what it told. */
function start(settings: DecisionLogSettings) {
  const logged: [level: string, message: string, fields: object][] = []
  const level = (name: string) => (fields: object, message: string) => logged.push([name, message, fields])
  const metrics = createMetrics('0')
  const room = createRecord(settings, {
    clock: () => trail().startedAt + 0.2,
    log: { info: level('info'), warn: level('warn'), error: level('error') },
    metrics,
  })
  const answer = (changes = {}) => {
    const of = trail({ decision: allow, identity, ...changes })
    room.record(of, respond(of))
  }
  const sample = async (name: string) => {
    const { text } = await metrics.page()
    return Number(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'm').exec(text)?.[1] ?? 0)
  }
  return { room, logged, answer, sample }
}

/** An answer whose line is about as long. */
const MEBIBYTE = { decision: { ...deny, note: 'x'.repeat(1024 * 1024) } }

/** Fills the log up to its bound, on a disk that takes nothing. */
function fill({ room, answer }: ReturnType<typeof start>): number {
  let kept = 0
  for (let before = -1; room.pendingBytes() > before; kept++) {
    before = room.pendingBytes()
    answer(MEBIBYTE)
  }
  return kept - 1
}

describe('the settings of the decision log', () => {
  it.each([
    ['nothing', undefined, { on_full: 'refuse' }],
    ['an empty map', {}, { on_full: 'refuse' }],
    ['a file', { file: 'a' }, { file: 'a', on_full: 'refuse' }],
    ['drop', { on_full: 'drop' }, { on_full: 'drop' }],
    ['none', 'none', 'none'],
  ])('may be %s', (_, given, settings) => {
    expect(decisionLogSettings.parse(given)).toEqual(settings)
  })

  it.each([
    ['another word', 'off'],
    ['an empty path', { file: '' }],
    ['another way when full', { on_full: 'wait' }],
    ['an unknown key', { path: 'a' }],
    ['null', null],
  ])('may not be %s', (_, given) => {
    expect(decisionLogSettings.safeParse(given).success).toBe(false)
  })
})

describe('an answer', () => {
  it('leaves one line, which is its record, and one count', async () => {
    const file = join(folder, 'one')
    const { room, answer, sample, logged } = start({ file, on_full: 'refuse' })
    answer()
    expect(room.pendingBytes()).toBeGreaterThan(100)
    expect(await room.close(1_000)).toBe(true)
    const of = trail({ decision: allow, identity })
    const wanted = auditRecord(of, respond(of), of.startedAt + 0.2)
    expect(wholeLines(file).map(line => JSON.parse(line))).toEqual([JSON.parse(JSON.stringify(wanted))])
    expect(await sample('agent_authz_decisions_total')).toBe(1)
    expect(logged).toEqual([])
  })

  it('is one line to every reader, and nothing that a terminal obeys', async () => {
    const file = join(folder, 'printable')
    const { room, answer } = start({ file, on_full: 'refuse' })
    const delegator = 'al\u2028ice\u009b31m\u202e\u200b\ufeff\u{e0001}'
    answer({ identity: { ...identity, delegator } })
    await room.close(1_000)
    const [line = ''] = wholeLines(file)
    expect(line).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u)
    expect(JSON.parse(line).delegator).toBe(delegator)
  })

  it('leaves its count where there is no decision log, and there is always room', async () => {
    const { room, answer, sample } = start('none')
    answer()
    expect(await sample('agent_authz_decisions_total')).toBe(1)
    expect(room.hasRoom()).toBe(true)
    expect(room.pendingBytes()).toBe(0)
    room.reopen()
    expect(await room.close(1_000)).toBe(true)
  })

  it('leaves its line in the new file after the old one was moved away', async () => {
    const file = join(folder, 'rotated')
    const { room, answer } = start({ file, on_full: 'refuse' })
    answer({ decisionId: 'before' })
    await vi.waitFor(() => expect(wholeLines(file)).toHaveLength(1))
    renameSync(file, `${file}.1`)
    room.reopen()
    answer({ decisionId: 'after' })
    await room.close(1_000)
    expect(JSON.parse(wholeLines(`${file}.1`)[0] as string).decision_id).toBe('before')
    expect(JSON.parse(wholeLines(file)[0] as string).decision_id).toBe('after')
  })
})

describe('a decision log that is full', () => {
  it.each([
    ['refuse', false],
    ['drop', true],
  ] as const)('with on_full: %s says that there is room: %s', async (on_full, hasRoom) => {
    const started = start({ file: '/dev/full', on_full })
    const { room, logged, sample } = started
    expect(fill(started)).toBe(16)
    expect(room.hasRoom()).toBe(hasRoom)
    // The one that found no room.
    expect(await sample('agent_authz_decision_log_dropped_total')).toBe(1)
    await vi.waitFor(() => expect(logged).toHaveLength(2))
    expect(logged.map(([level, message]) => `${level}: ${message}`).toSorted()).toEqual([
      'error: the decision log cannot be written; lines are kept until there is no room',
      'error: the decision log is full; answers leave no line',
    ])
    expect(logged).toContainEqual(['error', expect.any(String), { file: '/dev/full', code: 'ENOSPC' }])
    expect(await sample('agent_authz_decision_log_errors_total')).toBe(1)
    await room.close(0)
  })

  it('is told of once, however many answers leave no line, and each of these is counted', async () => {
    const started = start({ file: '/dev/full', on_full: 'drop' })
    const { room, logged, answer, sample } = started
    fill(started)
    for (let i = 0; i < 10; i++) answer()
    expect(await sample('agent_authz_decision_log_dropped_total')).toBe(11)
    expect(logged.filter(([, message]) => /is full/.test(message))).toHaveLength(1)
    await room.close(0)
  })

  it('has room again once it is written, says so, and tells the next time anew', async () => {
    const file = join(folder, 'freed')
    symlinkSync('/dev/full', file)
    const started = start({ file, on_full: 'refuse' })
    const { room, logged, answer, sample } = started
    fill(started)
    await vi.waitFor(() => expect(logged).toHaveLength(2))
    unlinkSync(file)
    room.reopen()
    await vi.waitFor(() => expect(room.hasRoom()).toBe(true))
    answer({ decisionId: 'after' })
    await vi.waitFor(() => expect(wholeLines(file)).toHaveLength(17))
    expect(JSON.parse(wholeLines(file).at(-1) as string).decision_id).toBe('after')
    expect(logged.at(-1)).toEqual(['info', 'the decision log is written again', { file }])
    expect(await sample('agent_authz_decision_log_errors_total')).toBe(1)

    unlinkSync(file)
    symlinkSync('/dev/full', file)
    await vi.waitFor(() => expect(room.pendingBytes()).toBe(0))
    room.reopen()
    fill(started)
    expect(logged.filter(([, message]) => /is full/.test(message))).toHaveLength(2)
    await vi.waitFor(async () => expect(await sample('agent_authz_decision_log_errors_total')).toBe(2))
    await room.close(0)
  })

  it('says nothing of what is left where it goes on, or was closed again', async () => {
    const settings = { file: '/dev/full', on_full: 'refuse' } as const
    const { room, answer, logged } = start(settings)
    answer()
    const first = room.close(10)
    expect(room.resume(settings)).toBe(true)
    expect(await first).toBe(false)
    const second = room.close(50)
    const last = room.close(100)
    expect(await second).toBe(false)
    const told = () =>
      logged.filter(([, message]) => message === 'the end of the decision log is not written')
    expect(told()).toEqual([])
    expect(await last).toBe(false)
    expect(told()).toHaveLength(1)
  })

  it('says at the end how much is not written', async () => {
    const { room, logged, answer } = start({ file: '/dev/full', on_full: 'refuse' })
    answer()
    const bytes = room.pendingBytes()
    expect(await room.close(10)).toBe(false)
    expect(logged.at(-1)).toEqual([
      'error',
      'the end of the decision log is not written',
      { file: '/dev/full', bytes },
    ])
  })
})

describe('a decision log that cannot be opened', () => {
  it('is refused', () => {
    const file = join(folder, 'no/such/file')
    expect(() => start({ file, on_full: 'refuse' })).toThrow(Unusable)
    expect(() => start({ file, on_full: 'drop' })).toThrow(Unusable)
  })

  it('a second time stays the one that it is, with a count and a message that says why', async () => {
    const file = join(folder, 'again')
    const { room, logged, answer, sample } = start({ file, on_full: 'refuse' })
    renameSync(file, `${file}.1`)
    // A folder in its place cannot be written to.
    symlinkSync(folder, file)
    room.reopen()
    answer({ decisionId: 'after' })
    expect(await room.close(1_000)).toBe(true)
    expect(logged).toEqual([
      [
        'error',
        `decision_log.file: cannot open ${file} for appending (EISDIR); lines go on to the file that was open before`,
        { file },
      ],
    ])
    expect(await sample('agent_authz_decision_log_errors_total')).toBe(1)
    expect(wholeLines(`${file}.1`)).toHaveLength(1)
  })
})
