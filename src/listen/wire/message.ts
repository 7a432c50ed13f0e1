import { Denied } from '../../denied.ts'
import type { Json } from '../../types.ts'
import type { Reader } from './reader.ts'

/** A message under construction. Without a prototype, so that a key named `__proto__` is a key like any other. */
export type Draft = { [key: string]: Json | Draft | Draft[] }

type Scalar = 'text' | 'bytes' | 'int64' | 'uint32' | 'int32' | 'bool'

export type Kind =
  | { readonly kind: Scalar }
  | { readonly kind: 'message'; readonly fields: Fields }
  | { readonly kind: 'list'; readonly fields: Fields }
  | { readonly kind: 'map'; readonly value: Kind }
  | { readonly kind: 'struct' }

/** A message's fields by number: the JSON name of each and how to read it. */
export type Fields = { readonly [number: number]: readonly [name: string, kind: Kind] }

export const text: Kind = { kind: 'text' }
export const bytes: Kind = { kind: 'bytes' }
export const int64: Kind = { kind: 'int64' }
export const uint32: Kind = { kind: 'uint32' }
/** Enums too: proto3 keeps unknown ones as their number. */
export const int32: Kind = { kind: 'int32' }
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
 * Reads a message into plain JSON: names in lowerCamelCase, integers and enums as numbers, bytes in base64, values equal to
 * their default left out, a message that is present but empty kept as `{}`. A message field that comes twice is merged.
 */
export function readMessage(fields: Fields, reader: Reader, into: Draft = empty()): Draft {
  for (let next = reader.next(); next; next = reader.next()) {
    const known = fields[next.field]
    if (known) readField(known[1], known[0], next.type, reader, into)
    else reader.skip(next.type)
  }
  return into
}

function readField(kind: Kind, name: string, type: number, reader: Reader, into: Draft): void {
  if (type !== wireType(kind)) throw malformed()
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
  return kind === 'int64' || kind === 'uint32' || kind === 'int32' || kind === 'bool' ? 0 : 2
}

function readScalar(kind: Scalar, reader: Reader): string | number | boolean {
  switch (kind) {
    case 'text':
      return reader.text()
    case 'bytes':
      return reader.bytes().toString('base64')
    case 'int64':
      return reader.int64()
    case 'uint32':
      return reader.int64() >>> 0
    case 'int32':
      return reader.int64() | 0
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
      if (part.field === 1 && part.type === 2) key = entry.text()
      else if (part.field === 2 && part.type === 2) value = readValue(entry.message(), depth + 1)
      else entry.skip(part.type)
    }
    into[key] = value
  }
  return into
}

/** `google.protobuf.Value`; the last of its kinds counts. */
function readValue(reader: Reader, depth: number): Json | Draft {
  let value: Json | Draft = null
  for (let next = reader.next(); next; next = reader.next()) {
    const { field, type } = next
    if (field === 1 && type === 0) {
      reader.varint()
      value = null
    } else if (field === 2 && type === 1) value = reader.double()
    else if (field === 3 && type === 2) value = reader.text()
    else if (field === 4 && type === 0) value = reader.varint() !== 0
    else if (field === 5 && type === 2) value = readStruct(reader.message(), empty(), depth)
    else if (field === 6 && type === 2) value = readList(reader.message(), depth)
    else reader.skip(type)
  }
  return value
}

function readList(reader: Reader, depth: number): Json {
  if (depth > DEEPEST_STRUCT) throw malformed()
  const values: (Json | Draft)[] = []
  for (let next = reader.next(); next; next = reader.next()) {
    if (next.field === 1 && next.type === 2) values.push(readValue(reader.message(), depth + 1))
    else reader.skip(next.type)
  }
  return values as Json
}

function malformed(): Denied {
  return new Denied('request_malformed', 'a field of the wrong type or too deep')
}
