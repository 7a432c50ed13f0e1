import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { parseForm } from '../../../src/gather/form.ts'

describe('a form', () => {
  it('gives back what URLSearchParams wrote', () => {
    const text = fc.string({ unit: 'grapheme' })
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text)), pairs => {
        const wanted = new Map<string, string[]>()
        for (const [name, value] of pairs) wanted.set(name, [...(wanted.get(name) ?? []), value])
        const read = parseForm(new URLSearchParams(pairs).toString(), () => new Denied('body_invalid'))
        expect(new Map(Object.entries(read))).toEqual(wanted)
      }),
    )
  })
})
