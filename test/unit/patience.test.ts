import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { withPatience } from '../../src/patience.ts'
import type { Deadline } from '../../src/types.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const clock = () => 1_790_000_000_000

describe('the patience of a person', () => {
  it('ends after ten seconds, as a deadline does', async () => {
    let given: Deadline | undefined
    const work = withPatience(clock, deadline => {
      given = deadline
      const signal = deadline.signal()
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    })
    const end = expect(work).rejects.toMatchObject({ name: 'Denied', reason: 'deadline' })
    expect(given?.at).toBe(clock() + 10_000)
    vi.advanceTimersByTime(9_999)
    expect(given?.signal().aborted).toBe(false)
    vi.advanceTimersByTime(1)
    expect(given?.signal().aborted).toBe(true)
    await end
  })

  it.each([
    ['is done', () => 'done', 'done'],
    ['is done later', async () => 'done', 'done'],
  ])('is over when the work %s', async (_, work, done) => {
    expect(await withPatience(clock, work)).toBe(done)
    expect(vi.getTimerCount()).toBe(0)
  })

  it.each([
    ['throws', () => thrown()],
    ['rejects', async () => thrown()],
  ])('is over when the work %s', async (_, work) => {
    await expect(withPatience(clock, work)).rejects.toThrow('broken')
    expect(vi.getTimerCount()).toBe(0)
  })
})

function thrown(): never {
  throw new Error('broken')
}
