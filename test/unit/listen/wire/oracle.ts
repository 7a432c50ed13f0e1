import { join } from 'node:path'
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader'
import { AUTHORIZATION } from '../../../../src/listen/ext-authz.ts'

/* Another reading of the same bytes: protobufjs over the text in `proto/`, put into the shape that the decoder promises. */

const service = loadSync('envoy/service/auth/v3/external_auth.proto', {
  includeDirs: [join(import.meta.dirname, '../../../../proto')],
  longs: Number,
  bytes: String,
})[AUTHORIZATION] as ServiceDefinition
const { requestSerialize, requestDeserialize, responseDeserialize } = service.Check as NonNullable<
  (typeof service)['Check']
>

type Loaded = { readonly [key: string]: unknown }

/** What protobufjs makes of a CheckRequest that it is given in its own form. */
export const encodeRequest = (request: object): Buffer => requestSerialize(request)
/** The same of a CheckRequest that has only this HTTP part. */
export const encodeHttp = (http: object): Buffer => encodeRequest({ attributes: { request: { http } } })

/** A CheckRequest's attributes as protobufjs reads them; throws where it cannot. */
export function attributesOf(bytes: Buffer): unknown {
  const { attributes } = requestDeserialize(bytes) as Loaded
  return attributes === undefined ? undefined : message(attributes as Loaded)
}

/** A CheckResponse as protobufjs reads it, `dynamicMetadata` as plain JSON, bytes and all else as they are. */
export function responseOf(bytes: Buffer): Loaded & { status: { code?: number } } {
  const { dynamicMetadata, ...rest } = responseDeserialize(bytes) as Loaded
  return { ...rest, dynamicMetadata: dynamicMetadata && struct(dynamicMetadata as Loaded) } as never
}

const MAPS = new Set(['headers', 'labels', 'contextExtensions'])

function message(loaded: Loaded): Loaded {
  const entries = Object.entries(loaded).flatMap(([name, value]): [string, unknown][] => {
    if (value === '' || value === 0 || value === false) return []
    if (Array.isArray(value)) return value.length === 0 ? [] : [[name, value.map(message)]]
    if (typeof value !== 'object') return [[name, value]]
    if (MAPS.has(name)) return [[name, value]]
    if (name === 'filterMetadata') return [[name, mapped(value as Loaded, struct)]]
    if (name === 'typedFilterMetadata') return [[name, mapped(value as Loaded, any)]]
    return [[name, message(value as Loaded)]]
  })
  return Object.fromEntries(entries)
}

function mapped(loaded: Loaded, of: (value: Loaded) => unknown): Loaded {
  return Object.fromEntries(Object.entries(loaded).map(([key, value]) => [key, of(value as Loaded)]))
}

function any({ type_url: typeUrl, value }: Loaded): Loaded {
  return message({ typeUrl, value })
}

function struct({ fields = {} }: Loaded): unknown {
  return mapped(fields as Loaded, value)
}

function value(loaded: Loaded): unknown {
  const [[kind, held] = ['nullValue', null]] = Object.entries(loaded)
  if (kind === 'structValue') return struct(held as Loaded)
  if (kind === 'listValue') return ((held as { values?: Loaded[] }).values ?? []).map(value)
  return kind === 'nullValue' ? null : held
}
