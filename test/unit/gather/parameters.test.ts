import { describe, expect, it } from 'vitest'
import { parseParameters } from '../../../src/gather/parameters.ts'

describe('a field value with parameters', () => {
  it.each([
    ['form-data', 'form-data', []],
    [
      'Form-Data ; Name="A b" ;x=1',
      'form-data',
      [
        ['name', 'A b'],
        ['x', '1'],
      ],
    ],
    ['multipart/form-data;boundary=a.b_c-d', 'multipart/form-data', [['boundary', 'a.b_c-d']]],
    [
      'a; b=""; c=',
      'a',
      [
        ['b', ''],
        ['c', ''],
      ],
    ],
    ['a;; b=1;', 'a', [['b', '1']]],
    ['a; b="x; c=y"', 'a', [['b', 'x; c=y']]],
    ['a; __proto__=1', 'a', [['__proto__', '1']]],
    [`a${';'.repeat(31)}b=1`, 'a', [['b', '1']]],
  ])('%j is read', (field, value, parameters) => {
    const read = parseParameters(field)
    expect(read?.value).toBe(value)
    expect([...(read?.parameters ?? [])]).toEqual(parameters)
  })

  it.each([
    ['a name twice', 'a; b=1; B=2'],
    ['an extended name', "a; b*=utf-8''c"],
    ['a continued name', 'a; b*0=c'],
    ['a backslash in quotes', String.raw`a; b="c\"d"`],
    ['quotes that do not close', 'a; b="c'],
    ['something after quotes', 'a; b="c"d'],
    ['a name without a value', 'a; b'],
    ['a space before the value', 'a; b= c'],
    ['a comma', 'a; b=c, d; e=f'],
    ['more than 32 parameters', `a${';'.repeat(32)}b=1;`],
  ])('%s is not: readers differ', (_, field) => {
    expect(parseParameters(field)).toBeUndefined()
  })
})
