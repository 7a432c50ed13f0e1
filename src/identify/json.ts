import type { JsonObject } from '../types.ts'

const DEEPEST = 32

/**
 * A JSON object that every reader reads alike: no key twice at any depth (RFC 7519, section 4, and RFC 8725,
 * section 2.6), nesting up to 32, no text with half a surrogate pair. Undefined otherwise. Numbers are
 * doubles.
 */
export function strictObject(text: string): JsonObject | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return isUnambiguous(text) ? (value as JsonObject) : undefined
}

/** Only for text that is JSON: what a string means then follows from the token before it. */
function isUnambiguous(text: string): boolean {
  const open: (Set<string> | undefined)[] = []
  let keyNext = false
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]},]/g)) {
    if (token === '{' || token === '[') {
      open.push(token === '{' ? new Set() : undefined)
      keyNext = token === '{'
      if (open.length > DEEPEST) return false
    } else if (token === '}' || token === ']') {
      open.pop()
      keyNext = false
    } else if (token === ',') keyNext = open.at(-1) !== undefined
    else {
      const string = JSON.parse(token) as string
      if (!string.isWellFormed()) return false
      if (!keyNext) continue
      const keys = open.at(-1) as Set<string>
      if (keys.has(string)) return false
      keys.add(string)
      keyNext = false
    }
  }
  return true
}
