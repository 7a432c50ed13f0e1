import { parseLossless } from '../lossless.ts'
import { isObject, type JsonObject } from '../types.ts'

const DEEPEST = 32
/** Each costs more than any other part of JSON, and real tokens have a few dozen. */
const MOST_NAMES = 400
/** Texts, brackets and commas; a list of 1,500 groups is the longest that fits. */
const MOST_MARKS = 3_072
/** The policy engine spells a number out, digit by digit. */
const LARGEST_EXPONENT = 999
/** Doubles below have fewer digits, and at last none. */
const SMALLEST_WHOLE = 2 ** -1022

/** A strict object, and the text that it was read from: the given one, its names spelt without escapes. */
export interface Strict {
  readonly object: JsonObject
  readonly text: string
}

/**
 * A JSON object that every reader reads alike: no key twice at any depth (RFC 7519, section 4), nesting up to
 * 32, no text with half a surrogate pair, no name that needs an escape; and that is read in no time, with at
 * most 400 names and about 1,500 values. Undefined otherwise. Numbers are doubles.
 */
export function readStrict(given: string): Strict | undefined {
  try {
    const text = given.isWellFormed() ? withPlainNames(given) : undefined
    if (text === undefined) return undefined
    const object: unknown = JSON.parse(text)
    return isObject(object) ? { object, text } : undefined
  } catch {
    return undefined
  }
}

export function strictObject(text: string): JsonObject | undefined {
  return readStrict(text)?.object
}

/**
 * Undefined where it is ambiguous. By hand and not by a pattern, since this is done for every token before
 * anything is believed of it. Looks at what stands where; whether it is JSON is for the parser. Throws where
 * a text has an escape that is none.
 */
function withPlainNames(text: string): string | undefined {
  let plain = ''
  let copied = 0
  const open: (Set<string> | undefined)[] = []
  let keyNext = false
  let names = 0
  let marks = 0
  for (let at = 0; at < text.length; at++) {
    if (!IS_MARK[text.charCodeAt(at)]) continue
    const mark = text[at] as string
    if (++marks > MOST_MARKS) return undefined
    if (mark === '"') {
      const end = endOfText(text, at)
      const escaped = text.slice(at, end)
      const string: string = escaped.includes('\\') ? JSON.parse(escaped) : escaped.slice(1, -1)
      if (!string.isWellFormed()) return undefined
      const keys = keyNext ? open.at(-1) : undefined
      if (keys?.has(string) || (keys && ++names > MOST_NAMES)) return undefined
      keys?.add(string)
      if (keys && string.length !== escaped.length - 2) {
        if (NEEDS_ESCAPE.test(string)) return undefined
        plain += `${text.slice(copied, at)}"${string}"`
        copied = end
      }
      keyNext = false
      at = end - 1
    } else if (mark === ',') keyNext = open.at(-1) !== undefined
    else if (mark === '{' || mark === '[') {
      keyNext = mark === '{'
      if (open.push(keyNext ? new Set() : undefined) > DEEPEST) return undefined
    } else {
      open.pop()
      keyNext = false
    }
  }
  return plain + text.slice(copied)
}

/**
 * V8 misreads names that have escapes: once `{"\\u0":1}` was parsed, which any client can send, `act` spelt
 * `\u0061ct` is read as a backslash, `u` and `0` (nodejs/node#63785).
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are among what JSON must escape.
const NEEDS_ESCAPE = /["\\\u0000-\u001f]/

const IS_MARK: readonly (boolean | undefined)[] = Array.from({ length: 128 }, (_, code) =>
  '"{[}],'.includes(String.fromCharCode(code)),
)

/** Behind the quotation mark that ends it: the next that no backslash escapes. */
function endOfText(text: string, start: number): number {
  for (let end = start + 1; end < text.length; end++)
    if (text[end] === '\\') end++
    else if (text[end] === '"') return end + 1
  return text.length
}

/**
 * The object that this text is, with every digit of its numbers: one that a double cannot hold is an opaque
 * object (`parseLossless`). Undefined with an exponent over 999. Only for text of a strict object.
 */
export function exactObject(text: string): JsonObject | undefined {
  if (!MAY_BE_INEXACT.test(text)) return JSON.parse(text)
  let endless = false
  const object = parseLossless(text, (number, source) => {
    const [digits = '', exponent = '0'] = source.split(/e/i)
    endless ||= Math.abs(Number(exponent)) > LARGEST_EXPONENT
    // A double holds fifteen digits, but of what is close to nothing: `1.0` and `1` are one number, wherever
    // they are read.
    const isWhole = Math.abs(number) >= SMALLEST_WHOLE || !/[1-9]/.test(digits)
    const isShort = isWhole && digits.replace(/\D/g, '').length <= 15
    return Number.isFinite(number) && (isShort || String(number) === source)
  })
  return endless ? undefined : (object as JsonObject)
}

/** Many digits or an exponent; within a text it means nothing, and costs nothing but time. */
const MAY_BE_INEXACT = /[\d.]{16}|\de/i
