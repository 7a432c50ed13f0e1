import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Canary, ownCanaries, readCanaries, runCanaries } from '../../../src/decide/canaries.ts'
import type { Json } from '../../../src/types.ts'
import { Unusable } from '../../../src/unusable.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-authz-canaries-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const one = (name: string) => ({ name, input: { secret: 1 }, expect: { allowed: true } })

describe('the canaries of a folder', () => {
  it('are every case of every JSON file, in the order of names', () => {
    writeFileSync(join(folder, 'b.json'), JSON.stringify(one('third')))
    writeFileSync(
      join(folder, 'a.json'),
      JSON.stringify([one('first'), { ...one('second'), entrypoint: 'a/b' }]),
    )
    writeFileSync(join(folder, 'README.md'), 'no case')
    expect(readCanaries(folder).map(({ name }) => name)).toEqual(['first', 'second', 'third'])
  })

  it.each([
    '{',
    '1',
    '{"name": "x"}',
    '{"name": "", "input": 1, "expect": 1}',
    '{"name": "x", "input": 1}',
    '{"name": "x", "expect": 1}',
    '{"name": "x", "input": 1, "expect": 1, "expects": 1}',
    '[{"name": "x", "input": 1, "expect": 1}, 1]',
  ])('are refused as %s, naming the file', text => {
    writeFileSync(join(folder, 'bad.json'), text)
    expect(() => readCanaries(folder)).toThrow(Unusable)
    expect(() => readCanaries(folder)).toThrow(join(folder, 'bad.json'))
  })

  it('are refused where there is no folder', () => {
    expect(() => readCanaries(join(folder, 'none'))).toThrow('ENOENT')
  })
})

describe('the canaries of a bundle', () => {
  it('may be none, one or several', () => {
    expect(ownCanaries(undefined)).toEqual([])
    expect(ownCanaries(one('a')).length).toBe(1)
    expect(ownCanaries([one('a'), one('b')]).length).toBe(2)
  })

  it.each([null, 'x', { name: 'a' }, { cases: [] }])('are refused as %j', cases => {
    expect(() => ownCanaries(cases as Json)).toThrow('data._canary')
  })
})

describe('a canary', () => {
  const run = (expected: Canary['expect'], set: unknown) =>
    runCanaries([{ ...one('bird'), expect: expected }], 'a/b', () => set)

  it.each([
    [{ allowed: true }, { allowed: true, reason: 'x' }],
    [{}, { allowed: true }],
    [{ headers: { a: '1' } }, { headers: { a: '1', b: '2' } }],
    [true, true],
    [
      [1, { a: 2 }],
      [1, { a: 2 }],
    ],
    [null, null],
  ])('that expects %j is content with %j', (expected, result) => {
    expect(() => run(expected, [{ result }])).not.toThrow()
  })

  it.each([
    [{ allowed: true }, { allowed: false }],
    [{ allowed: true }, true],
    [{ allowed: true }, {}],
    [{ allowed: true }, null],
    [{ headers: { a: '1' } }, { headers: {} }],
    [{ headers: {} }, { headers: [] }],
    [true, { allowed: true }],
    [true, 'true'],
    [[1], [1, 2]],
    [[{ a: 1 }], [{ a: 1, b: 2 }]],
    [1, '1'],
  ])('that expects %j is not content with %j', (expected, result) => {
    expect(() => run(expected, [{ result }])).toThrow('the canary "bird" does not get what it expects')
  })

  it('is not content with nothing', () => {
    for (const expected of [{}, null, false, { allowed: true }])
      expect(() => run(expected, [])).toThrow('bird')
  })

  it('that ends in an error is named, and what it holds is not', () => {
    const thrown = () =>
      runCanaries([one('bird')], 'a/b', () => {
        throw new Error('secret')
      })
    expect(thrown).toThrow('the canary "bird" ended in an error')
  })

  it('is asked with its input, of its own entry point where it names one', () => {
    const asked: unknown[] = []
    const evaluate = (input: ArrayBuffer, entrypoint: string) => {
      asked.push([JSON.parse(new TextDecoder().decode(input)), entrypoint])
      return [{ result: { allowed: true } }]
    }
    runCanaries([one('a'), { ...one('b'), entrypoint: 'c/d' }], 'a/b', evaluate)
    expect(asked).toEqual([
      [{ secret: 1 }, 'a/b'],
      [{ secret: 1 }, 'c/d'],
    ])
  })
})
