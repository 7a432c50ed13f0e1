import {
  DEEPEST_METADATA,
  type Field,
  isObject,
  type Json,
  type JsonObject,
  trustedHeaderLike,
} from '../types.ts'

/** A result that is not what it must be. The message is a constant phrase: the name of the key. */
export class Malformed extends Error {}

export function optional<T>(value: Json | undefined, absent: T, read: (value: Json) => T): T {
  return value === undefined ? absent : read(value)
}

export function text(value: Json | undefined, key: string): string {
  if (typeof value !== 'string' || !value.isWellFormed()) throw new Malformed(key)
  return value
}

export function texts(value: Json, key: string): string[] {
  if (!Array.isArray(value)) throw new Malformed(key)
  return value.map((item: Json) => text(item, key))
}

/** `{name: text or list of texts}`; undefined is none. */
function fields(value: Json | undefined, key: string): Field[] {
  return optional(value, [], given => {
    if (!isObject(given)) throw new Malformed(key)
    return Object.entries(given).flatMap(([name, item]) =>
      (Array.isArray(item) ? texts(item, key) : [text(item, key)]).map((one): Field => [name, one]),
    )
  })
}

/**
 * Headers: the same, or a list of such objects. Names in lower case; names and values as RFC 9110, sections
 * 5.1 and 5.5.
 */
export function headerFields(value: Json | undefined, key: string): Field[] {
  const all = Array.isArray(value) ? value.flatMap((item: Json) => fields(item, key)) : fields(value, key)
  return all.map(([name, one]) => {
    if (/[^\t\x20-\x7e\x80-\u{10ffff}]/u.test(one)) throw new Malformed(key)
    return [headerName(name, key), one]
  })
}

export function headerNames(value: Json | undefined, key: string): string[] {
  return optional(value, [], given => texts(given, key)).map(name => headerName(name, key))
}

/**
 * Not policy's: a trusted header in any spelling, and what Envoy routes by (`host`; a pseudo header is no
 * token).
 */
function headerName(given: string, key: string): string {
  // Before it is lowered: the Kelvin sign becomes a k.
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(given)) throw new Malformed(key)
  const name = given.toLowerCase()
  if (trustedHeaderLike(name) !== undefined || name === 'host')
    throw new Malformed('a header that is not policy’s')
  return name
}

/**
 * Query parameters go into the path as they are: nothing that ends a parameter, the query or the request
 * line.
 */
export function queryFields(value: Json | undefined, key: string): Field[] {
  const all = fields(value, key)
  if (all.some(([name, one]) => !/^[!-~]*$/.test(name + one) || /[&#=]/.test(name) || /[&#]/.test(one)))
    throw new Malformed(key)
  return all
}

/**
 * What may become a `google.protobuf.Struct`: objects and lists at most 32 inside one another, finite
 * numbers, whole characters.
 */
export function metadata(value: Json, key: string): JsonObject {
  if (!isObject(value) || !isEncodable(value, 1)) throw new Malformed(key)
  return value
}

function isEncodable(value: Json, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value === 'string') return value.isWellFormed()
  if (typeof value !== 'object' || value === null) return true
  if (depth > DEEPEST_METADATA) return false
  return Object.entries(value).every(([name, item]) => name.isWellFormed() && isEncodable(item, depth + 1))
}
