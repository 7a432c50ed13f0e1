import { checkRequest } from '../../src/listen/wire/check-request.ts'
import {
  bool,
  enumeration,
  type Fields,
  type Kind,
  map,
  message,
  struct,
  text,
} from '../../src/listen/wire/message.ts'
import * as write from '../../src/listen/wire/writer.ts'

/** One field of a message on the wire. */
export interface Part {
  readonly field: number
  /** Protobuf's wire type. */
  readonly type: number
  readonly kind: Kind
  /** The whole field: its key, its length, its content. */
  readonly bytes: Buffer
}

type Placed = Part & {
  readonly name: string
  readonly from: number
  readonly to: number
  readonly content: Buffer
}

const valueFields: Fields = {
  1: ['nullValue', enumeration('NULL_VALUE')],
  3: ['stringValue', text],
  4: ['boolValue', bool],
  5: ['structValue', struct],
}
const structFields: Fields = { 1: ['fields', map(message(valueFields))] }

/**
 * For each field of a CheckRequest, at every level, the message with that field changed and all around it as
 * it was, by the names that lead there. Where `change` gives nothing there is no such message.
 */
export function changedEverywhere(
  request: Buffer,
  change: (part: Part) => Buffer | undefined,
): [path: string, message: Buffer][] {
  return [...changedWithin(request, checkRequest, '', change)]
}

function* changedWithin(
  bytes: Buffer,
  fields: Fields,
  above: string,
  change: (part: Part) => Buffer | undefined,
): Generator<[path: string, message: Buffer]> {
  for (const part of partsOf(bytes, fields)) {
    const path = `${above}${part.name}`
    const within = (changed: Buffer) =>
      Buffer.concat([bytes.subarray(0, part.from), changed, bytes.subarray(part.to)])
    const changed = change(part)
    if (changed) yield [path, within(changed)]
    const inner = fieldsOf(part.kind)
    if (inner)
      for (const [deeper, content] of changedWithin(part.content, inner, `${path}.`, change))
        yield [deeper, within(write.message(part.field, content))]
  }
}

function fieldsOf(kind: Kind): Fields | undefined {
  if (kind.kind === 'message' || kind.kind === 'list') return kind.fields
  if (kind.kind === 'map') return { 1: ['key', text], 2: ['value', kind.value] }
  return kind.kind === 'struct' ? structFields : undefined
}

/** The fields of a message that is well-formed, those that are known by their names. */
function* partsOf(bytes: Buffer, fields: Fields): Generator<Placed> {
  let at = 0
  const varint = () => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++] as number
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
  }
  while (at < bytes.length) {
    const from = at
    const key = varint()
    const [field, type] = [key >> 3, key & 7]
    const length = type === 2 ? varint() : 0
    const begin = at
    if (type === 0) varint()
    else at += type === 1 ? 8 : length
    const known = fields[field]
    if (!known) continue
    const [name, kind] = known
    const content = bytes.subarray(begin, at)
    const repeated = kind.kind === 'map' || kind.kind === 'list'
    yield {
      field,
      type,
      kind,
      name: repeated ? `${name}[${firstText(content)}]` : name,
      bytes: bytes.subarray(from, at),
      content,
      from,
      to: at,
    }
  }
}

/** Of an entry of a map, or of a header in a list: its key. */
function firstText(entry: Buffer): string {
  return entry.subarray(2, 2 + (entry[1] as number)).toString()
}
