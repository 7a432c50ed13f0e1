import { beforeEach, expect, it } from 'vitest'
import { afterStalls } from '../../../src/listen/stall.ts'

let now: number
let begun: string[]
let arrive: (what: string) => void
beforeEach(() => {
  now = 0
  begun = []
  const begin = afterStalls(() => now)
  arrive = what => begin(() => begun.push(what))
})
const turn = () => new Promise(setImmediate)

it('begins at once while the loop comes round', async () => {
  now = 20
  arrive('a')
  arrive('b')
  expect(begun).toEqual(['a', 'b'])
  await turn()
  now = 40
  arrive('c')
  expect(begun).toEqual(['a', 'b', 'c'])
})

it('begins after a turn that brought no more, in order, where the loop was held up; then at once again', async () => {
  now = 21
  arrive('a')
  await turn()
  arrive('b')
  await turn()
  expect(begun).toEqual([])
  await turn()
  expect(begun).toEqual(['a', 'b'])
  arrive('c')
  expect(begun).toEqual(['a', 'b', 'c'])
})

it('waits no longer than 20 ms for such a turn', async () => {
  now = 21
  arrive('a')
  await turn()
  arrive('b')
  now = 40
  await turn()
  expect(begun).toEqual([])
  arrive('c')
  now = 41
  await turn()
  expect(begun).toEqual(['a', 'b', 'c'])
})

it('counts a turn that is long by itself', async () => {
  arrive('first')
  now = 30
  arrive('late')
  expect(begun).toEqual(['first'])
  await turn()
  await turn()
  expect(begun).toEqual(['first', 'late'])
})
