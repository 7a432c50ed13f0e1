import { Denied } from '../denied.ts'
import { MOST_FIELDS, MOST_NAMES, MOST_PARAMETERS } from './bounds.ts'
import { parseParameters } from './parameters.ts'

/** By which a part's bytes are what they are; another coding hides them from us, not from every upstream. */
const PLAIN_ENCODINGS: readonly string[] = ['7bit', '8bit', 'binary']

/**
 * The fields of a multipart form (RFC 7578) as JSON text: lists by name; a part whose type is JSON is read as
 * JSON, any other is text. File names are ignored, parts without a name skipped. `contentType` names the
 * boundary; undefined where it has none. Refuses (`body_invalid`) a form that is not closed, what is beyond
 * `bounds.ts`, and every spelling that readers are known to take differently.
 */
export function multipartReader(
  contentType: string,
  jsonText: (text: string) => string,
): ((text: string) => string) | undefined {
  const type = parseParameters(contentType)
  if (!type) return () => refuse()
  const boundary = type.parameters.get('boundary')
  if (boundary === undefined) return undefined
  return boundary === '' ? () => refuse() : text => fieldsOf(text, boundary, jsonText)
}

function fieldsOf(text: string, boundary: string, jsonText: (text: string) => string): string {
  const [, ...parts] = `\r\n${text}`.split(`\r\n--${boundary}`)
  if (parts.length > MOST_FIELDS + 1) refuse()
  const closing = parts.pop()
  if (closing === undefined || !/^--[ \t]*(\r\n|$)/.test(closing)) refuse()
  const fields = new Map<string, string[]>()
  for (const part of parts) {
    const start = /^[ \t]*\r\n/.exec(part)?.[0].length ?? refuse()
    const end = part.indexOf('\r\n\r\n', start - 2)
    if (end < 0) refuse()
    const headers = partHeaders(part.slice(start, end))
    const name = partName(headers)
    if (name === '') continue
    const content = part.slice(end + 4)
    const value = headers.get('content-type')?.includes('application/json')
      ? jsonText(content)
      : JSON.stringify(content)
    const values = fields.get(name)
    if (values) values.push(value)
    else if (fields.set(name, [value]).size > MOST_NAMES) refuse()
  }
  return `{${[...fields].map(([name, values]) => `${JSON.stringify(name)}:[${values.join(',')}]`).join(',')}}`
}

function partHeaders(text: string): Map<string, string> {
  const headers = new Map<string, string>()
  const lines = text === '' ? [] : text.split('\r\n', MOST_PARAMETERS + 1)
  if (lines.length > MOST_PARAMETERS) refuse()
  for (const line of lines) {
    // No fold, no stray CR or LF: `.` takes neither. Spaces later: `[ \t]*(.*)$` would try every split.
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/.exec(line) ?? refuse()
    const key = (name as string).toLowerCase()
    if (headers.has(key)) refuse()
    headers.set(key, (value as string).replace(/^[ \t]+/, ''))
  }
  if (!PLAIN_ENCODINGS.includes(headers.get('content-transfer-encoding')?.trim().toLowerCase() ?? 'binary'))
    refuse()
  return headers
}

/** Empty where it has none. */
function partName(headers: ReadonlyMap<string, string>): string {
  const disposition = headers.get('content-disposition')
  if (disposition === undefined) return ''
  const { value, parameters } = parseParameters(disposition) ?? refuse()
  if (value !== 'form-data') refuse()
  return parameters.get('name') ?? ''
}

function refuse(): never {
  throw new Denied('body_invalid', 'multipart form')
}
