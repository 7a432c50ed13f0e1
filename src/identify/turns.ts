import { Denied } from '../denied.ts'

/** Few, so that what is ready in the meantime, such as known tokens, comes between two of them. */
const AT_ONCE = 16
/** About as many as can be verified within the usual time of a check. */
const MOST_WAITING = 1_024

export interface Turns {
  /**
   * Does this work when its turn comes, the newest first: where not all can be served in time, the oldest
   * are late already. Not at all once `signal` is aborted. Rejects with a Denied (`overloaded`) where too
   * many newer ones came.
   */
  take<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result>
}

interface Waiting {
  readonly signal: AbortSignal
  begin(): void
  refuse(denied: Denied): void
}

/** Bounds how much cryptography tokens that were never seen can ask for at a time. */
export function createTurns(): Turns {
  let running = 0
  const waiting: Waiting[] = []

  async function turn(signal: AbortSignal): Promise<void> {
    if (running < AT_ONCE) {
      running++
      return
    }
    // Nobody waits for these any more, and the newest being first they might never come up.
    while (waiting[0]?.signal.aborted) waiting.shift()?.refuse(new Denied('deadline'))
    if (waiting.length >= MOST_WAITING) waiting.shift()?.refuse(new Denied('overloaded'))
    await new Promise<void>((begin, refuse) => waiting.push({ signal, begin, refuse }))
    if (!signal.aborted) return
    next()
    throw signal.reason
  }

  /** Hands the turn on, so that the number of those that run stays the same. */
  function next(): void {
    const newest = waiting.pop()
    if (newest) newest.begin()
    else running--
  }

  return {
    async take(work, signal) {
      await turn(signal)
      try {
        return await work()
      } finally {
        next()
      }
    },
  }
}
