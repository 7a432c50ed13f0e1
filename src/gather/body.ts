import { Denied } from '../denied.ts'
import type { HeldRequest } from '../types.ts'
import { MOST_VALUES } from './bounds.ts'
import { parseForm } from './form.ts'
import { valuesWithinBounds } from './json-bounds.ts'
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

/** As opa-envoy-plugin finds it, which policies rely on: any part of the header, in lower case only. */
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
  'application/json': jsonReader,
  'application/x-www-form-urlencoded': () => text =>
    JSON.stringify(parseForm(text, () => new Denied('body_invalid', 'form'))),
  'multipart/form-data': contentType => multipartReader(contentType, jsonReader()),
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
 * take, replaced. The bound on values is one for all that one reader reads.
 */
function jsonReader(): Reader {
  let values = 0
  return text => {
    try {
      JSON.parse(text)
    } catch {
      throw new Denied('body_invalid', 'JSON')
    }
    values += valuesWithinBounds(text, MOST_VALUES - values)
    return text.trim().replace(LONE_SURROGATES, half => (half.length === 6 ? '\\ufffd' : half))
  }
}

/** Escapes of an escape and whole pairs match first and stay; what is left over are halves. */
const LONE_SURROGATES =
  /\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[dD][89a-fA-F][\da-fA-F]{2}/g
