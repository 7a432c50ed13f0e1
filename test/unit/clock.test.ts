import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createClock } from '../../src/clock.ts'

/** Milliseconds: where both clocks stand when a test begins. */
const WALL = 1_790_000_000_000
/** What a double can tell apart at this size. */
const GRAIN = 0.001

afterEach(() => vi.restoreAllMocks())

/** A clock over a wall and a monotonic clock that a test moves. */
function start() {
  const at = { wall: WALL, monotonic: 0 }
  vi.spyOn(performance, 'timeOrigin', 'get').mockReturnValue(WALL)
  vi.spyOn(performance, 'now').mockImplementation(() => at.monotonic)
  vi.spyOn(Date, 'now').mockImplementation(() => Math.floor(at.wall))
  const clock = createClock()
  return (wall: number, monotonic = wall) => {
    at.wall += wall
    at.monotonic += monotonic
    return clock()
  }
}

describe('the clock', () => {
  it('tells microseconds within the millisecond of the wall', () => {
    const tick = start()
    expect(tick(0)).toBe(WALL)
    expect(tick(0.25)).toBeCloseTo(WALL + 0.25, 3)
    expect(tick(1.5)).toBeCloseTo(WALL + 1.75, 3)
  })

  it.each([
    ['forward', 3_600_000],
    ['back', -3_600_000],
  ])('follows a wall clock that is set %s', (_, by) => {
    const tick = start()
    tick(10)
    const set = tick(by, 0)
    expect(Math.floor(set)).toBe(WALL + 10 + by)
    expect(Math.floor(tick(1.5))).toBe(WALL + 11 + by)
  })

  it('tells microseconds again after the wall clock was set', () => {
    const tick = start()
    expect(tick(3_600_000, 0)).toBe(WALL + 3_600_000)
    expect(tick(0.25)).toBeCloseTo(WALL + 3_600_000.25, 3)
  })

  it('does not run back within a millisecond when the monotonic clock is ahead', () => {
    const tick = start()
    const before = tick(0.9995)
    expect(tick(0, 0.01)).toBeGreaterThanOrEqual(before - GRAIN)
  })

  it('always tells the millisecond of the wall, and runs back only when that does', () => {
    const step = fc.record({
      wall: fc.oneof(
        fc.double({ min: 0, max: 3, noNaN: true }),
        fc.double({ min: -50, max: 50, noNaN: true }),
      ),
      monotonic: fc.double({ min: 0, max: 3, noNaN: true }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), steps => {
        const tick = start()
        let last = tick(0)
        for (const { wall, monotonic } of steps) {
          const now = tick(wall, monotonic)
          expect(Math.floor(now)).toBe(Date.now())
          if (Date.now() >= Math.floor(last)) expect(now).toBeGreaterThanOrEqual(last - GRAIN)
          last = now
        }
      }),
      { numRuns: 300 },
    )
  })

  it('is that of this machine', () => {
    const before = Date.now()
    const now = createClock()()
    expect(now).toBeGreaterThanOrEqual(before)
    expect(now).toBeLessThan(Date.now() + 1)
  })
})
