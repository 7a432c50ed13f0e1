import { expect, it } from 'vitest'
import { afterStalls } from '../../../src/listen/stall.ts'

const turn = () => new Promise(setImmediate)

it('begins at once while the loop comes round', async () => {
  let now = 0
  const begun: string[] = []
  const begin = afterStalls(() => now)
  now = 20
  begin(() => begun.push('a'))
  begin(() => begun.push('b'))
  expect(begun).toEqual(['a', 'b'])
  await turn()
  now = 40
  begin(() => begun.push('c'))
  expect(begun).toEqual(['a', 'b', 'c'])
})

it('begins a turn later, in order, where the loop was held up, and at once again after that', async () => {
  let now = 0
  const begun: string[] = []
  const begin = afterStalls(() => now)
  now = 21
  begin(() => begun.push('a'))
  begin(() => begun.push('b'))
  expect(begun).toEqual([])
  await turn()
  expect(begun).toEqual(['a', 'b'])
  begin(() => begun.push('c'))
  expect(begun).toEqual(['a', 'b', 'c'])
})

it('counts a turn that is long by itself', async () => {
  let now = 0
  const begun: string[] = []
  const begin = afterStalls(() => now)
  begin(() => {
    now = 30
  })
  begin(() => begun.push('late'))
  expect(begun).toEqual([])
  await turn()
  expect(begun).toEqual(['late'])
})
