import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { type Service, startService } from '../../deploy/demo/service.ts'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { ALICE } from '../e2e/stack.ts'
import { AS_ALICE, expectAllowed, expectEnvoysRefusal, TRUSTED_AS_ALICE, trusted } from './expectations.ts'
import { bearer, type Field } from './http1.ts'
import { grpcMessage, send2 } from './http2-client.ts'
import type { Listener, Listeners } from './listeners.ts'
import { type Asked, type Matrix, startMatrix } from './matrix.ts'
import { type Answer, type Sent, send, WEBSOCKET } from './raw-client.ts'
import type { Seen } from './upstream.ts'

const MARKER = 'x-envoy-auth-failure-mode-allowed'
const FORGED: Field[] = [...TRUSTED_HEADERS, MARKER, 'x-envoy-auth-partial-body'].map(name => [
  name,
  'forged',
])

const strict = ({ authz }: Listener) => void Object.assign(authz, { failure_mode_allow: false })
const lenient = ({ authz }: Listener) =>
  void Object.assign(authz, { failure_mode_allow: true, failure_mode_allow_header_add: true })
const joined = ({ authz }: Listener) => void Object.assign(authz, { encode_raw_headers: false })
/** Only for when nobody will answer: otherwise what is slow here is the machine. */
const impatient = ({ authz }: Listener) => {
  Object.assign(authz.grpc_service as object, { timeout: '0.5s' })
}
const all =
  (...changes: ((listener: Listener) => void)[]) =>
  (listener: Listener) => {
    for (const change of changes) change(listener)
  }

const LISTENERS: Listeners = {
  strict,
  'strict-joined': all(strict, joined),
  lenient,
  'lenient-joined': all(lenient, joined),
  'strict-impatient': all(strict, impatient),
  'lenient-impatient': all(lenient, impatient),
}
const PATIENT = ['strict', 'strict-joined', 'lenient', 'lenient-joined']

let matrix: Matrix
let service: Service
let alice: Field
beforeAll(async () => {
  matrix = await startMatrix(LISTENERS)
  service = matrix.service
  // Started again, it has the place that Envoy knows.
  const config = readFileSync(matrix.config, 'utf8').replace('grpc: 127.0.0.1:0', `grpc: ${service.grpc}`)
  writeFileSync(matrix.config, config)
  alice = bearer(await matrix.issuer.mint(ALICE))
}, 60_000)
afterAll(async () => {
  service?.process.signal('SIGKILL')
  await matrix?.stop()
})

const REQUESTS: [what: string, sent: Sent][] = [
  ['with a good token', { target: '/see' }],
  ['that policy refuses', { target: '/no' }],
  ['HEAD', { method: 'HEAD', target: '/see' }],
  ['with a body', { method: 'POST', target: '/body', body: '{"folder":"other"}' }],
]

const ask = (listener: string, sent: Sent) =>
  matrix.ask(listener, port => send(port, { ...sent, headers: [...FORGED, alice, ...(sent.headers ?? [])] }))

/** Refused by Envoy, or let through by it without a word of ours, and nothing that the client forged. */
function expectUnanswered(listener: string, asked: Asked<Answer>): void {
  if (listener.startsWith('strict')) {
    expectEnvoysRefusal(asked, 503, { error: 1 })
    expect(asked.client.body).toBe('')
    return
  }
  expect(asked.client.status).toBe(200)
  expect(asked.upstream.map(trusted)).toEqual([{}])
  expect(asked.upstream[0]?.headers).toMatchObject({ [MARKER]: ['true'] })
  expect(JSON.stringify(asked.upstream)).not.toContain('forged')
  expect(asked.counted).toEqual({ error: 1, failure_mode_allowed: 1 })
}

/** Envoy has found its way back, and then stays on it. */
async function allWell(): Promise<void> {
  await until('Envoy to be answered again', async () => {
    const { client } = await ask('strict', { target: '/see' })
    return client.status === 503 ? undefined : client
  })
  for (const listener of PATIENT) await matrix.moved(listener)
  for (const listener of PATIENT)
    for (let times = 0; times < 5; times++) {
      const seen = expectAllowed(await ask(listener, { target: '/see' }), AS_ALICE)
      expect(seen.headers).not.toHaveProperty(MARKER)
    }
}

describe('killed', () => {
  beforeAll(async () => {
    await allWell()
    await kill()
  })

  it.each(PATIENT.flatMap(listener => REQUESTS.map(([what, sent]) => [listener, what, sent] as const)))(
    'nobody answers for a request: %s, %s',
    async (listener, _, sent) => {
      expectUnanswered(listener, await ask(listener, sent))
    },
  )

  it('nor for one of gRPC, nor for a WebSocket', async () => {
    const message = grpcMessage('hello')
    const grpc = await matrix.ask('strict', port =>
      send2(port, {
        method: 'POST',
        path: '/matrix.Echo/Say',
        headers: [alice, ['content-type', 'application/grpc'], ['te', 'trailers']],
        body: message,
      }),
    )
    expect(grpc).toMatchObject({
      client: { status: 200, body: '', headers: { 'grpc-status': ['14'] } },
      upstream: [],
    })
    expect(grpc.counted).toEqual({ error: 1 })
    expectUnanswered('strict', await ask('strict', { target: '/see', headers: WEBSOCKET }))
  })

  it('all is well when it is started again', async () => {
    service = await startService(matrix.processes, matrix.config)
    await allWell()
  })
})

