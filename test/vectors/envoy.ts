import { encodeRequest } from '../unit/listen/wire/oracle.ts'

/** One request as it reaches Envoy. */
export interface HttpRequest {
  readonly method: string
  readonly path: string
  readonly host: string
  /** Sent as a map, as Envoy does unless `encode_raw_headers` is set; undefined: no map. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Sent as a list of raw values, as Envoy does where `encode_raw_headers` is set; undefined: no list. */
  readonly headerMap?: readonly (readonly [name: string, value: Buffer])[] | undefined
  readonly body?: string | undefined
  readonly rawBody?: Buffer | undefined
  readonly source?: object | undefined
  readonly route?: Readonly<Record<string, string>> | undefined
  /** What `jwt_authn` writes into its dynamic metadata, by name. */
  readonly jwtAuthn?: Readonly<Record<string, unknown>> | undefined
}

/** The bytes of the CheckRequest that Envoy makes of it, pseudo headers included. */
export function checkRequest(request: HttpRequest): Buffer {
  const { method, path, host, headers, headerMap, body, rawBody, source, route, jwtAuthn } = request
  const pseudo = { ':method': method, ':path': path, ':authority': host, ':scheme': 'https' }
  const named = (headerMap ?? []).map(([name]) => name)
  const raw = [
    ...Object.entries(pseudo)
      .filter(([name]) => !named.includes(name))
      .map(([name, value]) => [name, Buffer.from(value)] as const),
    ...(headerMap ?? []),
  ]
  return encodeRequest({
    attributes: {
      source: source ?? { address: { socketAddress: { address: '10.0.0.7', portValue: 48_910 } } },
      request: {
        time: { seconds: 1_790_000_000 },
        http: {
          method,
          path,
          host,
          scheme: 'https',
          protocol: 'HTTP/2',
          ...(headers && { headers: { ...pseudo, ...headers } }),
          ...(headerMap && {
            headerMap: { headers: raw.map(([key, value]) => ({ key, rawValue: value })) },
          }),
          ...(body !== undefined && { body }),
          ...(rawBody !== undefined && { rawBody }),
        },
      },
      ...(route && { contextExtensions: route }),
      ...(jwtAuthn && {
        metadataContext: { filterMetadata: { 'envoy.filters.http.jwt_authn': struct(jwtAuthn) } },
      }),
    },
  })
}

/** google.protobuf.Struct, as protobufjs takes it. */
function struct(object: object): object {
  return {
    fields: Object.fromEntries(Object.entries(object).map(([name, value]) => [name, protoValue(value)])),
  }
}

function protoValue(value: unknown): object {
  if (value === null) return { nullValue: 0 }
  if (Array.isArray(value)) return { listValue: { values: value.map(protoValue) } }
  if (typeof value === 'object') return { structValue: struct(value) }
  return { [`${typeof value === 'boolean' ? 'bool' : typeof value}Value`]: value }
}
