/*
 * A CheckRequest as protobuf writes it down, read once more: from `proto/` and the encoding's specification, not from
 * the code. For changing messages, and for saying what they mean.
 */

export type Scalar = 'text' | 'bytes' | 'double' | 'int64' | 'int32' | 'uint32' | 'bool'

export interface Shape {
  readonly fields: { readonly [number: number]: Scalar | Shape }
  /** Repeated fields, maps, and what is not read as protobuf says: any other message that comes twice is merged. */
  readonly apart?: readonly number[]
  readonly oneOf?: readonly number[]
  /** A message that is there, and empty, where it is left out: the value of a map. */
  readonly implied?: number
  /** What may be nested only so deep. */
  readonly nests?: true
}

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

const struct: Shape = {
  get fields() {
    return { 1: { fields: { 1: 'text', 2: value }, apart: [2], implied: 2 } as Shape }
  },
  apart: [1],
  nests: true,
}
const list: Shape = {
  get fields() {
    return { 1: value }
  },
  apart: [1],
  nests: true,
}
const value: Shape = {
  fields: { 1: 'int32', 2: 'double', 3: 'text', 4: 'bool', 5: struct, 6: list },
  oneOf: [1, 2, 3, 4, 5, 6],
  apart: [5, 6],
}
const texts: Shape = { fields: { 1: 'text', 2: 'text' } }
const metadata: Shape = {
  fields: {
    1: { fields: { 1: 'text', 2: struct }, implied: 2 },
    2: { fields: { 1: 'text', 2: { fields: { 1: 'text', 2: 'bytes' } } }, implied: 2 },
  },
  apart: [1, 2],
}
const address: Shape = {
  fields: {
    1: {
      fields: { 1: 'int32', 2: 'text', 3: 'uint32', 4: 'text', 5: 'text', 6: 'bool' },
      oneOf: [3, 4],
    },
    2: { fields: { 1: 'text', 2: 'uint32' } },
    3: { fields: { 1: 'text', 2: 'text' } },
  },
  oneOf: [1, 2, 3],
}
const peer: Shape = {
  fields: { 1: address, 2: 'text', 3: texts, 4: 'text', 5: 'text' },
  apart: [3],
}
const header: Shape = { fields: { 1: 'text', 2: 'text', 3: 'bytes' } }
const http: Shape = {
  fields: {
    ...Object.fromEntries([1, 2, 4, 5, 6, 7, 8, 10, 11].map(number => [number, 'text'])),
    3: texts,
    9: 'int64',
    12: 'bytes',
    13: { fields: { 1: header }, apart: [1] },
  },
  apart: [3],
}
const time: Shape = { fields: { 1: 'int64', 2: 'int32' } }
export const CHECK_REQUEST: Shape = {
  fields: {
    1: {
      fields: {
        1: peer,
        2: peer,
        4: { fields: { 1: time, 2: http } },
        10: texts,
        11: metadata,
        12: { fields: { 1: 'text' } },
        13: metadata,
      },
      apart: [10],
    },
  },
}

const TYPES = { text: 2, bytes: 2, double: 1, int64: 0, int32: 0, uint32: 0, bool: 0 } as const
/** How a varint that is too long for its field is cut. */
const CUTS: { readonly [kind in Scalar]?: (value: bigint) => bigint } = {
  int64: value => value,
  int32: value => BigInt.asIntN(32, value),
  uint32: value => BigInt.asUintN(32, value),
  bool: value => (value === 0n ? 0n : 1n),
}
const DEEPEST = 64
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
    const kind = shape?.fields[number]
    const inner = type === 2 && typeof kind === 'object' ? fieldsOf(value, kind) : undefined
    fields.push({ number, type, value, ...(inner && { inner }) })
    at = to
  }
  return fields
}

/** Unsigned, of at most 64 bits. */
function varintAt(bytes: Buffer, from: number): { value: bigint; end: number } | undefined {
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

/** Whether a strict reader takes it: types right, texts whole, numbers finite, nothing nested too deep. */
export function isStrict(fields: readonly WireField[] | undefined, shape: Shape, depth = 0): boolean {
  if (!fields) return false
  return fields.every(({ number, type, value, inner }) => {
    const kind = shape.fields[number]
    if (kind === undefined) return true
    if (typeof kind === 'object') {
      const within = kind.nests ? depth + 1 : depth
      return type === 2 && within <= DEEPEST + 1 && isStrict(inner, kind, within)
    }
    if (type !== TYPES[kind]) return false
    if (kind === 'text') return !value.toString('utf8').includes('\ufffd') || isWholeText(value)
    return kind !== 'double' || Number.isFinite(value.readDoubleLE())
  })
}

/** Where a replacement character may have been written by its sender. */
function isWholeText(value: Buffer): boolean {
  return Buffer.from(value.toString('utf8')).equals(value)
}

/**
 * The same message in a form that all readers read alike: a single message that comes twice is one with the fields of
 * both, of a oneof the last member alone is left.
 */
export function settled(fields: readonly WireField[], shape: Shape): WireField[] {
  let kept: WireField[] = []
  for (const field of fields) {
    const { number } = field
    if (shape.oneOf?.includes(number))
      kept = kept.filter(other => other.number === number || !shape.oneOf?.includes(other.number))
    const before = kept.find(other => other.number === number)
    if (before?.inner && field.inner && !shape.apart?.includes(number))
      before.inner = [...before.inner, ...field.inner]
    else kept.push({ ...field })
  }
  const { implied } = shape
  if (implied !== undefined && !kept.some(({ number }) => number === implied))
    kept.push({ number: implied, type: 2, value: NOTHING })
  return kept.map(field => {
    const kind = shape.fields[field.number]
    if (typeof kind === 'object') return { ...field, inner: settled(field.inner ?? [], kind) }
    const cut = kind && CUTS[kind]
    return cut ? { ...field, value: varint(cut(varintAt(field.value, 0)?.value as bigint)) } : field
  })
}
