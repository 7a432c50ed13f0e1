import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import type { Edits } from '../../deploy/demo/parts.ts'
import { certificatesIn } from '../unit/listen/certificates.ts'
import { echo, JSON_TYPE, type Stack, startStack } from './stack.ts'

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-transports-'))
const socket = join(folder, 'authz.sock')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** As much of Envoy's configuration as is changed here. */
interface Envoy {
  static_resources: {
    listeners: { filter_chains: { filters: { typed_config: { http_filters: Filter[] } }[] }[] }[]
    clusters: Cluster[]
  }
}
interface Filter {
  name: string
  typed_config: { [key: string]: unknown }
}
interface Cluster {
  name: string
  load_assignment: { endpoints: { lb_endpoints: { endpoint: { address: object } }[] }[] }
  transport_socket?: object
}

function named<T extends { name: string }>(all: readonly T[] | undefined, name: string): T {
  const found = all?.find(one => one.name === name)
  if (!found) throw new Error(`envoy/envoy.yaml has no ${name}`)
  return found
}

const changed = (change: (filter: Filter['typed_config'], cluster: Cluster) => void) => (text: string) => {
  const config = parse(text) as Envoy
  const { listeners, clusters } = config.static_resources
  const filters = listeners[0]?.filter_chains[0]?.filters[0]?.typed_config.http_filters
  const { typed_config } = named(filters, 'envoy.filters.http.ext_authz')
  change(typed_config, named(clusters, 'agent-authz'))
  return stringify(config)
}

const TRANSPORTS: [name: string, edits: () => Edits][] = [
  [
    'a Unix socket',
    () => ({
      service: config => {
        config.listen.grpc = `unix:${socket}`
      },
      envoy: changed((_, { load_assignment }) => {
        for (const { lb_endpoints } of load_assignment.endpoints)
          for (const { endpoint } of lb_endpoints) endpoint.address = { pipe: { path: socket } }
      }),
    }),
  ],
  [
    'TLS with certificates of both',
    () => {
      const { leaf } = certificatesIn(folder)
      const [authz, envoy] = [leaf('authz'), leaf('envoy')]
      return {
        service: config => {
          config.listen.tls = { cert: authz.crt, key: authz.key, client_ca: envoy.crt }
        },
        envoy: changed((_, cluster) => {
          cluster.transport_socket = {
            name: 'tls',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
              sni: 'authz.example.com',
              common_tls_context: {
                tls_certificates: [
                  {
                    certificate_chain: { filename: envoy.crt },
                    private_key: { filename: envoy.key },
                  },
                ],
                validation_context: {
                  trusted_ca: { filename: authz.crt },
                  match_typed_subject_alt_names: [
                    { san_type: 'DNS', matcher: { exact: 'authz.example.com' } },
                  ],
                },
              },
            },
          }
        }),
      }
    },
  ],
  [
    'headers joined by name, and the body as text',
    () => ({
      envoy: changed(filter => {
        filter.encode_raw_headers = false
        filter.with_request_body = { max_request_bytes: 65536 }
      }),
    }),
  ],
]

describe.each(TRANSPORTS)('over %s', (_, edits) => {
  let stack: Stack
  it('Envoy is answered as ever', async () => {
    stack = await startStack(edits())
    expect(echo(await stack.asAlice('/allowed')).headers).toMatchObject({
      'x-delegator-id': 'alice@example.com',
      'x-agent-id': 'mail-summary',
    })
    expect((await stack.call('/allowed')).status).toBe(401)
    const post = (folder: string) =>
      stack.asAlice('/body', { method: 'POST', headers: [JSON_TYPE], body: JSON.stringify({ folder }) })
    expect((await post('inbox')).status).toBe(200)
    expect((await post('archive')).status).toBe(403)
  })

  it('two Authorization headers are refused', async () => {
    const headers: [string, string][] = [['authorization', 'Bearer another']]
    expect((await stack.asAlice('/allowed', { headers })).status).toBe(400)
  })

  afterAll(() => stack?.stop())
})

describe('over TLS', () => {
  let stack: Stack
  afterAll(() => stack?.stop())

  it('an Envoy without a certificate gets no answer, and refuses', async () => {
    const [, edits] = TRANSPORTS[1] as (typeof TRANSPORTS)[number]
    const { service, envoy = text => text } = edits()
    stack = await startStack({
      ...(service && { service }),
      envoy: text => envoy(text).replace(/ +tls_certificates:[\s\S]*?(?= +validation_context:)/, ''),
    })
    expect((await stack.asAlice('/allowed')).status).toBe(503)
    expect(stack.decisions()).toEqual([])
  })
})
