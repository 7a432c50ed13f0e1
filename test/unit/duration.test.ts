import { describe, expect, it } from 'vitest'
import { duration } from '../../src/duration.ts'

describe('a duration', () => {
  it.each([
    ['150ms', 150],
    ['0s', 0],
    ['30s', 30_000],
    ['15m', 900_000],
    ['24h', 86_400_000],
    ['999999999h', 3_599_999_996_400_000],
  ])('%s is %i milliseconds', (text, milliseconds) => {
    expect(duration.parse(text)).toBe(milliseconds)
  })

  it.each([
    ['a number, whose unit would be a guess', 150],
    ['a number in text', '150'],
    ['nothing', ''],
    ['a unit alone', 's'],
    ['another unit', '1d'],
    ['a unit in capitals', '1S'],
    ['a fraction', '1.5s'],
    ['a negative one', '-1s'],
    ['two together', '1m30s'],
    ['a space between', '1 s'],
    ['space around', ' 1s'],
    ['a line end behind', '1s\n'],
    ['more digits than any setting needs', '1234567890s'],
    ['digits of another script', '１s'],
    ['null', null],
    ['a list', ['1s']],
  ])('is not %s', (_, value) => {
    const { success, error } = duration.safeParse(value)
    expect(success).toBe(false)
    expect(error?.issues.map(({ message }) => message)).toEqual(['a duration such as 150ms, 30s, 15m or 24h'])
  })
})