describe('frozen', () => {
  it('nobody answers for a request, and all is well when it goes on', async () => {
    await allWell()
    service.process.signal('SIGSTOP')
    for (const listener of ['strict-impatient', 'lenient-impatient'])
      expectUnanswered(listener, await ask(listener, { target: '/see' }))
    service.process.signal('SIGCONT')
    await allWell()
  })
})

describe('frozen before a crowd', () => {
  const crowd = Array.from({ length: 30 }, (_, i) => `/see/frozen/${i}`)

  it('nobody is answered, and no record says that anybody was allowed', async () => {
    await allWell()
    service.process.signal('SIGSTOP')
    const { client, upstream, counted } = await matrix.ask('strict-impatient', port =>
      Promise.all(crowd.map(target => send(port, { target, headers: [alice] }))),
    )
    service.process.signal('SIGCONT')
    expect(client.map(({ status, body }) => ({ status, body }))).toEqual(
      crowd.map(() => ({ status: 503, body: '' })),
    )
    expect(client.flatMap(({ headers }) => headers['x-authz-decision-id'] ?? [])).toEqual([])
    expect({ upstream, counted }).toEqual({ upstream: [], counted: { error: crowd.length } })

    await allWell()
    const after = '/see/frozen/after'
    expectAllowed(await ask('strict', { target: after }), AS_ALICE)
    // What was queued has been read then, and with the end all is written.
    await service.process.stop()
    service = await startService(matrix.processes, matrix.config)
    const records = matrix
      .decisions()
      .map(({ path, outcome, reason }) => ({ path: `${path}`, outcome, reason }))
    const [answered, ...more] = records.filter(({ path }) => path === after)
    expect([answered, more]).toEqual([{ path: after, outcome: 'allow', reason: 'policy_allowed' }, []])
    const given = records.filter(({ path }) => crowd.includes(path))
    expect(given).toEqual(given.map(({ path }) => ({ path, outcome: 'deny', reason: 'cancelled' })))
    expect(new Set(given.map(({ path }) => path)).size).toBe(given.length)
  })
})

describe.each<[how: string, end: () => Promise<void>]>([
  ['stopped', () => service.process.stop()],
  ['killed', kill],
])('%s and started again under load', (_, end) => {
  it('nothing passes without a word of ours but where Envoy is told so, and then all is well', async () => {
    await allWell()
    const loads = PATIENT.map(load)
    await until('the load', () => loads.every(({ answers }) => answers.length >= 5))
    await end()
    const missed = loads.map(({ answers }) => answers.length + 5)
    await until('it to be missed', () => loads.every(({ answers }, i) => answers.length > (missed[i] ?? 0)))
    service = await startService(matrix.processes, matrix.config)
    await until('the load to be answered', () => loads.every(({ answers }) => answers.at(-1) === 200))
    await Promise.all(loads.map(({ stop }) => stop()))

    const upstream = matrix.taken()
    for (const { listener, answers } of loads) {
      const arrived = upstream.filter(({ target }) => target.endsWith(`/${listener}`))
      const [known, unknown] = [arrived.filter(hasTrusted), arrived.filter(seen => !hasTrusted(seen))]
      const times = (status: number) => answers.filter(one => one === status).length
      const counted = await matrix.moved(listener)

      expect(JSON.stringify(arrived)).not.toContain('forged')
      for (const seen of known) expect(trusted(seen)).toEqual(TRUSTED_AS_ALICE)
      expect(unknown.map(({ headers }) => headers[MARKER])).toEqual(unknown.map(() => ['true']))
      expect({ passed: times(200), refused: times(503) }).toEqual({
        passed: arrived.length,
        refused: answers.length - arrived.length,
      })
      if (listener.startsWith('strict')) expect(unknown).toEqual([])
      else expect(times(503)).toBe(0)
      expect(counted).toEqual({
        ok: known.length,
        error: answers.length - known.length,
        ...(unknown.length > 0 && { failure_mode_allowed: unknown.length }),
      })
      expect(counted.error).toBeGreaterThan(0)
    }
    await allWell()
  }, 120_000)
})

const hasTrusted = (seen: Seen) => Object.keys(trusted(seen)).length > 0
async function kill(): Promise<void> {
  service.process.signal('SIGKILL')
  await until('the service to be gone', () => !service.process.running())
}

/** One request after another, until it is stopped; their statuses. */
function load(listener: string): { listener: string; answers: number[]; stop(): Promise<void> } {
  const answers: number[] = []
  let stopped = false
  const ended = (async () => {
    while (!stopped) {
      const sent = { target: `/see/${listener}`, headers: [...FORGED, alice] }
      answers.push((await send(matrix.port(listener), sent)).status)
    }
  })()
  return {
    listener,
    answers,
    stop() {
      stopped = true
      return ended
    },
  }
}
