import type { Clock } from '../types.ts'

/** Longer than an ordinary turn of the event loop, and shorter than what a check may take. */
const STALL_MS = 20

/**
 * Begins each piece of work at once, unless the event loop has not come round for 20 ms: then one turn later,
 * when what was read together with it is known too. A call that waited behind a stall may have its
 * cancellation right behind it, and Envoy has decided without us.
 */
export function afterStalls(clock: Clock): (work: () => void) => void {
  let cameRound = clock()
  let held: (() => void)[] | undefined
  let looking = false

  return work => {
    if (held) {
      held.push(work)
      return
    }
    if (clock() - cameRound > STALL_MS) held = [work]
    if (!looking) {
      looking = true
      setImmediate(comeRound)
    }
    if (!held) work()
  }

  function comeRound(): void {
    looking = false
    cameRound = clock()
    const released = held ?? []
    held = undefined
    for (const work of released) work()
  }
}
