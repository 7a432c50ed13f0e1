import { expect, it } from 'vitest'
import { printable } from '../../src/printable.ts'

it.each([
  ['alice@example.com', 'alice@example.com'],
  ['Zoë 李 🙂', 'Zoë 李 🙂'],
  ['a\u001b[2Jb', 'a\\u{1b}[2Jb'],
  ['a\nb\r', 'a\\u{a}b\\u{d}'],
  ['a\u202eb', 'a\\u{202e}b'],
  ['a\u2028b\u2029', 'a\\u{2028}b\\u{2029}'],
  ['\u200b\ufeff', '\\u{200b}\\u{feff}'],
])('%j is shown as %s', (text, shown) => {
  expect(printable(text)).toBe(shown)
})
