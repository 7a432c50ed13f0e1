import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { type Certificate, certificatesIn } from '../unit/listen/certificates.ts'
import { replaceFile } from '../unit/replace-file.ts'
import { edited, leaveFirst, overTls } from './edited-envoy.ts'
import { LOAD, load, refused } from './load.ts'
import { ALICE, patient, type Stack, startStack } from './stack.ts'

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-rotation-'))
const make = certificatesIn(folder)
const ca = make.authority('ca')
const envoys = make.leaf('envoys', 'ca')
// Made before there is a load: while openssl works, nothing else here does.
const first = make.leaf('first', 'ca')
const others = ['second', 'third', 'fourth'].map(name => [name, make.leaf(name, 'ca')] as const)
const shown = { cert: join(folder, 'shown.crt'), key: join(folder, 'shown.key') }
/** Puts a new certificate into its place, as a deployment does: one file after the other. */
function rotate({ pem, keyPem }: Certificate): void {
  replaceFile(shown.key, keyPem)
  replaceFile(shown.cert, pem)
}

let stack: Stack
beforeAll(async () => {
  rotate(first)
  stack = await startStack({
    service({ listen }) {
      Object.assign(listen, { check_timeout: '5s', tls: { ...shown, client_ca: ca.crt } })
    },
    envoy: config =>
      edited(({ extAuthz, authz, upstream }) => {
        // A second try would hide that the first one was lost.
        delete extAuthz.grpc_service.retry_policy
        authz.connect_timeout = '10s'
        overTls(authz, { ca: ca.crt, own: envoys })
        leaveFirst(upstream)
      })(patient(config)),
  })
})
afterAll(async () => {
  await stack?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** The name in the certificate that a new connection is shown, which is of the authority that Envoy trusts. */
async function shownName(): Promise<unknown> {
  const socket = connect({
    port: stack.service.grpcPort,
    host: '127.0.0.1',
    servername: 'authz.example.com',
    ca: ca.pem,
    cert: envoys.pem,
    key: envoys.keyPem,
    ALPNProtocols: ['h2'],
  })
  await once(socket, 'secureConnect')
  const { subject } = socket.getPeerCertificate()
  socket.destroy()
  return subject.CN
}

it('a certificate is replaced three times under load: no connection ends, and no request is refused', async () => {
  const stat = (name: string) => stack.envoy.stat(`cluster.agent-authz.${name}`)
  const running = load(stack.envoy.port, await stack.issuer.mint({ ...ALICE, ttl: 600 }))
  await running.more(4 * LOAD)
  const failures = await stat('health_check.failure')
  expect(await shownName()).toBe('first')
  for (const [name, leaf] of others) {
    rotate(leaf)
    await until('it to be shown', async () => (await shownName()) === name)
    await running.more(4 * LOAD)
  }
  await running.stop()
  expect(refused(running.answers)).toEqual([])
  expect(await stat('upstream_cx_destroy')).toBe(0)
  // The connection of the health checks is another.
  expect(await stat('health_check.failure')).toBe(failures)
})
