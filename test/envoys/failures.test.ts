import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { ALICE } from '../e2e/stack.ts'
import { AS_ALICE, expectAllowed, expectRefusal } from './expectations.ts'
import { bearer, type Field, JSON_TYPE } from './http1.ts'
import { open, sendOn } from './http2-client.ts'
import { GONE, type Issuers, SLOW, startIssuers } from './issuers.ts'
import { type Listener, type Listeners, wait } from './listeners.ts'
import { type Matrix, startMatrix } from './matrix.ts'
import { type Sent, send } from './raw-client.ts'

const MIB = 1024 * 1024
const LARGE = 'a'.repeat(5 * MIB)
/** In a message over what our gRPC server takes at all. */
const HUGE = 'a'.repeat(66 * MIB)

/** Where Envoy lets through what nobody answered for, and where it does not; with either encoding of headers. */
const LISTENERS: Listeners = Object.fromEntries(
  ['strict', 'lenient'].flatMap(mode =>
    [true, false].map(raw => [
      `${mode}-${raw ? 'raw' : 'joined'}`,
      (listener: Listener) => {
        const { authz, hcm, route } = listener
        // A large body takes its time on a machine that is busy.
        wait(listener, '15s')
        authz.failure_mode_allow = mode === 'lenient'
        authz.encode_raw_headers = raw
        Object.assign(authz.with_request_body, { max_request_bytes: 128 * MIB })
        Object.assign(hcm, { upgrade_configs: [{ upgrade_type: 'CONNECT' }] })
        route({ connect_matcher: {} }, { disable_request_body_buffering: true })
        route({ path_separated_prefix: '/misspelt' }, { context_extensions: { agent_authz_moed: 'observe' } })
      },
    ]),
  ),
)

let matrix: Matrix
let issuers: Issuers
beforeAll(async () => {
  issuers = await startIssuers()
  matrix = await startMatrix(
    {
      ...LISTENERS,
      hurried({ authz }) {
        Object.assign(authz.grpc_service as object, { timeout: '0.5s' })
      },
    },
    config => {
      issuers.configure(config)
      config.listen.check_timeout = '1s'
    },
  )
}, 60_000)
afterAll(async () => {
  await matrix?.stop()
  await issuers?.close()
})

describe.each(Object.keys(LISTENERS))('a failure of ours is a refusal of ours: %s', listener => {
  let alice: Field
  const ask = (sent: Sent) =>
    matrix.ask(listener, port => send(port, { ...sent, headers: [alice, ...(sent.headers ?? [])] }))
  beforeAll(async () => {
    alice = bearer(await matrix.issuer.mint(ALICE))
  })

  it.each<[what: string, sent: Sent, status: number, reason: string]>([
    ['a policy with a result that is none', { target: '/malformed' }, 500, 'policy_error'],
    ['a policy that answers deeper than Envoy reads', { target: '/deep' }, 500, 'policy_error'],
    ['a policy that sets a trusted header', { target: '/trusted' }, 500, 'policy_error'],
    ['a policy without a result', { target: '/elsewhere' }, 403, 'policy_undefined'],
    ['a route that is misspelt', { target: '/misspelt' }, 500, 'route_invalid'],
    ['a message over our limit', { method: 'POST', target: '/see', body: LARGE }, 400, 'request_too_large'],
    [
      'a body that is none',
      { method: 'POST', target: '/see', headers: [JSON_TYPE], body: '{' },
      400,
      'body_invalid',
    ],
    ['a path that is none', { target: '/see/%FF' }, 400, 'path_invalid'],
    [
      'a request without a path',
      { method: 'CONNECT', target: 'mail.example.com:443' },
      400,
      'request_malformed',
    ],
  ])('%s', async (_, sent, status, reason) => {
    expectRefusal(await ask(sent), status, reason)
  })

  it('a message over what gRPC takes, of which there is a record all the same', async () => {
    const asked = await ask({ method: 'POST', target: '/see', body: HUGE })
    expectRefusal(asked, 400, 'request_too_large')
    const [id] = asked.client.headers['x-authz-decision-id'] ?? []
    const [record, ...more] = await until('its record', () => {
      const found = matrix.decisions().filter(line => line.decision_id === id)
      return found.length > 0 ? found : undefined
    })
    expect(more).toEqual([])
    expect(record).toMatchObject({
      outcome: 'deny',
      enforced: true,
      reason: 'request_too_large',
      status: 400,
    })
    // What it asked for was never read, which tells it from one that is over our own limit.
    expect(record).not.toHaveProperty('path')
  })

  it('an issuer that cannot be reached', async () => {
    const token = await issuers.token({ claims: { iss: GONE } })
    const asked = await matrix.ask(listener, port => send(port, { target: '/see', headers: [bearer(token)] }))
    expectRefusal(asked, 503, 'keys_unavailable', { 'retry-after': '1' })
  })
})

describe('an issuer that does not answer', () => {
  it('makes a refusal of ours at the deadline of the check, or before Envoy gives up', async () => {
    await Promise.all([...Object.keys(LISTENERS), 'hurried'].map(expectDeadline))
  })
})

describe('a decision log that is full', () => {
  let full: Matrix
  beforeAll(async () => {
    full = await startMatrix(LISTENERS, config => {
      config.decision_log = { file: '/dev/full', on_full: 'refuse' }
    })
  }, 60_000)
  afterAll(() => full?.stop())

  it('turns every allow into a refusal of ours', async () => {
    // As much as one line of the log can hold.
    const long = '€'.repeat(1750)
    const token = await full.issuer.mint({ ...ALICE, client_id: long, claims: { jti: long } })
    const headers = [bearer(token)]
    const session = open(full.port('strict-raw'))
    const flood = () => sendOn(session, { path: `/no/${'a'.repeat(2000)}`, headers })
    const ask = (listener: string, target: string) =>
      full.ask(listener, port => send(port, { target, headers }))
    const refused = await until('the log to be full', async () => {
      await Promise.all(Array.from({ length: 100 }, flood))
      await full.moved('strict-raw')
      const asked = await ask('strict-raw', '/see')
      return asked.client.status === 200 ? undefined : asked
    })
    session.destroy()
    expectRefusal(refused, 503, 'log_full', { 'retry-after': '1' })
    for (const listener of Object.keys(LISTENERS)) {
      expectRefusal(await ask(listener, '/see'), 503, 'log_full', { 'retry-after': '1' })
      expectRefusal(await ask(listener, '/no'), 403, 'policy_denied')
    }
  })
})

/**
 * A check waits for the keys of an issuer while it may ask for them, which is now and then. On a machine that is too busy
 * Envoy may give up first. Whatever happens is a refusal.
 */
async function expectDeadline(listener: string): Promise<void> {
  const asked = await until(
    `a check to wait at ${listener}`,
    async () => {
      const token = await issuers.token({ claims: { iss: SLOW }, header: { kid: 'unknown' } })
      const headers = [bearer(token)]
      const asked = await matrix.ask(listener, port => send(port, { target: '/see', headers }))
      expect(asked).toMatchObject({ upstream: [] })
      expect([401, 503]).toContain(asked.client.status)
      return asked.client.body.includes('"deadline"') ? asked : undefined
    },
    40_000,
  )
  expectRefusal(asked, 503, 'deadline', { 'retry-after': '1' })
}

it('and all is well in between', async () => {
  const token = await matrix.issuer.mint(ALICE)
  for (const listener of Object.keys(LISTENERS)) {
    const headers = [bearer(token)]
    expectAllowed(await matrix.ask(listener, port => send(port, { target: '/see', headers })), AS_ALICE)
  }
})
