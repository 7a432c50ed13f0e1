import type { Shape } from './shapes.ts'

/* A message as protobuf writes it down, field by field, for tests that change it. */

/** One field: `value` is what it holds, without its length. */
export interface WireField {
  number: number
  type: number
  value: Buffer
  /** In place of the value, where it is a message. */
  inner?: WireField[]
  /** Bytes more than a length or key needs. */
  padding?: number
  /** What its length says too much. */
  lie?: number
}

const NOTHING = Buffer.alloc(0)
const SHORT = Array.from({ length: 0x80 }, (_, byte) => Buffer.of(byte))

/** The fields of a message; undefined where these bytes are none. Those that hold messages are read too. */
export function fieldsOf(bytes: Buffer, shape: Shape | undefined): WireField[] | undefined {
  const fields: WireField[] = []
  for (let at = 0; at < bytes.length; ) {
    const key = varintAt(bytes, at)
    if (!key || key.value > 0xffffffffn || key.value < 8n) return undefined
    const number = Number(key.value >> 3n)
    const type = Number(key.value & 7n)
    let from = key.end
    let to = from
    if (type === 0) to = varintAt(bytes, from)?.end ?? Number.NaN
    else if (type === 1) to = from + 8
    else if (type === 5) to = from + 4
    else if (type === 2) {
      const length = varintAt(bytes, from)
      if (!length) return undefined
      from = length.end
      to = from + Number(length.value)
    } else return undefined
    if (!(to <= bytes.length)) return undefined
    const value = bytes.subarray(from, to)
    const kind = shape?.fields[number]?.[1]
    const inner = type === 2 && typeof kind === 'object' ? fieldsOf(value, kind) : undefined
    fields.push({ number, type, value, ...(inner && { inner }) })
    at = to
  }
  return fields
}

/** Unsigned, of at most 64 bits. */
export function varintAt(bytes: Buffer, from: number): { value: bigint; end: number } | undefined {
  const first = bytes[from]
  if (first !== undefined && first < 0x80) return { value: BigInt(first), end: from + 1 }
  let value = 0n
  for (let at = from; at < Math.min(bytes.length, from + 10); at++) {
    const byte = bytes[at] as number
    if (at === from + 9 && byte > 1) return undefined
    value |= BigInt(byte & 0x7f) << BigInt(7 * (at - from))
    if (byte < 0x80) return { value, end: at + 1 }
  }
  return undefined
}

export function written(fields: readonly WireField[]): Buffer {
  const pieces: Buffer[] = []
  put(fields, pieces)
  return Buffer.concat(pieces)
}

/** Gives the bytes that it has put. */
function put(fields: readonly WireField[], pieces: Buffer[]): number {
  let total = 0
  for (const { number, type, value, inner, padding = 0, lie = 0 } of fields) {
    const key = varint(number < 16 ? number * 8 + type : (BigInt(number) << 3n) | BigInt(type), padding)
    const length = pieces.push(key, NOTHING) - 1
    const content = inner ? put(inner, pieces) : value.length
    if (!inner) pieces.push(value)
    const prefix = type === 2 ? varint(content + lie, padding) : NOTHING
    pieces[length] = prefix
    total += key.length + prefix.length + content
  }
  return total
}

export function varint(value: bigint | number, padding = 0): Buffer {
  if (padding === 0 && value >= 0 && value < 0x80) return SHORT[Number(value)] as Buffer
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  bytes.push(Number(rest))
  for (let i = 0; i < padding && bytes.length < 10; i++) {
    bytes[bytes.length - 1] = (bytes.at(-1) as number) | 0x80
    bytes.push(0)
  }
  return Buffer.from(bytes)
}
