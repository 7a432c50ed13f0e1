import { Denied } from '../../denied.ts'
import type { Json } from '../../types.ts'
import type { Reader } from './reader.ts'

/** A message under construction, without a prototype: a key named `__proto__` is a key like any other. */
export type Draft = { [key: string]: Json | Draft | Draft[] }

type Scalar = 'text' | 'bytes' | 'int64' | 'uint32' | 'int32' | 'bool'

export type Kind =
  | { readonly kind: Scalar }
  | { readonly kind: 'enum'; readonly names: readonly string[] }
  | { readonly kind: 'message'; readonly fields: Fields }
  | { readonly kind: 'list'; readonly fields: Fields }
  | { readonly kind: 'map'; readonly value: Kind }
  | { readonly kind: 'struct' }

/** The JSON name of a field, how to read it, and the other members of its oneof. */
type Field = readonly [name: string, kind: Kind, others?: readonly string[]]

/** A message's fields by number. */
export type Fields = { readonly [number: number]: Field }

export const text: Kind = { kind: 'text' }
export const bytes: Kind = { kind: 'bytes' }
export const int64: Kind = { kind: 'int64' }
export const uint32: Kind = { kind: 'uint32' }
export const int32: Kind = { kind: 'int32' }
/** Read as its number, since proto3 keeps unknown values; the names are those of 0, 1 and so on. */
export const enumeration = (...names: readonly string[]): Kind => ({ kind: 'enum', names })
export const bool: Kind = { kind: 'bool' }
/** `google.protobuf.Struct`, as the plain JSON that it stands for. */
export const struct: Kind = { kind: 'struct' }
export const message = (fields: Fields): Kind => ({ kind: 'message', fields })
export const list = (fields: Fields): Kind => ({ kind: 'list', fields })
export const map = (value: Kind): Kind => ({ kind: 'map', value })

const DEEPEST_STRUCT = 64

export function empty(): Draft {
  return Object.create(null) as Draft
}

/**
 * Reads a message into plain JSON: names in lowerCamelCase, integers and enums as numbers, bytes in base64,
 * values equal to their default left out, a message that is present but empty kept as `{}`. A message that
 * comes twice is merged; of a single value, and of a oneof, the last one counts.
 */
export function readMessage(fields: Fields, reader: Reader, into: Draft = empty()): Draft {
  for (let next = reader.next(); next; next = reader.next()) {
    const known = fields[next.field]
    if (known) readField(known, next.type, reader, into)
    else reader.skip(next.type)
  }
  return into
}

function readField([name, kind, others]: Field, type: number, reader: Reader, into: Draft): void {
  if (type !== wireType(kind)) throw malformed()
  if (others) for (const other of others) delete into[other]
  switch (kind.kind) {
    case 'message':
      into[name] = readMessage(kind.fields, reader.message(), (into[name] as Draft | undefined) ?? empty())
      return
    case 'struct':
      into[name] = readStruct(reader.message(), (into[name] as Draft | undefined) ?? empty(), 0)
      return
    case 'list': {
      const items = (into[name] as Draft[] | undefined) ?? []
      items.push(readMessage(kind.fields, reader.message()))
      into[name] = items
      return
    }
    case 'map': {
      const entries = (into[name] as Draft | undefined) ?? empty()
      readEntry(kind.value, reader.message(), entries)
      into[name] = entries
      return
    }
    default: {
      const value = readScalar(kind.kind, reader)
      if (value === '' || value === 0 || value === false) delete into[name]
      else into[name] = value
    }
  }
}

function wireType({ kind }: Kind): number {
  const varint =
    kind === 'int64' || kind === 'uint32' || kind === 'int32' || kind === 'enum' || kind === 'bool'
  return varint ? 0 : 2
}

function readScalar(kind: Scalar | 'enum', reader: Reader): string | number | boolean {
  switch (kind) {
    case 'text':
      return reader.text()
    case 'bytes':
      return reader.bytes().toString('base64')
    case 'int64':
      return reader.int64()
    case 'uint32':
      return reader.low32()
    case 'int32':
    case 'enum':
      return reader.low32() | 0
    case 'bool':
      return reader.varint() !== 0
  }
}

/** One entry of a map: key and value are fields 1 and 2, either of which may be left out. */
function readEntry(value: Kind, reader: Reader, into: Draft): void {
  const entry = readMessage({ 1: ['key', text], 2: ['value', value] }, reader)
  const missing = value.kind === 'text' ? '' : empty()
  into[(entry.key as string | undefined) ?? ''] = entry.value ?? missing
}

function readStruct(reader: Reader, into: Draft, depth: number): Draft {
  if (depth > DEEPEST_STRUCT) throw malformed()
  for (let next = reader.next(); next; next = reader.next()) {
    if (next.field !== 1) {
      reader.skip(next.type)
      continue
    }
    if (next.type !== 2) throw malformed()
    const entry = reader.message()
    let key = ''
    let value: Json | Draft = null
    for (let part = entry.next(); part; part = entry.next()) {
      if (part.field > 2) entry.skip(part.type)
      else if (part.type !== 2) throw malformed()
      else if (part.field === 1) key = entry.text()
      else value = readValue(entry.message(), depth + 1)
    }
    into[key] = value
  }
  return into
}

/** The wire types of `google.protobuf.Value`: null, number, text, boolean, struct, list. */
const VALUE_TYPES: { readonly [field: number]: number } = { 1: 0, 2: 1, 3: 2, 4: 0, 5: 2, 6: 2 }

/** The last of its kinds counts. */
function readValue(reader: Reader, depth: number): Json | Draft {
  let value: Json | Draft = null
  for (let next = reader.next(); next; next = reader.next()) {
    if (VALUE_TYPES[next.field] === undefined) reader.skip(next.type)
    else if (VALUE_TYPES[next.field] !== next.type) throw malformed()
    else value = readKind(next.field, reader, depth)
  }
  return value
}

function readKind(field: number, reader: Reader, depth: number): Json | Draft {
  switch (field) {
    case 2: {
      const number = reader.double()
      // JSON would make null of it.
      if (!Number.isFinite(number)) throw malformed()
      return number
    }
    case 3:
      return reader.text()
    case 4:
      return reader.varint() !== 0
    case 5:
      return readStruct(reader.message(), empty(), depth)
    case 6:
      return readList(reader.message(), depth)
    default:
      reader.varint()
      return null
  }
}

function readList(reader: Reader, depth: number): Json {
  if (depth > DEEPEST_STRUCT) throw malformed()
  const values: (Json | Draft)[] = []
  for (let next = reader.next(); next; next = reader.next()) {
    if (next.field !== 1) reader.skip(next.type)
    else if (next.type !== 2) throw malformed()
    else values.push(readValue(reader.message(), depth + 1))
  }
  return values as Json
}

function malformed(): Denied {
  return new Denied('request_malformed', 'a field of the wrong type or too deep')
}
