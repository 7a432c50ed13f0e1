import { closeSync, constants, fstatSync, openSync, readSync, statSync, write } from 'node:fs'
import { Unusable } from '../unusable.ts'
import { unblocked } from './unblocked.ts'

/** Lines waiting longer than this, or more than this, are written: what a crash can lose. */
const FLUSH_AFTER_MS = 50
const FLUSH_AT_BYTES = 64 * 1024
/** Lines kept while the disk is slow or full. Beyond it there is no room. */
const MOST_PENDING_BYTES = 16 * 1024 * 1024
const RETRY_AFTER_MS = 250
/** Until the reader of a full pipe is asked again. */
const RETRY_PIPE_AFTER_MS = 10
const LINE_END = 0x0a

export interface LineLogEvents {
  writeFailed(code: string): void
  recovered(): void
  /** The file by that name could not be opened; the one before is written on. */
  reopenFailed(message: string): void
}

export interface LineLog {
  /** Whether the next line would be kept. */
  hasRoom(): boolean
  /** Keeps the line in memory until it is written. False: there was no room, and the line is gone. */
  append(line: string): boolean
  pendingBytes(): number
  /** Opens the file again by its name, after the log was moved away. The old one stays where that fails. */
  reopen(): void
  /**
   * Writes what is pending, then takes no more. Resolves after at most `patience` ms, to the number of bytes
   * not written by then; these are still tried, but do not keep the process alive. May be asked again.
   */
  close(patience: number): Promise<number>
  /** Takes lines again after `close`, unless all was written already and it is closed. */
  resume(): boolean
}

/**
 * Append-only lines to a file, or to standard output without one: gathered, then written off the caller's
 * path by one write at a time. A failed or partial write is tried again from where it ended, so no line is
 * lost or cut while the process lives. Does not sync to disk.
 */
export function createLineLog(path: string | undefined, events: LineLogEvents): LineLog {
  let { fd, cut } = path === undefined ? { fd: unblocked(1), cut: false } : open(path)
  let waiting: string[] = []
  let waitingBytes = 0
  let batch: Buffer | undefined
  /** Where the lines of the batch begin: behind the line end of one that was cut before, if need be. */
  let begin = 0
  let written = 0
  let timer: NodeJS.Timeout | undefined
  let retrying = false
  let failing = false
  let reopening = false
  let writing = false
  let state: 'open' | 'closing' | 'abandoned' | 'closed' = 'open'
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()

  const hasRoom = () => state !== 'closed' && pending() < MOST_PENDING_BYTES

  return {
    hasRoom,
    append(line) {
      if (!hasRoom()) return false
      waiting.push(line)
      waitingBytes += Buffer.byteLength(line) + 1
      if (waitingBytes >= FLUSH_AT_BYTES && !retrying) flush()
      else flushAfter(FLUSH_AFTER_MS)
      return true
    },
    pendingBytes: pending,
    reopen,
    async close(patience) {
      if (state === 'open') state = 'closing'
      flush()
      await new Promise<void>(resolve => {
        const over = setTimeout(resolve, patience)
        void ended.then(() => {
          clearTimeout(over)
          resolve()
        })
      })
      if (state === 'closing') state = 'abandoned'
      return pending()
    },
    resume() {
      if (state === 'closed') return false
      // In the meantime its file may have been moved away.
      if (state !== 'open') reopen()
      state = 'open'
      return true
    },
  }

  function reopen(): void {
    reopening = true
    if (!writing) swap()
  }

  function pending(): number {
    return waitingBytes + (batch ? batch.length - written : 0)
  }

  function flushAfter(milliseconds: number): void {
    timer ??= setTimeout(flush, milliseconds)
    if (state === 'abandoned') timer.unref()
  }

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (writing || state === 'closed') return
    if (reopening) swap()
    if (batch === undefined && waiting.length === 0) {
      if (state !== 'open') finish()
      return
    }
    batch ??= batchOf(waitingLines())
    writing = true
    write(fd, batch, written, batch.length - written, null, wrote)
  }

  function waitingLines(): Buffer {
    const lines = Buffer.from(`${waiting.join('\n')}\n`)
    waiting = []
    waitingBytes = 0
    return lines
  }

  function batchOf(lines: Buffer): Buffer {
    const all = cut ? Buffer.concat([Buffer.of(LINE_END), lines]) : lines
    begin = all.length - lines.length
    cut = false
    written = 0
    return all
  }

  function wrote(error: NodeJS.ErrnoException | null, bytes: number): void {
    writing = false
    written += bytes
    if (batch && written >= batch.length) batch = undefined
    retrying = error !== null
    if (error) {
      failed(error.code ?? 'UNKNOWN')
      return
    }
    if (failing) events.recovered()
    failing = false
    // Lines that came meanwhile wait for company again: a write each would cost more than the checks.
    if (batch || state !== 'open' || waitingBytes >= FLUSH_AT_BYTES) flush()
    else if (waiting.length > 0) flushAfter(FLUSH_AFTER_MS)
    else if (reopening) swap()
  }

  function failed(code: string): void {
    // A reader that is slow is no fault.
    const slow = code === 'EAGAIN'
    if (!slow && !failing) events.writeFailed(code)
    failing ||= !slow
    flushAfter(slow ? RETRY_PIPE_AFTER_MS : RETRY_AFTER_MS)
  }

  /**
   * Only between whole batches: the rest of a line belongs behind its beginning. Where the old file cannot be
   * written any more, as on a disk that it fills itself, the line that was cut there is written whole to the
   * new one.
   */
  function swap(): void {
    if (path === undefined || state === 'closed' || (batch !== undefined && !failing)) return
    reopening = false
    try {
      if (isOpen(path, fd)) return
      const next = open(path)
      closeSync(fd)
      fd = next.fd
      cut = next.cut
      if (batch) batch = batchOf(batch.subarray(firstUnwritten(batch)))
    } catch (error) {
      events.reopenFailed(error instanceof Unusable ? error.message : `cannot look at ${path}`)
    }
  }

  /** Where the first line begins that is not written whole. */
  function firstUnwritten(bytes: Buffer): number {
    return written > begin ? bytes.lastIndexOf(LINE_END, written - 1) + 1 : begin
  }

  function finish(): void {
    state = 'closed'
    if (fd !== 1) closeSync(fd)
    end()
  }
}

/** Whether the file of that name is the one that is open. */
function isOpen(path: string, fd: number): boolean {
  const there = statSync(path, { bigint: true, throwIfNoEntry: false })
  const own = fstatSync(fd, { bigint: true })
  return there?.dev === own.dev && there.ino === own.ino
}

const { O_RDWR, O_APPEND, O_CREAT, O_NONBLOCK } = constants

/**
 * Opens for appending. `cut`: it ends in half a line, as a crash may leave it, which wants its end first.
 * Without blocking: a pipe that nobody reads would hold a thread for ever, and with it the end of the
 * process. Writes nothing, so that a full disk does not keep the service from its start.
 */
function open(path: string): { fd: number; cut: boolean } {
  let fd: number | undefined
  try {
    fd = openSync(path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK, 0o640)
    const { size } = fstatSync(fd)
    const last = Buffer.alloc(1)
    const cut = size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== LINE_END
    return { fd, cut }
  } catch (error) {
    if (fd !== undefined) closeSync(fd)
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new Unusable(`decision_log.file: cannot open ${path} for appending (${code})`)
  }
}
