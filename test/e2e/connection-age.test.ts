import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { certificatesIn } from '../unit/listen/certificates.ts'
import { edited, httpOptions, leaveFirst, overTls } from './edited-envoy.ts'
import { load, refused } from './load.ts'
import { ALICE, patient, startStack } from './stack.ts'

/** Connections that have to end, each of them under load. */
const ENDED = 10

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-age-'))
const make = certificatesIn(folder)
const ca = make.authority('ca')
const [ours, envoys] = [make.leaf('ours', 'ca'), make.leaf('envoys', 'ca')]
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('connections that end at their age, under load', { concurrent: true, timeout: 120_000 }, () => {
  it.for([
    // A check that crosses the end is refused unprocessed, and Envoy asks again.
    { transport: 'TCP', by: 'the service', tls: false },
    { transport: 'TLS', by: 'the service', tls: true },
    { transport: 'TLS', by: 'Envoy, which has no retry policy', tls: true },
  ])('lose no check: ended by $by, over $transport', async ({ by, tls }, { expect, onTestFinished }) => {
    const byService = by === 'the service'
    const { envoy, issuer, decisions, stop } = await startStack({
      service({ listen }) {
        Object.assign(listen, { max_connection_age: byService ? '1s' : '1h', check_timeout: '5s' })
        if (tls) listen.tls = { cert: ours.crt, key: ours.key, client_ca: ca.crt }
      },
      envoy: config =>
        edited(({ extAuthz, authz, upstream }) => {
          if (!byService) delete extAuthz.grpc_service.retry_policy
          const max_connection_duration = byService ? undefined : '1s'
          Object.assign(httpOptions(authz), { common_http_protocol_options: { max_connection_duration } })
          if (tls) overTls(authz, { ca: ca.crt, own: envoys })
          authz.connect_timeout = '10s'
          leaveFirst(upstream)
        })(patient(config)),
    })
    onTestFinished(stop)
    const ended = () => envoy.stat('cluster.agent-authz.upstream_cx_destroy')

    const running = load(envoy.port, await issuer.mint({ ...ALICE, ttl: 600 }))
    await until('connections to end', async () => (await ended()) >= ENDED, 60_000)
    await running.more(100)
    await running.stop()

    expect(refused(running.answers)).toEqual([])
    // One record each: what is asked again was not decided before.
    const answered = running.answers.map(({ decisionId }) => decisionId)
    await until('a line for each answer', () => decisions().length >= answered.length)
    const recorded = decisions().map(line => line.decision_id)
    expect(recorded.toSorted()).toEqual(answered.toSorted())
  })
})
