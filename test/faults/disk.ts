import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { until } from '../../deploy/demo/processes.ts'
import type { Cell, Fault } from './cells.ts'
import { FOREIGN } from './decision-log.ts'
import type { Excuse } from './oracle.ts'
import { DIRECT, FAT, FRESH, KINDS, KNOWN } from './requests.ts'
import type { Scene } from './scene.ts'

const HALF_A_LINE = 100
const AT_ONCE = 64
/** Twice as many as there is room for. */
const MOST_FAT = 2_048
const SLOW_EVERY_MS = 50
const SLOW_BYTES = 4096
const DRAIN_EVERY_MS = 2
/** Of a log that takes 16 MiB through a pipe. */
const DRAINED_WITHIN_MS = 60_000
const FULL: Excuse = { full: true }

let kept = 0
/** A place of our own for what the service has no more. */
const aside = ({ parts }: Scene): string => join(parts.folder, `kept-${++kept}.jsonl`)
const later = (file: string) => () => readFileSync(file, 'utf8')

async function written(scene: Scene): Promise<void> {
  const pending = () => scene.metric('decision_log_pending_bytes')
  await until('the log to be written', async () => (await pending()) === 0, DRAINED_WITHIN_MS)
}

/** Has the log opened again while a line waits to be written. */
async function reopen(scene: Scene): Promise<void> {
  await scene.ask(DIRECT)
  scene.parts.service.signal('SIGUSR2')
}

/** The log was moved away: lines go on in a new one by its name. */
async function reopened(scene: Scene): Promise<void> {
  const { log } = scene.parts
  await reopen(scene)
  await until(
    'the log to be opened again',
    async () => {
      await scene.ask(KNOWN)
      return statSync(log.file, { throwIfNoEntry: false })?.isFile()
    },
    DRAINED_WITHIN_MS,
  )
}

/** Lines that nobody writes, until there is no room for one more; then requests of every kind. */
async function filled(scene: Scene): Promise<void> {
  const dropped = () => scene.metric('decision_log_dropped_total')
  const before = await dropped()
  for (let most = MOST_FAT; (await dropped()) === before; most -= AT_ONCE) {
    if (most <= 0) throw new Error(`the log has room for ${MOST_FAT} long lines and more`)
    await Promise.all(Array.from({ length: AT_ONCE }, () => scene.ask(FAT)))
  }
  const full = await dropped()
  await scene.everyKind()
  const kinds = KINDS.length
  await until('a log that stays full', async () => (await dropped()) - full >= kinds)
}

/** A reader of a pipe that takes its time, until it is told to stop or to hurry. */
function pipeReader(pipe: string) {
  const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
  const chunk = Buffer.alloc(64 * 1024)
  const chunks: Buffer[] = []
  const take = (most: number): boolean => {
    try {
      const bytes = readSync(fd, chunk, 0, most, null)
      chunks.push(Buffer.from(chunk.subarray(0, bytes)))
      return bytes > 0
    } catch {
      // Nothing in it.
      return false
    }
  }
  let timer = setInterval(take, SLOW_EVERY_MS, SLOW_BYTES)
  return {
    text: () => Buffer.concat(chunks).toString('utf8'),
    rest: () => clearInterval(timer),
    hurry() {
      clearInterval(timer)
      timer = setInterval(() => {
        while (take(chunk.length));
      }, DRAIN_EVERY_MS)
    },
    close() {
      clearInterval(timer)
      while (take(chunk.length));
      closeSync(fd)
    },
  }
}

