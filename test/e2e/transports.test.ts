import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Edits } from '../../deploy/demo/parts.ts'
import { until } from '../../deploy/demo/processes.ts'
import { certificatesIn } from '../unit/listen/certificates.ts'
import { edited, overTls } from './edited-envoy.ts'
import { echo, JSON_TYPE, type Stack, startStack } from './stack.ts'

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-transports-'))
const socket = join(folder, 'authz.sock')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const TRANSPORTS: [name: string, edits: () => Edits][] = [
  [
    'a Unix socket',
    () => ({
      service: config => {
        config.listen.grpc = `unix:${socket}`
      },
      envoy: edited(({ authz }) => {
        for (const { lb_endpoints } of authz.load_assignment.endpoints)
          for (const { endpoint } of lb_endpoints) endpoint.address = { pipe: { path: socket } }
      }),
    }),
  ],
  [
    'TLS with certificates of both',
    () => {
      const { leaf } = certificatesIn(folder)
      const [ours, envoys] = [leaf('ours'), leaf('envoys')]
      return {
        service: config => {
          config.listen.tls = { cert: ours.crt, key: ours.key, client_ca: envoys.crt }
        },
        envoy: edited(({ authz }) => overTls(authz, { ca: ours.crt, own: envoys })),
      }
    },
  ],
  [
    'headers joined by name, and the body as text',
    () => ({
      envoy: edited(({ extAuthz }) => {
        extAuthz.encode_raw_headers = false
        extAuthz.with_request_body = { max_request_bytes: 65536 }
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
    // Otherwise Envoy would ask as well, as it does where nobody is healthy.
    const healthy = 'cluster.agent-authz.health_check.success'
    await until('a health check', async () => (await stack.envoy.stat(healthy)) > 0)
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
