import { DEEPEST_METADATA, type Json, type JsonObject } from '../../types.ts'

/*
 * The smallest protobuf writer: every function gives the bytes of one field, to be joined by
 * `Buffer.concat`. What is not of the type that it claims throws, since `Buffer.from` would make bytes of
 * nearly anything.
 */

export function varint(field: number, value: number): Buffer {
  return Buffer.from([...varintBytes(field << 3), ...varintBytes(value)])
}

export function text(field: number, value: string): Buffer {
  if (typeof value !== 'string' || !value.isWellFormed()) throw new TypeError('not a text')
  return delimited(field, Buffer.from(value))
}

export function message(field: number, ...fields: readonly Buffer[]): Buffer {
  return delimited(field, Buffer.concat(fields))
}

/**
 * `google.protobuf.Struct`: plain objects and lists, at most 32 inside one another; what Envoy cannot read,
 * `failure_mode_allow` lets through.
 */
export function struct(field: number, value: JsonObject): Buffer {
  return structField(field, value, 1)
}

function structField(field: number, value: JsonObject, depth: number): Buffer {
  if (depth > DEEPEST_METADATA) throw new RangeError('too deep')
  if (!isPlainObject(value)) throw new TypeError('not an object')
  const entries = Object.entries(value).map(([key, item]) =>
    message(1, text(1, key), valueField(2, item, depth + 1)),
  )
  return message(field, ...entries)
}

/** No Map, no Date, no boxed text: they have members that are not seen here. */
function isPlainObject(value: unknown): value is JsonObject {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** `google.protobuf.Value`. */
function valueField(field: number, value: Json, depth: number): Buffer {
  if (value === null) return message(field, varint(1, 0))
  switch (typeof value) {
    case 'number':
      return message(field, double(2, value))
    case 'string':
      return message(field, text(3, value))
    case 'boolean':
      return message(field, varint(4, value ? 1 : 0))
    default:
      return Array.isArray(value)
        ? message(field, listField(6, value, depth))
        : message(field, structField(5, value as JsonObject, depth))
  }
}

/** `google.protobuf.ListValue`. */
function listField(field: number, values: readonly Json[], depth: number): Buffer {
  if (depth > DEEPEST_METADATA) throw new RangeError('too deep')
  return message(field, ...values.map(item => valueField(1, item, depth + 1)))
}

function double(field: number, value: number): Buffer {
  // JSON has no such number, and Envoy could not write it into its access log.
  if (!Number.isFinite(value)) throw new RangeError('not a finite number')
  const bytes = Buffer.alloc(9)
  bytes[0] = (field << 3) | 1
  bytes.writeDoubleLE(value, 1)
  return bytes
}

function delimited(field: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([...varintBytes((field << 3) | 2), ...varintBytes(value.length)]), value])
}

function varintBytes(value: number): number[] {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError('not an unsigned integer')
  const out: number[] = []
  let rest = value
  while (rest > 0x7f) {
    out.push((rest % 128) | 0x80)
    rest = Math.floor(rest / 128)
  }
  out.push(rest)
  return out
}
