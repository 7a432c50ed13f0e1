import type { Clock } from '../types.ts'

/** Longer than an ordinary turn of the event loop, and shorter than what a check may take. */
const STALL_MS = 20

/**
 * Begins each piece of work at once, unless the event loop has not come round for 20 ms: then after the first
 * turn that brought no more, or 20 ms. A call that waited behind a stall may have its cancellation some way
 * behind it, since what waits is read in several turns; and Envoy has decided without us.
 */
export function afterStalls(clock: Clock): (work: () => void) => void {
  let cameRound = clock()
  let patience = 0
  let held: (() => void)[] = []
  let known = 0
  let looking = false

  return work => {
    const now = clock()
    if (held.length === 0 && now - cameRound > STALL_MS) patience = now + STALL_MS
    const holds = held.length > 0 || patience > now
    if (holds) held.push(work)
    if (!looking) {
      looking = true
      setImmediate(comeRound)
    }
    if (!holds) work()
  }

  function comeRound(): void {
    cameRound = clock()
    if (held.length > known && cameRound < patience) {
      known = held.length
      setImmediate(comeRound)
      return
    }
    looking = false
    known = 0
    patience = 0
    const released = held
    held = []
    for (const work of released) work()
  }
}
