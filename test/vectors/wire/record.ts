/*
 * Records what a real Envoy sends: `.tools/bin/node test/vectors/wire/record.ts` writes each CheckRequest of the cases below as
 * `<case>.bin`, and beside it as `<case>.json` what protobufjs reads in it. Envoy is `.tools/bin/envoy`, or ENVOY.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2, type OutgoingHttpHeaders } from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Server, ServerCredentials, type sendUnaryData } from '@grpc/grpc-js'
import { createProcesses, ok, until } from '../../../deploy/demo/processes.ts'
import { definition } from '../../../src/listen/ext-authz.ts'
import { attributesOf } from '../../unit/listen/wire/oracle.ts'

type Port = (listener: string) => number

const HOST = 'mail.example.com'
const JSON_BODY = '{"folder":"inbox","limit":12345678901234567890}'
const folder = mkdtempSync(join(tmpdir(), 'record-'))

/** Each listener differs in its ext_authz filter, and in nothing else but what stands behind `extra`. */
const LISTENERS: Record<string, { filter: object; extra?: object }> = {
  plain: { filter: {} },
  body: { filter: { with_request_body: { max_request_bytes: 8192 } } },
  raw_body: { filter: { with_request_body: { max_request_bytes: 8192, pack_as_bytes: true } } },
  partial: { filter: { with_request_body: { max_request_bytes: 16, allow_partial_message: true } } },
  raw_headers: { filter: { encode_raw_headers: true } },
  metadata: {
    filter: {
      metadata_context_namespaces: ['claims'],
      typed_metadata_context_namespaces: ['typed'],
      route_metadata_context_namespaces: ['route'],
    },
  },
  mtls: { filter: { include_peer_certificate: true, include_tls_session: true }, extra: tls() },
}

const CASES: Record<string, (port: Port) => Promise<void>> = {
  'get-query-h1': port =>
    http1(port('plain'), [
      'GET /v1/folders/inbox/messages?unread=true&label=a%20b&label=c HTTP/1.1',
      `Host: ${HOST}`,
      'Accept: text/html',
      'Accept: application/json',
      'X-Empty:',
    ]),
  'get-query-h2': port =>
    http2(port('plain'), { ':path': '/v1/folders/inbox/messages?unread=true', accept: 'application/json' }),
  'get-not-utf8-h1': port =>
    http1(port('plain'), ['GET /v1/menu HTTP/1.1', `Host: ${HOST}`, 'X-Dish: caf\xe9']),
  'post-body-h1': port =>
    http1(
      port('body'),
      [
        'POST /v1/search HTTP/1.1',
        `Host: ${HOST}`,
        'Content-Type: application/json',
        `Content-Length: ${JSON_BODY.length}`,
      ],
      JSON_BODY,
    ),
  'post-raw-body-h2': port =>
    http2(
      port('raw_body'),
      { ':method': 'POST', ':path': '/v1/upload', 'content-type': 'application/octet-stream' },
      Buffer.from([0x00, 0xff, 0xfe, 0x41, 0x80]),
    ),
  'post-partial-body-h1': port =>
    http1(
      port('partial'),
      [
        'POST /v1/search HTTP/1.1',
        `Host: ${HOST}`,
        'Content-Type: application/json',
        `Content-Length: ${JSON_BODY.length}`,
      ],
      JSON_BODY,
    ),
  'raw-headers-h1': port =>
    http1(port('raw_headers'), [
      'GET /v1/menu HTTP/1.1',
      `Host: ${HOST}`,
      'Authorization: Bearer one',
      'authorization: Bearer two',
      'X-Dish: caf\xe9',
      'X-Dish: caf\xc3\xa9',
    ]),
  'raw-headers-h2': port => http2(port('raw_headers'), { ':path': '/v1/menu', 'x-dish': ['soup', 'bread'] }),
  'context-extensions-h1': port => http1(port('plain'), ['GET /extended HTTP/1.1', `Host: ${HOST}`]),
  'metadata-h2': port => http2(port('metadata'), { ':path': '/v1/menu' }),
  'mtls-h2': port => http2(port('mtls'), { ':path': '/v1/menu' }, undefined, clientTls()),
}

const recorded: Buffer[] = []
const recorder = new Server()
recorder.addService(definition, {
  Check({ request }: { request: Buffer }, done: sendUnaryData<Buffer>) {
    recorded.push(request)
    done(null, Buffer.alloc(0))
  },
})
const authzPort = await new Promise<number>((resolve, reject) =>
  recorder.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
    error ? reject(error) : resolve(port),
  ),
)

const processes = createProcesses(folder)
try {
  const port = await startEnvoy()
  for (const [name, send] of Object.entries(CASES)) {
    recorded.length = 0
    await send(port)
    const [bytes, ...more] = recorded
    if (!bytes || more.length > 0) throw new Error(`${name}: ${recorded.length} checks in place of one`)
    writeFileSync(join(import.meta.dirname, `${name}.bin`), bytes)
    writeFileSync(
      join(import.meta.dirname, `${name}.json`),
      `${JSON.stringify(attributesOf(bytes), null, 2)}\n`,
    )
  }
  process.stdout.write(`${Object.keys(CASES).length} cases recorded\n`)
} finally {
  await processes.stop()
  recorder.forceShutdown()
  rmSync(folder, { recursive: true, force: true })
}

