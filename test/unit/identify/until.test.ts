import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { until } from '../../../src/identify/until.ts'

const never = new AbortController().signal

it('is what the work comes to', async () => {
  expect(await until(Promise.resolve(1), never)).toBe(1)
  await expect(until(Promise.reject(new Error('broken')), never)).rejects.toThrow('broken')
})

it('ends with the reason of the signal, before and while it waits', async () => {
  const work = new Promise(() => undefined)
  await expect(until(work, AbortSignal.abort(new Error('over')))).rejects.toThrow('over')
  const controller = new AbortController()
  const waiting = expect(until(work, controller.signal)).rejects.toThrow('over')
  controller.abort(new Error('over'))
  await waiting
})

it('is no more of the signal once the work is done', async () => {
  const controller = new AbortController()
  expect(await until(Promise.resolve(1), controller.signal)).toBe(1)
  controller.abort(new Error('over'))
})

it('keeps nothing of who has stopped waiting, while the work goes on', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const work = new Promise(() => undefined)
  const gone: WeakRef<object>[] = []
  for (let i = 0; i < 10; i++) {
    const controller = new AbortController()
    const reason = Object.assign(new Error('over'), { request: Buffer.alloc(1024) })
    gone.push(new WeakRef(reason))
    const waiting = until(work, controller.signal).catch(() => undefined)
    controller.abort(reason)
    await waiting
  }
  await new Promise(resolve => setImmediate(resolve))
  collect()
  expect(gone.filter(each => each.deref() !== undefined).length).toBeLessThan(2)
  // Only now may it go too.
  expect(work).toBeInstanceOf(Promise)
})