async function slow(scene: Scene): Promise<Excuse> {
  const { log, service } = scene.parts
  const before = aside(scene)
  await written(scene)
  renameSync(log.file, before)
  log.continues(later(before))
  execFileSync('mkfifo', [log.file])
  const reader = pipeReader(log.file)
  try {
    service.signal('SIGUSR2')
    await until('the pipe to be written to', async () => {
      await scene.ask(KNOWN)
      return reader.text() !== ''
    })
    await scene.everyKind()
    reader.rest()
    await filled(scene)
    // Opened anew while it is full: what was begun is ended where it was begun.
    rmSync(log.file)
    const opened = reopened(scene)
    await scene.ask(KNOWN)
    reader.hurry()
    await opened
  } finally {
    reader.close()
    log.continues(reader.text)
    // However it went: whoever reads or writes a pipe by its name may wait for ever.
    if (statSync(log.file, { throwIfNoEntry: false })?.isFIFO()) rmSync(log.file)
  }
  await scene.letsThrough(KNOWN, FRESH)
  return FULL
}

/** A disk that is full: by a limit in the middle of a line, then by a device that takes nothing. */
async function error(scene: Scene): Promise<Excuse> {
  const { log, service } = scene.parts
  const limit = (bytes: number | 'unlimited') =>
    execFileSync('prlimit', ['--pid', `${service.pid}`, `--fsize=${bytes}:`])
  const movedTo = () => {
    const moved = aside(scene)
    renameSync(log.file, moved)
    return later(moved)
  }
  const fails = async (breaks: () => void) => {
    const errors = () => scene.metric('decision_log_errors_total')
    const before = await errors()
    breaks()
    await scene.everyKind()
    await until('the log to fail', async () => {
      await scene.ask(KNOWN)
      return (await errors()) > before
    })
  }
  const failsInALine = async () => {
    await written(scene)
    await fails(() => limit(statSync(log.file).size + HALF_A_LINE))
  }

  await scene.everyKind()
  await failsInALine()
  await filled(scene)
  limit('unlimited')
  await written(scene)

  await failsInALine()
  log.continues(movedTo(), 'cut')
  await reopened(scene)
  limit('unlimited')
  await written(scene)

  log.continues(movedTo())
  await fails(() => {
    symlinkSync('/dev/full', log.file)
    service.signal('SIGUSR2')
  })
  rmSync(log.file)
  await reopened(scene)
  await written(scene)
  await scene.letsThrough(KNOWN, FRESH)
  return FULL
}

/** Others write into it, and take away what was in it. */
async function garbage(scene: Scene): Promise<Excuse> {
  const { log } = scene.parts
  for (let round = 0; round < 3; round++) {
    const during = scene.everyKind()
    appendFileSync(log.file, FOREIGN)
    await during
    await written(scene)
    const copy = aside(scene)
    renameSync(log.file, copy)
    renameSync(copy, log.file)
    const text = readFileSync(log.file, 'utf8')
    log.continues(() => text)
    truncateSync(log.file)
  }
  await scene.letsThrough(KNOWN, FRESH)
  return {}
}

async function gone(scene: Scene): Promise<Excuse> {
  const { log } = scene.parts
  const folder = dirname(log.file)
  const errors = () => scene.metric('decision_log_errors_total')
  // Lines go on to the file that has no name any more, which we still have one for.
  const linked = aside(scene)
  linkSync(log.file, linked)
  rmSync(folder, { recursive: true })
  log.continues(later(linked))
  await scene.everyKind()
  const before = await errors()
  await reopen(scene)
  await until('the opening to fail', async () => (await errors()) > before)
  await scene.everyKind()
  await scene.letsThrough(KNOWN, FRESH)
  return {}
}

async function back(scene: Scene): Promise<Excuse> {
  const { log } = scene.parts
  mkdirSync(dirname(log.file))
  await reopened(scene)
  await scene.everyKind()
  const moved = aside(scene)
  renameSync(log.file, moved)
  log.continues(later(moved))
  await Promise.all([scene.everyKind(), reopened(scene)])
  await scene.everyKind()
  await scene.letsThrough(KNOWN, FRESH)
  await written(scene)
  return {}
}

export const diskCells: Record<Fault, Cell> = { slow, error, garbage, gone, back }
