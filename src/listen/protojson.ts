import { join } from 'node:path'
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader'
import type { HeldRequest } from '../types.ts'
import { Unusable } from '../unusable.ts'
import { AUTHORIZATION } from './ext-authz.ts'
import { checkRequest, decodeCheckRequest } from './wire/check-request.ts'
import type { Fields, Kind } from './wire/message.ts'

const PROTO = join(import.meta.dirname, '../../proto')

/**
 * A CheckRequest written by a person as protojson, taken over the same bytes as Envoy's. Names in lowerCamelCase or
 * snake_case; an unknown one is Unusable, by name. Any is read as `{typeUrl, value}` only.
 */
export function heldRequestFromProtojson(text: string): HeldRequest {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new Unusable('the request is not JSON; it is a CheckRequest in protojson: {"attributes": {…}}')
  }
  const request = normalised({ kind: 'message', fields: checkRequest }, json, 'request')
  const service = loadSync('envoy/service/auth/v3/external_auth.proto', { includeDirs: [PROTO] })[
    AUTHORIZATION
  ] as ServiceDefinition
  let bytes: Buffer
  try {
    bytes = service.Check?.requestSerialize(request as object) as Buffer
  } catch (error) {
    throw new Unusable(`the request is not a CheckRequest: ${(error as Error).message}`)
  }
  return decodeCheckRequest(bytes)
}

/** What protobufjs wants where it differs from protojson: camelCase, timestamps and structs taken apart. */
function normalised(kind: Kind, value: unknown, place: string): unknown {
  switch (kind.kind) {
    case 'message':
      return typeof value === 'string' && kind.fields[2]?.[0] === 'nanos'
        ? timestamp(value, place)
        : messageOf(kind.fields, object(value, place), place)
    case 'list':
      if (!Array.isArray(value)) throw new Unusable(`${place}: is a list`)
      return value.map((item, i) => messageOf(kind.fields, object(item, `${place}[${i}]`), `${place}[${i}]`))
    case 'map':
      return Object.fromEntries(
        Object.entries(object(value, place)).map(([key, item]) => [
          key,
          normalised(kind.value, item, `${place}.${key}`),
        ]),
      )
    case 'struct':
      return structOf(object(value, place))
    default:
      if (typeof value === 'object') throw new Unusable(`${place}: is a single value`)
      return value
  }
}

function messageOf(fields: Fields, value: Record<string, unknown>, place: string): object {
  const known = new Map(Object.values(fields).map(([name, kind]) => [name, kind]))
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const name = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
      const kind = known.get(name)
      if (!kind) throw new Unusable(`${place}.${key}: unknown; known here: ${[...known.keys()].join(', ')}`)
      return [name, normalised(kind, item, `${place}.${key}`)]
    }),
  )
}

function object(value: unknown, place: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Unusable(`${place}: is an object`)
  return value as Record<string, unknown>
}

function timestamp(text: string, place: string): { seconds: number; nanos: number } {
  const milliseconds = Date.parse(text)
  if (Number.isNaN(milliseconds)) throw new Unusable(`${place}: is a time such as 2026-01-31T12:00:00Z`)
  const fraction = /\.(\d{1,9})/.exec(text)?.[1] ?? ''
  return { seconds: Math.floor(milliseconds / 1000), nanos: Number(fraction.padEnd(9, '0')) }
}

function structOf(value: Record<string, unknown>): object {
  return { fields: Object.fromEntries(Object.entries(value).map(([key, item]) => [key, structValue(item)])) }
}

function structValue(value: unknown): object {
  if (value === null) return { nullValue: 0 }
  if (typeof value === 'number') return { numberValue: value }
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Array.isArray(value)) return { listValue: { values: value.map(structValue) } }
  return { structValue: structOf(value as Record<string, unknown>) }
}
