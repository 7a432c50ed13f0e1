/*
 * JSON read by its grammar (RFC 8259), slowly and strictly, from the texts and not from the code: what is said twice,
 * how deep and how much there is, and which number it is, not which double.
 */

export interface Reading {
  /** Numbers as `decimal` writes them, each in an object of its own. */
  readonly value: unknown
  readonly repeatsName: boolean
  readonly depth: number
  readonly names: number
  /** Of one object. */
  readonly mostNames: number
  /** Texts, brackets, braces and commas. */
  readonly marks: number
  readonly largestExponent: number
  /** A quotation mark, a backslash or a control character stands in a name. */
  readonly namesNeedEscapes: boolean
  /** Half of a surrogate pair stands alone. */
  readonly broken: boolean
}

/** Undefined where the text is no JSON. */
export function readJson(text: string): Reading | undefined {
  let at = 0
  let marks = 0
  let names = 0
  let mostNames = 0
  let deepest = 0
  let repeatsName = false
  let namesNeedEscapes = false
  let broken = !text.isWellFormed()
  let largestExponent = 0

  class NoJson extends Error {}
  const take = (pattern: RegExp): string => {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0]
    if (found === undefined) throw new NoJson()
    at += found.length
    return found
  }
  const next = (wanted: string): boolean => {
    take(SPACE)
    if (text[at] !== wanted) return false
    at++
    marks++
    return true
  }

  const string = (): string => {
    take(SPACE)
    const read = take(STRING)
      .slice(1, -1)
      .replace(ESCAPE, (_, hex: string | undefined, short: string) =>
        hex === undefined ? (SHORT[short] ?? short) : String.fromCharCode(Number.parseInt(hex, 16)),
      )
    marks++
    if (!read.isWellFormed()) broken = true
    return read
  }

  const value = (depth: number): unknown => {
    deepest = Math.max(deepest, depth)
    if (next('{')) {
      const members = new Map<string, unknown>()
      if (next('}')) return members
      let own = 0
      do {
        const name = string()
        names++
        mostNames = Math.max(mostNames, ++own)
        if (members.has(name)) repeatsName = true
        if (JSON.stringify(name) !== `"${name}"`) namesNeedEscapes = true
        take(COLON)
        members.set(name, value(depth + 1))
      } while (next(','))
      if (!next('}')) throw new NoJson()
      return members
    }
    if (next('[')) {
      const items: unknown[] = []
      if (next(']')) return items
      do items.push(value(depth + 1))
      while (next(','))
      if (!next(']')) throw new NoJson()
      return items
    }
    if (text[at] === '"') return string()
    const word = take(WORD)
    if (word in WORDS) return WORDS[word]
    largestExponent = Math.max(largestExponent, Math.abs(Number(/e(.*)/i.exec(word)?.[1] ?? 0)))
    return { number: decimal(word) }
  }

  try {
    const read = value(0)
    take(SPACE)
    if (at < text.length) return undefined
    return {
      value: read,
      repeatsName,
      depth: deepest,
      names,
      mostNames,
      marks,
      largestExponent,
      namesNeedEscapes,
      broken,
    }
  } catch (error) {
    if (error instanceof NoJson) return undefined
    throw error
  }
}

const SPACE = /[ \t\n\r]*/y
const COLON = /[ \t\n\r]*:/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not stand in a text.
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/y
const ESCAPE = /\\(?:u([\da-fA-F]{4})|(.))/g
const WORD = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORDS: { readonly [word: string]: unknown } = { true: true, false: false, null: null }
const SHORT: { readonly [letter: string]: string } = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

/** One spelling for each number: `1.50e1` and `15` are `15e0`. */
export function decimal(source: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e(.*))?$/i.exec(source) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  if (digits === '') return '0'
  const kept = digits.replace(/0+$/, '')
  return `${sign}${kept}e${BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - kept.length)}`
}
