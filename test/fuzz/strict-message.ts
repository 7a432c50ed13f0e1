import { varint, varintAt, type WireField } from '../unit/listen/wire/fields.ts'
import type { Scalar, Shape } from '../unit/listen/wire/shapes.ts'

/* What a message means, and whether it means anything: by the encoding's specification, not from the code. */

const TYPES = { text: 2, bytes: 2, double: 1, int64: 0, int32: 0, uint32: 0, bool: 0 } as const
/** How a varint that is too long for its field is cut. */
const CUTS: { readonly [kind in Scalar]?: (value: bigint) => bigint } = {
  int64: value => value,
  int32: value => BigInt.asIntN(32, value),
  uint32: value => BigInt.asUintN(32, value),
  bool: value => (value === 0n ? 0n : 1n),
}
const DEEPEST = 64

/** Whether a strict reader takes it: types right, texts whole, numbers finite, nothing nested too deep. */
export function isStrict(fields: readonly WireField[] | undefined, shape: Shape, depth = 0): boolean {
  if (!fields) return false
  return fields.every(({ number, type, value, inner }) => {
    const kind = shape.fields[number]?.[1]
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
    kept.push({ number: implied, type: 2, value: Buffer.alloc(0) })
  return kept.map(field => {
    const kind = shape.fields[field.number]?.[1]
    if (typeof kind === 'object') return { ...field, inner: settled(field.inner ?? [], kind) }
    const cut = kind && CUTS[kind]
    return cut ? { ...field, value: varint(cut(varintAt(field.value, 0)?.value as bigint)) } : field
  })
}
