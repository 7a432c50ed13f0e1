import { fieldsOf, type WireField, written } from '../unit/listen/wire/fields.ts'
import { CHECK_REQUEST, type Scalar, type Shape } from '../unit/listen/wire/shapes.ts'

/** What stands in place of a field; nothing where it is none that is to be changed. */
export type Change = (field: WireField, kind: Scalar | Shape) => readonly WireField[] | undefined

/**
 * For each field of a CheckRequest, at every level, the message with that field changed and all around it as
 * it was, by the names that lead there.
 */
export function changedEverywhere(request: Buffer, change: Change): [path: string, message: Buffer][] {
  const fields = fieldsOf(request, CHECK_REQUEST) as WireField[]
  return [...changedWithin(fields, CHECK_REQUEST, '', change)].map(([path, changed]) => [
    path,
    written(changed),
  ])
}

function* changedWithin(
  fields: readonly WireField[],
  shape: Shape,
  above: string,
  change: Change,
): Generator<[path: string, fields: WireField[]]> {
  for (const [at, field] of fields.entries()) {
    const [name, kind] = shape.fields[field.number] as Shape['fields'][number]
    const path = `${above}${name}${keyOf(field, kind)}`
    const changed = change(field, kind)
    if (changed) yield [path, fields.toSpliced(at, 1, ...changed)]
    if (typeof kind !== 'object') continue
    for (const [deeper, inner] of changedWithin(field.inner ?? [], kind, `${path}.`, change))
      yield [deeper, fields.with(at, { ...field, inner })]
  }
}

/** Of an entry of a map, or of a header in a list, which stand there many times. */
function keyOf({ inner: [key] = [] }: WireField, kind: Scalar | Shape): string {
  return typeof kind === 'object' && kind.fields[1]?.[0] === 'key' ? `[${key?.value}]` : ''
}