async function startEnvoy(): Promise<Port> {
  const config = join(folder, 'envoy.json')
  const adminAddress = join(folder, 'admin')
  writeFileSync(config, JSON.stringify(envoyConfig()))
  writeFileSync(adminAddress, '')
  const command = process.env.ENVOY ?? join(import.meta.dirname, '../../../.tools/bin/envoy')
  const envoy = processes.start('envoy', command, [
    ...['-c', config, '--admin-address-path', adminAddress],
    ...['--disable-hot-restart', '--log-level', 'warning'],
  ])
  const url = await until('envoy', async () => {
    if (!envoy.running()) throw new Error(envoy.output())
    const address = `http://${readFileSync(adminAddress, 'utf8')}`
    return (await ok(`${address}/ready`)) && address
  })
  const { listener_statuses: listeners } = JSON.parse((await ok(`${url}/listeners?format=json`)) ?? '') as {
    listener_statuses: { name: string; local_address: { socket_address: { port_value: number } } }[]
  }
  return name => {
    const found = listeners.find(listener => listener.name === name)
    if (!found) throw new Error(`no listener ${name}`)
    return found.local_address.socket_address.port_value
  }
}

function envoyConfig(): object {
  const address = (port_value: number) => ({ socket_address: { address: '127.0.0.1', port_value } })
  const type = (name: string) => `type.googleapis.com/${name}`
  const filters = 'envoy.extensions.filters.http'
  const answer = { direct_response: { status: 200 } }
  const metadata = [
    {
      metadata_namespace: 'claims',
      value: { iss: 'https://idp.example.com', exp: 1.7e9, aud: ['a', 'b'], n: null },
    },
    {
      metadata_namespace: 'typed',
      typed_value: { '@type': type('google.protobuf.UInt32Value'), value: 7 },
    },
  ]
  const listener = ([name, { filter, extra = {} }]: [string, { filter: object; extra?: object }]) => ({
    name,
    address: address(0),
    filter_chains: [
      {
        ...extra,
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': type(
                'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              ),
              stat_prefix: name,
              route_config: {
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [
                      {
                        match: { path: '/extended' },
                        ...answer,
                        typed_per_filter_config: {
                          authz: {
                            '@type': type(`${filters}.ext_authz.v3.ExtAuthzPerRoute`),
                            check_settings: {
                              context_extensions: { agent_authz_mode: 'observe', team: 'blue' },
                            },
                          },
                        },
                      },
                      {
                        match: { prefix: '/' },
                        ...answer,
                        metadata: { filter_metadata: { route: { tier: 'gold', limits: { calls: 10.5 } } } },
                      },
                    ],
                  },
                ],
              },
              http_filters: [
                {
                  name: 'metadata',
                  typed_config: { '@type': type(`${filters}.set_metadata.v3.Config`), metadata },
                },
                {
                  name: 'authz',
                  typed_config: {
                    '@type': type(`${filters}.ext_authz.v3.ExtAuthz`),
                    transport_api_version: 'V3',
                    grpc_service: { envoy_grpc: { cluster_name: 'recorder' }, timeout: '5s' },
                    ...filter,
                  },
                },
                {
                  name: 'router',
                  typed_config: { '@type': type(`${filters}.router.v3.Router`) },
                },
              ],
            },
          },
        ],
      },
    ],
  })
  return {
    admin: { address: address(0) },
    static_resources: {
      listeners: Object.entries(LISTENERS).map(listener),
      clusters: [
        {
          name: 'recorder',
          load_assignment: {
            cluster_name: 'recorder',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(authzPort) } }] }],
          },
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        },
      ],
    },
  }
}

/** A request byte by byte, Latin-1; resolves when Envoy has answered 200. */
async function http1(port: number, lines: readonly string[], body = ''): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.write(Buffer.from([...lines, 'Connection: close', '', body].join('\r\n'), 'latin1'))
  const answer: Buffer[] = []
  for await (const chunk of socket) answer.push(chunk as Buffer)
  const [status = ''] = Buffer.concat(answer).toString('latin1').split('\r\n', 1)
  if (!status.includes(' 200 ')) throw new Error(`${lines[0]}: ${status}`)
}

async function http2(
  port: number,
  headers: OutgoingHttpHeaders,
  body?: Buffer,
  tls?: { ca: Buffer; cert: Buffer; key: Buffer },
): Promise<void> {
  const session = tls
    ? connectHttp2(`https://127.0.0.1:${port}`, { ...tls, servername: HOST })
    : connectHttp2(`http://127.0.0.1:${port}`)
  const stream = session.request(
    { ':method': 'GET', ':authority': HOST, ...headers },
    { endStream: body === undefined },
  )
  if (body) stream.end(body)
  const status = await new Promise((resolve, reject) => {
    stream.on('response', answer => resolve(answer[':status'])).on('error', reject)
    session.on('error', reject)
  })
  session.destroy()
  if (status !== 200) throw new Error(`${headers[':path']}: ${status}`)
}

function tls(): object {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  for (const [name, subject, alternative] of [
    ['server', HOST, `DNS:${HOST}`],
    ['client', 'planner', 'URI:spiffe://example.com/agents/planner'],
  ] as const)
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-days', '3650', '-subj', `/CN=${subject}`, '-addext', `subjectAltName=${alternative}`],
      ...['-keyout', `${name}.key`, '-out', `${name}.crt`],
    )
  const file = (name: string) => ({ filename: join(folder, name) })
  return {
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
        require_client_certificate: true,
        common_tls_context: {
          alpn_protocols: ['h2'],
          tls_certificates: [{ certificate_chain: file('server.crt'), private_key: file('server.key') }],
          validation_context: { trusted_ca: file('client.crt') },
        },
      },
    },
  }
}

function clientTls(): { ca: Buffer; cert: Buffer; key: Buffer } {
  const read = (name: string) => readFileSync(join(folder, name))
  return { ca: read('server.crt'), cert: read('client.crt'), key: read('client.key') }
}
