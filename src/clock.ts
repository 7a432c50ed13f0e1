import type { Clock } from './types.ts'

/**
 * The wall clock with microseconds: `Date.now()` gives the millisecond, the monotonic clock what is between
 * two of them. Within a millisecond it never runs backwards.
 */
export function createClock(): Clock {
  let offset = performance.timeOrigin
  return () => {
    const wall = Date.now()
    const now = offset + performance.now()
    // The two drift apart, and the wall clock may be set: the millisecond is always the wall's.
    if (now >= wall && now < wall + 1) return now
    const held = now < wall ? wall : wall + 0.999
    offset += held - now
    return held
  }
}
