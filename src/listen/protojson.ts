import { join } from 'node:path'
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader'
import { type HeldRequest, isObject } from '../types.ts'
import { Unusable } from '../unusable.ts'
import { AUTHORIZATION } from './ext-authz.ts'
import { checkRequest, decodeCheckRequest } from './wire/check-request.ts'
import type { Fields, Kind } from './wire/message.ts'

const PROTO = join(import.meta.dirname, '../../proto')

/**
 * A CheckRequest written by a person as protojson, taken over the same bytes as Envoy's. Names in
 * lowerCamelCase or snake_case, null for absent; what is unknown or of another type is Unusable at once, by
 * its place and never by its value. Whether it can be judged is asked as of Envoy's. Any is read as
 * `{typeUrl, value}` only.
 */
export function heldRequestFromProtojson(text: string): HeldRequest {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new Unusable('the request is not JSON; it is a CheckRequest in protojson: {"attributes": {…}}')
  }
  const request = messageOf(checkRequest, json, 'request')
  const loaded = loadSync('envoy/service/auth/v3/external_auth.proto', { includeDirs: [PROTO] })
  const { Check } = loaded[AUTHORIZATION] as ServiceDefinition
  const bytes = Check?.requestSerialize(request) as Buffer
  return decodeCheckRequest(bytes)
}

function messageOf(fields: Fields, value: unknown, place: string): object {
  const known = new Map(Object.values(fields).map(([name, kind]) => [name, kind]))
  const present = Object.entries(object(value, place)).filter(([, item]) => item !== null)
  return Object.fromEntries(
    present.map(([key, item]) => {
      const name = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
      const kind = known.get(name)
      if (!kind) throw new Unusable(`${place}.${key}: unknown; known here: ${[...known.keys()].join(', ')}`)
      // The loader's own Any keeps the name that its .proto gives.
      return [name === 'typeUrl' ? 'type_url' : name, loadable(kind, item, `${place}.${key}`)]
    }),
  )
}

/** What the loader takes for a field, which is not protojson for timestamps and structs. */
function loadable(kind: Kind, value: unknown, place: string): unknown {
  switch (kind.kind) {
    case 'message':
      return isTimestamp(kind.fields) ? timestamp(value, place) : messageOf(kind.fields, value, place)
    case 'list':
      if (!Array.isArray(value)) throw new Unusable(`${place}: must be a list`)
      return value.map((item, i) => messageOf(kind.fields, item, `${place}[${i}]`))
    case 'map':
      return Object.fromEntries(
        Object.entries(object(value, place)).map(([key, item]) => [
          key,
          loadable(kind.value, item, `${place}.${key}`),
        ]),
      )
    case 'struct':
      return structOf(object(value, place), place, 1)
    case 'enum':
      if (!kind.names.includes(value as string) && !(typeof value === 'number' && fits('int32', value)))
        throw new Unusable(`${place}: must be one of ${kind.names.join(', ')}`)
      return value
    default:
      if (!fits(kind.kind, value)) throw new Unusable(`${place}: must be ${FORMS[kind.kind]}`)
      return value
  }
}

const FORMS = {
  text: 'a text',
  bytes: 'bytes in base64',
  int64: 'a 64-bit integer',
  int32: 'a 32-bit integer',
  uint32: 'a 32-bit unsigned integer',
  bool: 'true or false',
} as const

function fits(form: keyof typeof FORMS, value: unknown): boolean {
  switch (form) {
    case 'text':
      return typeof value === 'string' && value.isWellFormed()
    case 'bytes':
      return typeof value === 'string' && Buffer.from(value, 'base64').toString('base64') === value
    case 'bool':
      return typeof value === 'boolean'
    case 'int64':
      return within(value, -(2n ** 63n), 2n ** 63n)
    case 'int32':
      return within(value, -(2n ** 31n), 2n ** 31n)
    case 'uint32':
      return within(value, 0n, 2n ** 32n)
  }
}

/** An integer as a number or, as protojson writes 64 bits, as text. */
function within(value: unknown, from: bigint, below: bigint): boolean {
  const integer = typeof value === 'string' ? /^-?\d{1,19}$/.test(value) : Number.isSafeInteger(value)
  if (!integer) return false
  const number = BigInt(value as string | number)
  return number >= from && number < below
}

function object(value: unknown, place: string): Record<string, unknown> {
  if (!isObject(value)) throw new Unusable(`${place}: must be an object`)
  return value
}

function isTimestamp(fields: Fields): boolean {
  return fields[2]?.[0] === 'nanos'
}

/** RFC 3339, as protojson has it. */
function timestamp(value: unknown, place: string): { seconds: number; nanos: number } {
  const form = /^(\d{4}-\d\d-\d\d)T(?!24)\d\d:\d\d:\d\d(?:\.(\d{1,9}))?(?:Z|[+-]\d\d:\d\d)$/
  const [text, day = '', fraction = ''] = (typeof value === 'string' && form.exec(value)) || ['']
  const milliseconds = Date.parse(text.replace(/\.\d+/, ''))
  if (Number.isNaN(milliseconds) || !isInCalendar(day))
    throw new Unusable(`${place}: must be a time such as 2026-01-31T12:00:00Z`)
  return { seconds: milliseconds / 1000, nanos: Number(fraction.padEnd(9, '0')) }
}

/** Date.parse reads February 30 as March 2. */
function isInCalendar(day: string): boolean {
  return new Date(day).toISOString().startsWith(day)
}

/** The loader gives up at 100 messages inside one another, and an object or a list is two. */
const DEEPEST_STRUCT = 48

function structOf(value: Record<string, unknown>, place: string, depth: number): object {
  const fields = Object.entries(value).map(([key, item]) => [key, structValue(item, place, depth)])
  return { fields: Object.fromEntries(fields) }
}

function structValue(value: unknown, place: string, depth: number): object {
  if (depth > DEEPEST_STRUCT) throw new Unusable(`${place}: is nested over ${DEEPEST_STRUCT} deep`)
  if (value === null) return { nullValue: 0 }
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new Unusable(`${place}: has a number that is out of range`)
    return { numberValue: value }
  }
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Array.isArray(value))
    return { listValue: { values: value.map(item => structValue(item, place, depth + 1)) } }
  return { structValue: structOf(value as Record<string, unknown>, place, depth + 1) }
}
