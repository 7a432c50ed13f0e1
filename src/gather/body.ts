import { Denied } from '../denied.ts'
import type { HeldRequest } from '../types.ts'
import { DEEPEST, LARGEST_EXPONENT, MOST_NAMES } from './bounds.ts'
import { parseForm } from './form.ts'
import { multipartReader } from './multipart.ts'

export interface ParsedBody {
  /** JSON text; `null` where there is nothing to read. */
  readonly parsedBody: string
  readonly truncatedBody: boolean
}

const NOTHING: ParsedBody = { parsedBody: 'null', truncatedBody: false }
const CUT: ParsedBody = { parsedBody: 'null', truncatedBody: true }

/**
 * The body as opa-envoy-plugin gives it to policy, by content type: JSON, form and multipart form; anything
 * else is not read. A body that Envoy cut is not read either, and says so. JSON stays text, so that numbers
 * keep every digit. Refuses (`body_invalid`) what is not what its content type says, a type that readers
 * could take for two, and what is beyond `bounds.ts`.
 */
export function parseBody(request: HeldRequest): ParsedBody {
  if (request.header('x-envoy-auth-partial-body').includes('true')) return CUT
  const read = reader(request.header('content-type').join(','))
  if (!read) return NOTHING
  const { text, bytes } = request.body()
  if (bytes === 0) return NOTHING
  if (declaredLength(request) > bytes) return CUT
  return { parsedBody: read(text), truncatedBody: false }
}

type Reader = (text: string) => string

/**
 * As opa-envoy-plugin finds it, which policies rely on: the type is any part of the header, in lower case
 * only.
 */
function reader(contentType: string): Reader | undefined {
  const kinds = Object.keys(READERS).filter(kind => contentType.includes(kind))
  const [kind] = kinds
  if (kind === undefined) return undefined
  // A comma outside quotes: several headers, or what looks like it.
  if (kinds.length > 1 || contentType.replace(/"[^"]*"/g, '').includes(','))
    throw new Denied('body_invalid', 'content-type')
  return READERS[kind]?.(contentType)
}

const READERS: { readonly [kind: string]: (contentType: string) => Reader | undefined } = {
  'application/json': () => jsonText,
  'application/x-www-form-urlencoded': () => text =>
    JSON.stringify(parseForm(text, () => new Denied('body_invalid', 'form'))),
  'multipart/form-data': contentType => multipartReader(contentType, jsonText),
}

function declaredLength(request: HeldRequest): number {
  const declared = request.header('content-length')
  if (declared.length === 0) return 0
  const text = declared.join(',')
  if (!/^[+-]?\d{1,15}$/.test(text)) throw new Denied('body_invalid', 'content-length')
  return Number(text)
}

/**
 * The same text, once it is known to be one JSON document; lone surrogates, which the policy engine cannot
 * take, replaced.
 */
function jsonText(text: string): string {
  try {
    JSON.parse(text)
  } catch {
    throw new Denied('body_invalid', 'JSON')
  }
  insistOnBounds(text)
  return text.trim().replace(LONE_SURROGATES, half => (half.length === 6 ? '\\ufffd' : half))
}

/** Escapes of an escape and whole pairs match first and stay; what is left over are halves. */
const LONE_SURROGATES =
  /\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[dD][89a-fA-F][\da-fA-F]{2}/g

/**
 * Of text that is JSON: outside strings, a colon follows a name, and an `e` before a digit is an exponent's.
 */
function insistOnBounds(text: string): void {
  const open: { names: number }[] = []
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]}:]|[eE][+-]?\d+/g)) {
    if (token === '[' || token === '{') {
      if (open.push({ names: 0 }) > DEEPEST) throw new Denied('body_invalid', 'nested too deep')
    } else if (token === ']' || token === '}') open.pop()
    else if (token === ':') {
      const object = open.at(-1) as { names: number }
      if (++object.names > MOST_NAMES) throw new Denied('body_invalid', 'too many names')
    } else if (!token.startsWith('"') && Math.abs(Number(token.slice(1))) > LARGEST_EXPONENT)
      throw new Denied('body_invalid', 'a number out of range')
  }
}
