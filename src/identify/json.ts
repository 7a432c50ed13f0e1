import { parseLossless } from '../lossless.ts'
import { isObject, type JsonObject } from '../types.ts'

const DEEPEST = 32
/** The policy engine spells a number out, digit by digit. */
const LARGEST_EXPONENT = 999

/**
 * A JSON object that every reader reads alike: no key twice at any depth (RFC 7519, section 4), nesting up to
 * 32, no text with half a surrogate pair. Undefined otherwise. Numbers are doubles; one that a double cannot
 * hold is an opaque object that keeps its digits.
 */
export function strictObject(text: string): JsonObject | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  const { ambiguous, exact } = read(text)
  if (ambiguous) return undefined
  return (exact ? value : parseLossless(text)) as JsonObject
}

const AMBIGUOUS = { ambiguous: true, exact: false }

/** Only for text that is JSON: what a string means then follows from the token before it. */
function read(text: string): { ambiguous: boolean; exact: boolean } {
  const open: (Set<string> | undefined)[] = []
  let keyNext = false
  let exact = true
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]},]|-?\d[\d.eE+-]*/g)) {
    if (token === '{' || token === '[') {
      open.push(token === '{' ? new Set() : undefined)
      keyNext = token === '{'
      if (open.length > DEEPEST) return AMBIGUOUS
    } else if (token === '}' || token === ']') {
      open.pop()
      keyNext = false
    } else if (token === ',') keyNext = open.at(-1) !== undefined
    else if (!token.startsWith('"')) {
      const [digits = '', exponent = '0'] = token.split(/e/i)
      if (Math.abs(Number(exponent)) > LARGEST_EXPONENT) return AMBIGUOUS
      exact &&= Number.isFinite(Number(token)) && (isShort(digits) || String(Number(token)) === token)
    } else {
      const string = JSON.parse(token) as string
      if (!string.isWellFormed()) return AMBIGUOUS
      if (!keyNext) continue
      const keys = open.at(-1) as Set<string>
      if (keys.has(string)) return AMBIGUOUS
      keys.add(string)
      keyNext = false
    }
  }
  return { ambiguous: false, exact }
}

/** A double holds at least fifteen digits: `1.0` and `1` are one number, wherever they are read. */
function isShort(digits: string): boolean {
  return digits.replace(/\D/g, '').length <= 15
}
