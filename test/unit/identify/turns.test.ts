import { describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { createTurns } from '../../../src/identify/turns.ts'

/** Work that ends when a test says so, and what of it has begun. */
function desk() {
  const turns = createTurns()
  const begun: number[] = []
  const ends: (() => void)[] = []
  let next = 0
  const ask = (signal = new AbortController().signal) => {
    const number = next++
    return turns.take(() => {
      begun.push(number)
      return new Promise<number>(resolve => {
        ends[number] = () => resolve(number)
      })
    }, signal)
  }
  return { turns, begun, ends, ask }
}
const settled = () => new Promise(resolve => setImmediate(resolve))

describe('a turn', () => {
  it('comes at once for sixteen, then for the newest first', async () => {
    const { begun, ends, ask } = desk()
    const all = Array.from({ length: 20 }, () => ask())
    await settled()
    expect(begun).toHaveLength(16)
    ends[5]?.()
    ends[3]?.()
    await settled()
    expect(begun.slice(16)).toEqual([19, 18])
    for (const number of [...begun]) ends[number]?.()
    await settled()
    for (const number of begun) ends[number]?.()
    expect(await Promise.all(all)).toEqual(Array.from({ length: 20 }, (_, i) => i))
  })

  it('is lost by the oldest where more than a thousand and some wait', async () => {
    const { ends, ask } = desk()
    const all = Array.from({ length: 16 + 1_024 }, () => ask())
    await settled()
    void ask()
    await expect(all[16]).rejects.toThrow('overloaded')
    ends[0]?.()
    await all[0]
    await settled()
    void ask()
    void ask()
    await expect(all[17]).rejects.toThrow('overloaded')
  })

  it('is passed on by who has stopped waiting, without any work', async () => {
    const { begun, ends, ask } = desk()
    for (let i = 0; i < 16; i++) void ask()
    const stays = ask()
    const leaving = new AbortController()
    const gone = ask(leaving.signal)
    leaving.abort(new Denied('deadline'))
    await settled()
    ends[0]?.()
    await expect(gone).rejects.toThrow('deadline')
    await settled()
    expect(begun).toContain(16)
    expect(begun).not.toContain(17)
    ends[16]?.()
    expect(await stays).toBe(16)
  })

  it('is not kept from others by those who have stopped waiting', async () => {
    const { ask } = desk()
    for (let i = 0; i < 16; i++) void ask()
    const leaving = new AbortController()
    const gone = Promise.allSettled(Array.from({ length: 1_024 }, () => ask(leaving.signal)))
    leaving.abort(new Denied('deadline'))
    let lost = false
    void ask().catch(() => {
      lost = true
    })
    const reasons = (await gone).map(each => each.status === 'rejected' && each.reason.reason)
    expect(new Set(reasons)).toEqual(new Set(['deadline']))
    for (let i = 0; i < 1_023; i++) void ask()
    await settled()
    expect(lost).toBe(false)
  })

  it('is passed on by work that fails', async () => {
    const { turns } = desk()
    const signal = new AbortController().signal
    const failing = () => Promise.reject(new Error('broken'))
    const failed = await Promise.allSettled(Array.from({ length: 50 }, () => turns.take(failing, signal)))
    expect(failed.map(({ status }) => status)).toEqual(Array(50).fill('rejected'))
    expect(await turns.take(async () => 'done', signal)).toBe('done')
  })
})
