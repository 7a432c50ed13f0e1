import type { Json, JsonObject } from '../../types.ts'

/*
 * The smallest protobuf writer: every function gives the bytes of one field, to be joined by `Buffer.concat`. What is not
 * of the type that it claims throws, since `Buffer.from` would make bytes of nearly anything.
 */

export function varint(field: number, value: number): Buffer {
  return Buffer.from([...varintBytes(field << 3), ...varintBytes(value)])
}

export function text(field: number, value: string): Buffer {
  if (typeof value !== 'string') throw new TypeError('not a text')
  return delimited(field, Buffer.from(value))
}

export function message(field: number, ...fields: readonly Buffer[]): Buffer {
  return delimited(field, Buffer.concat(fields))
}

/** `google.protobuf.Struct`. */
export function struct(field: number, value: JsonObject): Buffer {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TypeError('not an object')
  const entries = Object.entries(value).map(([key, item]) => message(1, text(1, key), valueField(2, item)))
  return message(field, ...entries)
}

/** `google.protobuf.Value`. */
function valueField(field: number, value: Json): Buffer {
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
        ? message(field, message(6, ...value.map(item => valueField(1, item))))
        : message(field, struct(5, value as JsonObject))
  }
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
