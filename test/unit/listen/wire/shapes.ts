/* What a CheckRequest is made of, once more: from `proto/` and the encoding's specification, not from the code. */

export type Scalar = 'text' | 'bytes' | 'double' | 'int64' | 'int32' | 'uint32' | 'bool'

export interface Shape {
  readonly fields: { readonly [number: number]: readonly [name: string, kind: Scalar | Shape] }
  /** Repeated fields, maps, and what is not read as protobuf says: any other message that comes twice is merged. */
  readonly apart?: readonly number[]
  readonly oneOf?: readonly number[]
  /** A message that is there, and empty, where it is left out: the value of a map. */
  readonly implied?: number
  /** What may be nested only so deep. */
  readonly nests?: true
}

const mapOf = (held: Scalar | Shape): Shape => ({
  fields: { 1: ['key', 'text'], 2: ['value', held] },
  ...(typeof held === 'object' && { implied: 2 }),
})

const struct: Shape = {
  get fields() {
    return { 1: ['fields', entry] } as const
  },
  apart: [1],
  nests: true,
}
const list: Shape = {
  get fields() {
    return { 1: ['values', value] } as const
  },
  apart: [1],
  nests: true,
}
const value: Shape = {
  fields: {
    1: ['nullValue', 'int32'],
    2: ['numberValue', 'double'],
    3: ['stringValue', 'text'],
    4: ['boolValue', 'bool'],
    5: ['structValue', struct],
    6: ['listValue', list],
  },
  oneOf: [1, 2, 3, 4, 5, 6],
  apart: [5, 6],
}
const entry: Shape = { ...mapOf(value), apart: [2] }

const texts = mapOf('text')
const metadata: Shape = {
  fields: {
    1: ['filterMetadata', mapOf(struct)],
    2: ['typedFilterMetadata', mapOf({ fields: { 1: ['typeUrl', 'text'], 2: ['value', 'bytes'] } })],
  },
  apart: [1, 2],
}

const socketAddress: Shape = {
  fields: {
    1: ['protocol', 'int32'],
    2: ['address', 'text'],
    3: ['portValue', 'uint32'],
    4: ['namedPort', 'text'],
    5: ['resolverName', 'text'],
    6: ['ipv4Compat', 'bool'],
  },
  oneOf: [3, 4],
}
const address: Shape = {
  fields: {
    1: ['socketAddress', socketAddress],
    2: ['pipe', { fields: { 1: ['path', 'text'], 2: ['mode', 'uint32'] } }],
    3: ['envoyInternalAddress', { fields: { 1: ['serverListenerName', 'text'], 2: ['endpointId', 'text'] } }],
  },
  oneOf: [1, 2, 3],
}
const peer: Shape = {
  fields: {
    1: ['address', address],
    2: ['service', 'text'],
    3: ['labels', texts],
    4: ['principal', 'text'],
    5: ['certificate', 'text'],
  },
  apart: [3],
}

const header: Shape = { fields: { 1: ['key', 'text'], 2: ['value', 'text'], 3: ['rawValue', 'bytes'] } }
const http: Shape = {
  fields: {
    1: ['id', 'text'],
    2: ['method', 'text'],
    3: ['headers', texts],
    4: ['path', 'text'],
    5: ['host', 'text'],
    6: ['scheme', 'text'],
    7: ['query', 'text'],
    8: ['fragment', 'text'],
    9: ['size', 'int64'],
    10: ['protocol', 'text'],
    11: ['body', 'text'],
    12: ['rawBody', 'bytes'],
    13: ['headerMap', { fields: { 1: ['headers', header] }, apart: [1] }],
  },
  apart: [3],
}
const time: Shape = { fields: { 1: ['seconds', 'int64'], 2: ['nanos', 'int32'] } }

const attributes: Shape = {
  fields: {
    1: ['source', peer],
    2: ['destination', peer],
    4: ['request', { fields: { 1: ['time', time], 2: ['http', http] } }],
    10: ['contextExtensions', texts],
    11: ['metadataContext', metadata],
    12: ['tlsSession', { fields: { 1: ['sni', 'text'] } }],
    13: ['routeMetadataContext', metadata],
  },
  apart: [10],
}
export const CHECK_REQUEST: Shape = { fields: { 1: ['attributes', attributes] } }
