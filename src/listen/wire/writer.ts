import type { Json, JsonObject } from '../../types.ts'

/* The smallest protobuf writer: every function gives the bytes of one field, to be joined by `Buffer.concat`. */

export function varint(field: number, value: number): Buffer {
  return Buffer.from([...varintBytes(field << 3), ...varintBytes(value)])
}

export function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([...varintBytes((field << 3) | 2), ...varintBytes(value.length)]), value])
}

export function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value))
}

export function message(field: number, ...fields: readonly Buffer[]): Buffer {
  return bytes(field, Buffer.concat(fields))
}

/** `google.protobuf.Struct`. */
export function struct(field: number, value: JsonObject): Buffer {
  const entries = Object.entries(value).map(([key, item]) => message(1, text(1, key), valueField(2, item)))
  return message(field, ...entries)
}

/** `google.protobuf.Value`. */
function valueField(field: number, value: Json): Buffer {
  if (value === null) return message(field, varint(1, 0))
  switch (typeof value) {
    case 'number': {
      const double = Buffer.alloc(9)
      double[0] = (2 << 3) | 1
      double.writeDoubleLE(value, 1)
      return message(field, double)
    }
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
