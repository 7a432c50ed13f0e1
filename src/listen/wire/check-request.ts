import { isUtf8 } from 'node:buffer'
import { Denied } from '../../denied.ts'
import type { HeldRequest, JsonObject } from '../../types.ts'
import {
  bool,
  bytes,
  enumeration,
  type Fields,
  int32,
  int64,
  list,
  map,
  message,
  readMessage,
  struct,
  text,
  uint32,
} from './message.ts'
import { Reader } from './reader.ts'

const MOST_BYTES = 4 * 1024 * 1024
const MOST_HEADERS = 1_000

/* The field numbers of `proto/envoy/service/auth/v3` and what it imports. */

const address: Fields = {
  1: [
    'socketAddress',
    message({
      1: ['protocol', enumeration('TCP', 'UDP')],
      2: ['address', text],
      3: ['portValue', uint32, ['namedPort']],
      4: ['namedPort', text, ['portValue']],
      5: ['resolverName', text],
      6: ['ipv4Compat', bool],
    }),
    ['pipe', 'envoyInternalAddress'],
  ],
  2: ['pipe', message({ 1: ['path', text], 2: ['mode', uint32] }), ['socketAddress', 'envoyInternalAddress']],
  3: [
    'envoyInternalAddress',
    message({ 1: ['serverListenerName', text], 2: ['endpointId', text] }),
    ['socketAddress', 'pipe'],
  ],
}

const peer = message({
  1: ['address', message(address)],
  2: ['service', text],
  3: ['labels', map(text)],
  4: ['principal', text],
  5: ['certificate', text],
})

const headerMap = message({
  1: ['headers', list({ 1: ['key', text], 2: ['value', text], 3: ['rawValue', bytes] })],
})

const http: Fields = {
  1: ['id', text],
  2: ['method', text],
  3: ['headers', map(text)],
  4: ['path', text],
  5: ['host', text],
  6: ['scheme', text],
  7: ['query', text],
  8: ['fragment', text],
  9: ['size', int64],
  10: ['protocol', text],
  11: ['body', text],
  12: ['rawBody', bytes],
  13: ['headerMap', headerMap],
}

const metadata = message({
  1: ['filterMetadata', map(struct)],
  2: ['typedFilterMetadata', map(message({ 1: ['typeUrl', text], 2: ['value', bytes] }))],
})

const requestOf = (fields: Fields): Fields => ({
  1: [
    'attributes',
    message({
      1: ['source', peer],
      2: ['destination', peer],
      4: [
        'request',
        message({
          1: ['time', message({ 1: ['seconds', int64], 2: ['nanos', int32] })],
          2: ['http', message(fields)],
        }),
      ],
      10: ['contextExtensions', map(text)],
      11: ['metadataContext', metadata],
      12: ['tlsSession', message({ 1: ['sni', text] })],
      13: ['routeMetadataContext', metadata],
    }),
  ],
})

export const checkRequest: Fields = requestOf(http)

const { 11: _body, 12: _rawBody, ...otherFields } = http
const withoutBody: Fields = requestOf(otherFields)

interface Http extends JsonObject {
  readonly method?: string
  readonly path?: string
  readonly host?: string
  readonly headers?: { readonly [name: string]: string }
  readonly headerMap?: { readonly headers?: readonly Header[] }
  readonly body?: string
  readonly rawBody?: string
}

type Header = { readonly key?: string; readonly value?: string; readonly rawValue?: string }

/**
 * Decodes the bytes of a CheckRequest; `request_malformed` where they are none. What is too large (4 MiB,
 * 1,000 headers), lacks method or path, or has a path that is not UTF-8 is decoded too, but for the body, and
 * refused by `assertJudgeable`. Judges nothing of what it says.
 */
export function decodeCheckRequest(message: Uint8Array): HeldRequest {
  const buffer = Buffer.from(message.buffer, message.byteOffset, message.length)
  const tooLarge = message.length > MOST_BYTES
  const decoded = readMessage(tooLarge ? withoutBody : checkRequest, new Reader(buffer))
  const { attributes = {} } = decoded as { attributes?: JsonObject }
  const { http = {} } = (attributes.request ?? {}) as { http?: Http }
  const { method = '', path = '', host = '' } = http
  const headers = indexHeaders(http)
  return {
    attributes,
    method,
    path,
    host,
    contextExtensions: (attributes.contextExtensions ?? {}) as { [key: string]: string },
    headerNames: [...headers.keys()],
    header: name => (headers.get(name) ?? []).map(textOf),
    body() {
      if (http.body !== undefined) return { text: http.body, bytes: Buffer.byteLength(http.body) }
      const raw = Buffer.from(http.rawBody ?? '', 'base64')
      return { text: new TextDecoder('utf-8', { ignoreBOM: true }).decode(raw), bytes: raw.length }
    },
    assertJudgeable() {
      if (tooLarge) throw new Denied('request_too_large', 'message over 4 MiB')
      if (numberOfHeaders(http) > MOST_HEADERS) throw new Denied('request_too_large', 'over 1,000 headers')
      if (method === '' || path === '') throw new Denied('request_malformed', 'no method or path')
      // In `http.path` Envoy has replaced these bytes: policy would judge another path than arrives.
      if (!isUtf8Path(http)) throw new Denied('path_invalid', 'not UTF-8')
    },
  }
}

function numberOfHeaders({ headers = {}, headerMap }: Http): number {
  return Object.keys(headers).length + (headerMap?.headers?.length ?? 0)
}

function isUtf8Path({ headerMap }: Http): boolean {
  const path = headerMap?.headers?.find(({ key }) => key === ':path')
  return path?.rawValue === undefined || isUtf8(Buffer.from(path.rawValue, 'base64'))
}

/** By lower-case name. Envoy fills one of the two forms; of a sender that fills both, all are repetitions. */
function indexHeaders({ headers = {}, headerMap }: Http): Map<string, Header[]> {
  const listed = Object.entries(headers).map(([key, value]): Header => ({ key, value }))
  return Map.groupBy([...listed, ...(headerMap?.headers ?? [])], ({ key = '' }) => key.toLowerCase())
}

/** Only of a header that is asked for: most are not. */
function textOf({ value, rawValue = '' }: Header): string {
  if (value !== undefined) return value
  const raw = Buffer.from(rawValue, 'base64')
  return raw.toString(isUtf8(raw) ? 'utf8' : 'latin1')
}
