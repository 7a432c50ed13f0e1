import type { ClientHttp2Session } from 'node:http2'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { ALICE } from '../e2e/stack.ts'
import { expectRefused, TRUSTED_AS_ALICE, trusted } from './expectations.ts'
import { bearer, type Field } from './http1.ts'
import { open, send2, sendOn } from './http2-client.ts'
import { type Listeners, wait } from './listeners.ts'
import { type Asked, type Matrix, startMatrix } from './matrix.ts'
import type { Answer } from './raw-client.ts'

/** Nothing is late, however busy the machine is: these tests are about how many. */
const LONG = '60s'
const PATIENCE_MS = 40_000

const LISTENERS: Listeners = Object.fromEntries(
  [true, false].map(failure_mode_allow => [
    failure_mode_allow ? 'lenient' : 'strict',
    listener => {
      wait(listener, '90s')
      listener.authz.failure_mode_allow = failure_mode_allow
    },
  ]),
)

interface Sent {
  readonly path: string
  readonly headers: readonly Field[]
}

/** Envoy takes 1024 requests on one connection. */
const ON_ONE_CONNECTION = 500

/** The answers to all of these, which wait at the service together: it stands still until Envoy has asked for each. */
function atOnce(matrix: Matrix, listener: string, crowd: readonly Sent[]): Promise<Asked<Answer[]>> {
  const { envoy, service } = matrix
  const waiting = () => envoy.stat('cluster\\.agent-authz\\.upstream_rq_(pending_)?active')
  return matrix.ask(listener, async port => {
    service.process.signal('SIGSTOP')
    const sessions: ClientHttp2Session[] = []
    const answers = crowd.map((sent, place) => {
      if (place % ON_ONE_CONNECTION === 0) sessions.unshift(open(port))
      return sendOn(sessions[0] as ClientHttp2Session, sent)
    })
    const allWait = until('all to wait', async () => (await waiting()) === crowd.length, PATIENCE_MS)
    const [answered] = await Promise.all([
      Promise.all(answers),
      allWait.finally(() => service.process.signal('SIGCONT')),
    ])
    for (const session of sessions) session.destroy()
    return answered
  })
}

describe('more tokens that were never seen than can wait to be verified', () => {
  const KNOWN = 20
  const NEW = 2500
  let matrix: Matrix
  beforeAll(async () => {
    matrix = await startMatrix(LISTENERS, config => {
      config.listen.check_timeout = LONG
    })
  }, 60_000)
  afterAll(() => matrix?.stop())

  it.each(Object.keys(LISTENERS))(
    'are refused with a reason and a record, while those that are known pass: %s',
    async listener => {
      const path = `/see/${listener}`
      const mint = async () => ({ path, headers: [bearer(await matrix.issuer.mint(ALICE))] })
      const known = await mint()
      await matrix.ask(listener, port => send2(port, { ...known, path: '/see/known' }))
      // The oldest are those that have to go.
      const crowd = [...Array(KNOWN).fill(known), ...(await Promise.all(Array.from({ length: NEW }, mint)))]

      const { client, upstream, counted } = await atOnce(matrix, listener, crowd)
      expect(client.slice(0, KNOWN).map(({ status }) => status)).toEqual(Array(KNOWN).fill(200))
      const refused = client.filter(({ status }) => status !== 200)
      expect(refused.length).toBeGreaterThan(0)
      for (const answer of refused) expectRefused(answer, 503, 'overloaded', { 'retry-after': '1' })
      const passed = crowd.length - refused.length
      expect(upstream.map(trusted)).toEqual(Array(passed).fill(TRUSTED_AS_ALICE))
      expect(counted).toEqual({ ok: passed, denied: refused.length })

      const records = await until('their records', () => {
        const lines = matrix.decisions().filter(line => line.path === path)
        return lines.length >= crowd.length ? lines : undefined
      })
      expect(records).toHaveLength(crowd.length)
      const told = refused.map(({ headers }) => headers['x-authz-decision-id']?.[0])
      const recorded = records.filter(({ outcome }) => outcome === 'deny')
      expect(recorded.map(({ decision_id }) => decision_id).toSorted()).toEqual(told.toSorted())
      expect(recorded.map(({ reason }) => reason)).toEqual(recorded.map(() => 'overloaded'))
    },
    180_000,
  )
})

describe('fewer checks at a time on one connection than Envoy has to ask for', () => {
  const FEW = 4
  let matrix: Matrix
  beforeAll(async () => {
    matrix = await startMatrix(
      LISTENERS,
      config => {
        Object.assign(config.listen, { check_timeout: LONG, max_concurrent_streams: FEW })
      },
      text => text.replace('{ max_concurrent_streams: 1024 }', `{ max_concurrent_streams: ${FEW} }`),
    )
  }, 60_000)
  afterAll(() => matrix?.stop())

  it('make more connections, and no request fails or is asked for twice', async () => {
    const headers = [bearer(await matrix.issuer.mint(ALICE))]
    const crowd = Array.from({ length: 60 }, (_, i) => ({ path: `/see/${i}`, headers }))
    const { client, upstream, counted } = await atOnce(matrix, 'strict', crowd)
    expect(client.map(({ status }) => status)).toEqual(crowd.map(() => 200))
    expect(counted).toEqual({ ok: crowd.length })
    expect(upstream.map(({ target }) => target).toSorted()).toEqual(crowd.map(({ path }) => path).toSorted())
    expect(upstream.map(trusted)).toEqual(crowd.map(() => TRUSTED_AS_ALICE))

    const stat = (name: string) => matrix.envoy.stat(`cluster\\.agent-authz\\.upstream_${name}`)
    expect(await stat('rq_(retry|rx_reset|tx_reset|timeout|pending_failure_eject|pending_overflow)')).toBe(0)
    expect(await stat('cx_total')).toBeGreaterThanOrEqual(crowd.length / FEW)
  })
})
