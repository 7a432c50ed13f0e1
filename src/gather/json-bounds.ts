import { Denied } from '../denied.ts'
import { DEEPEST, LARGEST_EXPONENT, MOST_NAMES } from './bounds.ts'

/**
 * How many values a JSON text has, at every depth: every string but names, number, word, list, object. Only
 * for text that JSON.parse takes. Refuses (`body_invalid`) more than `most`, and what is beyond `bounds.ts`.
 */
export function valuesWithinBounds(text: string, most: number): number {
  /** How many names each list or object that is open has, the innermost last. */
  const open: number[] = []
  let values = 0
  let at = 0
  while (at < text.length) {
    const begin = at++
    const code = text.charCodeAt(begin)
    if (code <= SPACE || code === COMMA) continue
    if (code === LIST_END || code === OBJECT_END) open.pop()
    else if (code === COLON) {
      // What stands before it was a name.
      values--
      const names = (open.pop() ?? 0) + 1
      if (names > MOST_NAMES) throw new Denied('body_invalid', 'too many names')
      open.push(names)
    } else {
      // One more may be a name.
      if (++values > most + 1) throw new Denied('body_invalid', 'too many values')
      if (code === QUOTE) at = endOfString(text, at)
      else if (code === LIST || code === OBJECT) {
        if (open.push(0) > DEEPEST) throw new Denied('body_invalid', 'nested too deep')
      } else {
        at = endOfWord(text, at)
        if (at - begin >= SHORTEST_OUT_OF_RANGE) checkRange(text.slice(begin, at))
      }
    }
  }
  if (values > most) throw new Denied('body_invalid', 'too many values')
  return values
}

/** And what else is white space sorts lower. */
const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const LIST = 0x5b
const BACKSLASH = 0x5c
const LIST_END = 0x5d
const OBJECT = 0x7b
const OBJECT_END = 0x7d

function endOfString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote >= 0; quote = text.indexOf('"', quote + 1))
    if (!isEscaped(text, quote)) return quote + 1
  return text.length
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0
  while (text.charCodeAt(at - backslashes - 1) === BACKSLASH) backslashes++
  return backslashes % 2 === 1
}

/** White space behind it included. */
function endOfWord(text: string, from: number): number {
  let at = from
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === COMMA || code === LIST_END || code === OBJECT_END) break
  }
  return at
}

const SHORTEST_OUT_OF_RANGE = '1e1000'.length

function checkRange(number: string): void {
  const exponent = /e(.*)/i.exec(number)?.[1]
  if (Math.abs(Number(exponent ?? 0)) > LARGEST_EXPONENT)
    throw new Denied('body_invalid', 'a number out of range')
}
