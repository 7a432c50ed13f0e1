import { closeSync, fstatSync, openSync, readSync, write, writeSync } from 'node:fs'
import { Unusable } from '../unusable.ts'

/** Lines waiting longer than this, or more than this, are written: what a crash can lose. */
const FLUSH_AFTER_MS = 50
const FLUSH_AT_BYTES = 64 * 1024
/** Lines kept while the disk is slow or full. Beyond it there is no room. */
const MOST_PENDING_BYTES = 16 * 1024 * 1024
const RETRY_AFTER_MS = 250

export interface LineLogEvents {
  writeFailed(code: string): void
  recovered(): void
}

export interface LineLog {
  /** Whether the next line would be kept. */
  hasRoom(): boolean
  /** Keeps the line in memory until it is written. False: there was no room, and the line is gone. */
  append(line: string): boolean
  pendingBytes(): number
  /** Opens the file again by its name, after the log was moved away. The old one stays where that fails. */
  reopen(): void
  /** Writes what is pending, for at most `patience` ms. Resolves to the number of bytes that could not be written. */
  close(patience: number): Promise<number>
}

/**
 * Append-only lines to a file, or to standard output without one: gathered, then written off the caller's path by
 * one write at a time. A failed or partial write is tried again from where it ended, so no line is lost or cut
 * while the process lives. Does not sync to disk.
 */
export function createLineLog(path: string | undefined, events: LineLogEvents): LineLog {
  let fd = path === undefined ? 1 : open(path)
  let waiting: string[] = []
  let waitingBytes = 0
  let batch: Buffer | undefined
  let timer: NodeJS.Timeout | undefined
  let failing = false
  let reopening = false
  let writing = false
  let closing = false
  let drained: (() => void) | undefined

  return {
    hasRoom: () => pending() < MOST_PENDING_BYTES,
    append(line) {
      if (pending() >= MOST_PENDING_BYTES) return false
      waiting.push(line)
      waitingBytes += Buffer.byteLength(line) + 1
      if (waitingBytes >= FLUSH_AT_BYTES) flush()
      else timer ??= setTimeout(flush, FLUSH_AFTER_MS)
      return true
    },
    pendingBytes: pending,
    reopen() {
      reopening = true
      if (!writing) swap()
    },
    async close(patience) {
      closing = true
      flush()
      if (pending() > 0) {
        await new Promise<void>(resolve => {
          drained = resolve
          setTimeout(resolve, patience).unref()
        })
      }
      clearTimeout(timer)
      if (path !== undefined && !writing) closeSync(fd)
      return pending()
    },
  }

  function pending(): number {
    return waitingBytes + (batch?.length ?? 0)
  }

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (writing) return
    if (reopening) swap()
    if (batch === undefined) {
      if (waiting.length === 0) {
        drained?.()
        return
      }
      batch = Buffer.from(`${waiting.join('\n')}\n`)
      waiting = []
      waitingBytes = 0
    }
    writing = true
    write(fd, batch, 0, batch.length, null, (error, written) => {
      writing = false
      if (batch && written > 0) batch = written < batch.length ? batch.subarray(written) : undefined
      if (error) {
        if (!failing) events.writeFailed(error.code ?? 'UNKNOWN')
        failing = true
        timer ??= setTimeout(flush, RETRY_AFTER_MS)
        return
      }
      if (failing) events.recovered()
      failing = false
      // Lines that came meanwhile wait for company again: a write each would cost more than the checks.
      if (batch || closing || waitingBytes >= FLUSH_AT_BYTES) flush()
      else if (waiting.length > 0) timer ??= setTimeout(flush, FLUSH_AFTER_MS)
      else if (reopening) swap()
    })
  }

  /** Only between whole batches: the rest of a line belongs behind its beginning. */
  function swap(): void {
    if (path === undefined || batch !== undefined) return
    reopening = false
    try {
      const next = open(path)
      closeSync(fd)
      fd = next
    } catch {
      events.writeFailed('REOPEN')
    }
  }
}

/** Opens for appending. A file that ends in half a line, as a crash may leave it, is given its line end. */
function open(path: string): number {
  try {
    const fd = openSync(path, 'a+', 0o640)
    const { size } = fstatSync(fd)
    const last = Buffer.alloc(1)
    if (size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a) writeSync(fd, '\n')
    return fd
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new Unusable(`decision_log.file: cannot open ${path} for appending (${code})`)
  }
}
