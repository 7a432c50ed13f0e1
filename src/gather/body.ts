import { Denied } from '../denied.ts'
import type { HeldRequest } from '../types.ts'
import { parseMultipart } from './multipart.ts'
import { parseForm } from './path.ts'

export interface ParsedBody {
  /** JSON text; `null` where there is nothing to read. */
  readonly parsedBody: string
  readonly truncatedBody: boolean
}

const NOTHING: ParsedBody = { parsedBody: 'null', truncatedBody: false }
const CUT: ParsedBody = { parsedBody: 'null', truncatedBody: true }
const DEEPEST = 64

/**
 * The body as opa-envoy-plugin gives it to policy, by content type: JSON, form and multipart form; anything else is not read.
 * A body that Envoy cut is not read either, and says so. JSON stays text, so that numbers keep every digit. Refuses
 * (`body_invalid`) what is not what its content type says, or is nested over 64 deep.
 */
export function parseBody(request: HeldRequest): ParsedBody {
  if (request.header('x-envoy-auth-partial-body').includes('true')) return CUT
  const contentType = request.header('content-type').join(',')
  const read = reader(contentType)
  if (!read) return NOTHING
  const { text, bytes } = request.body()
  if (bytes === 0) return NOTHING
  if (declaredLength(request) > bytes) return CUT
  return { parsedBody: read(text), truncatedBody: false }
}

/** By a part of the content type, lower-case as written, in this order: what users' policies were written against. */
function reader(contentType: string): ((text: string) => string) | undefined {
  if (contentType.includes('application/json')) return jsonText
  if (contentType.includes('application/x-www-form-urlencoded'))
    return text => JSON.stringify(parseForm(text, () => new Denied('body_invalid', 'form')))
  if (contentType.includes('multipart/form-data')) {
    const boundary = /;\s*boundary=(?:"([^"]*)"|([^\s;]*))/i.exec(contentType)
    if (!boundary) return undefined
    return text => parseMultipart(text, boundary[1] ?? boundary[2] ?? '', jsonText)
  }
  return undefined
}

function declaredLength(request: HeldRequest): number {
  const declared = request.header('content-length')
  if (declared.length === 0) return 0
  const text = declared.join(',')
  if (!/^[+-]?\d{1,15}$/.test(text)) throw new Denied('body_invalid', 'content-length')
  return Number(text)
}

/** The same text, once it is known to be one JSON document; lone surrogates, which the policy engine cannot take, replaced. */
function jsonText(text: string): string {
  try {
    JSON.parse(text)
  } catch {
    throw new Denied('body_invalid', 'JSON')
  }
  if (deepest(text) > DEEPEST) throw new Denied('body_invalid', 'nested too deep')
  return text.trim().replace(LONE_SURROGATES, half => (half.length === 6 ? '\\ufffd' : half))
}

/** Escapes of an escape and whole pairs match first and stay; what is left over are halves. */
const LONE_SURROGATES =
  /\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[dD][89a-fA-F][\da-fA-F]{2}/g

/** How deep arrays and objects are nested, in text that is JSON. */
function deepest(text: string): number {
  let depth = 0
  let most = 0
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]}]/g)) {
    if (token === '[' || token === '{') most = Math.max(most, ++depth)
    else if (token === ']' || token === '}') depth--
  }
  return most
}
