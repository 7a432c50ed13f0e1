import { encodeRequest } from '../unit/listen/wire/oracle.ts'

/** Allows one message of one agent: what is asked, who asks and the body all matter. */
export const POLICY = `
package envoy.authz

import rego.v1

default result := {"allowed": false}

result := {"allowed": true} if {
	input.attributes.request.http.method == "POST"
	input.attributes.request.http.host == "mail.example.com"
	input.parsed_path == ["v1", "messages"]
	input.identity.agent == "mail-summary"
	input.parsed_body.folder == "inbox"
}
`

const BODY = '{"folder":"inbox"}'

/** How Envoy sends headers and body: as text, or with `encode_raw_headers` and `pack_as_bytes`. */
export type Form = 'text' | 'raw'

/** A CheckRequest that POLICY allows, with every field that there is; changes are to its HTTP part. */
export function completeRequest(token: string, form: Form, changes: object = {}): Buffer {
  const headers = {
    ':method': 'POST',
    ':path': '/v1/messages',
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': String(BODY.length),
    'x-request-id': 'r-1',
  }
  const raw = Object.entries(headers).map(([key, value]) => ({ key, rawValue: Buffer.from(value) }))
  const written =
    form === 'text'
      ? { headers, body: BODY }
      : { headerMap: { headers: [...raw, { key: 'x-text', value: 'text' }] }, rawBody: Buffer.from(BODY) }
  const peer = { service: 'web', labels: { app: 'agent' }, principal: 'spiffe://a/b', certificate: 'c' }
  const socketAddress = { protocol: 1, address: '10.0.0.7', resolverName: 'dns', ipv4Compat: true }
  const metadata = {
    filterMetadata: {
      'a.filter': {
        fields: {
          text: { stringValue: 'x' },
          inner: { structValue: { fields: { no: { boolValue: true } } } },
        },
      },
    },
    typedFilterMetadata: { 'b.filter': { type_url: 'type.example.com/b', value: Buffer.from('b') } },
  }
  return encodeRequest({
    attributes: {
      source: { ...peer, address: { socketAddress: { ...socketAddress, portValue: 48_910 } } },
      destination:
        form === 'text'
          ? { ...peer, address: { pipe: { path: '/run/envoy.sock', mode: 0o600 } } }
          : { ...peer, address: { envoyInternalAddress: { serverListenerName: 'inner', endpointId: 'e' } } },
      request: {
        time: { seconds: 1_790_000_000, nanos: 5 },
        http: {
          id: '7',
          method: 'POST',
          path: '/v1/messages',
          host: 'mail.example.com',
          scheme: 'https',
          query: 'q',
          fragment: 'f',
          size: BODY.length,
          protocol: 'HTTP/2',
          ...written,
          ...changes,
        },
      },
      contextExtensions: { agent_authz_mode: 'enforce', tenant: 'acme' },
      metadataContext: metadata,
      tlsSession: { sni: 'mail.example.com' },
      routeMetadataContext: metadata,
    },
  })
}
