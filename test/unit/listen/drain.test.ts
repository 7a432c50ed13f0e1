import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ServiceError, status } from '@grpc/grpc-js'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { createGrpcServer, type GrpcServer, type GrpcSettings } from '../../../src/listen/grpc-server.ts'
import type { Check } from '../../../src/types.ts'
import { allowed, type Caller, caller, keptEvents, keptLog, refused, SETTINGS } from './callers.ts'
import { certificatesIn } from './certificates.ts'
import { heldCheck } from './servers.ts'

// Sockets keep real time; the pauses of `drain` pass when a test says so.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
const folder = mkdtempSync(join(tmpdir(), 'drain-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const callers: Caller[] = []
const sockets: Socket[] = []
let server: GrpcServer
let over: Promise<void> | undefined
afterEach(async () => {
  for (const each of callers.splice(0)) each.close()
  for (const each of sockets.splice(0)) each.destroy()
  over ??= server.drain()
  await vi.advanceTimersByTimeAsync(11_000)
  await over
  over = undefined
  vi.useRealTimers()
})

async function started(check: Check = () => allowed, settings: Partial<GrpcSettings> = {}) {
  server = await createGrpcServer(
    { ...SETTINGS, ...settings },
    { check, clock: Date.now, log: keptLog(), events: keptEvents() },
  )
  server.serving(true)
}

function calling(): Caller {
  const made = caller(server.address)
  callers.push(made)
  return made
}

function leave(): { readonly over: boolean } {
  const state = { over: false }
  over = server.drain().then(() => {
    state.over = true
  })
  return state
}

/** How long Envoy may not have heard that we are leaving, by the configuration that we ship. */
const UNHEARD_MS = (() => {
  const text = readFileSync(join(import.meta.dirname, '../../../envoy/envoy.yaml'), 'utf8')
  const [, interval, threshold] =
    /health_checks:[\s\S]*?interval: (\d+)s[\s\S]*?unhealthy_threshold: (\d+)/.exec(text) ?? []
  return Number(interval) * Number(threshold) * 1_000
})()

describe('a server that leaves', () => {
  it('says so first, and answers all the same until Envoy must have heard', async () => {
    await started()
    const known = calling()
    expect(await known.health('')).toBe('SERVING')
    const state = leave()
    for (const name of ['', 'envoy.service.auth.v3.Authorization'])
      expect(await known.health(name)).toBe('NOT_SERVING')
    expect(UNHEARD_MS).toBeGreaterThan(0)
    // A check of health that was on its way at the time, and the next one.
    await vi.advanceTimersByTimeAsync(2 * UNHEARD_MS - 1)
    expect(await known.check()).toMatchObject({ code: 0 })
    expect(await calling().check()).toMatchObject({ code: 0 })
    expect(await calling().health('')).toBe('NOT_SERVING')
    expect(state.over).toBe(false)
  })

  it('tells who watches', async () => {
    await started()
    const watch = calling()
      .watch('')
      .on('error', () => undefined)
    const answers = watch[Symbol.asyncIterator]()
    expect((await answers.next()).value).toMatchObject({ status: 'SERVING' })
    leave()
    expect((await answers.next()).value).toMatchObject({ status: 'NOT_SERVING' })
  })

  it('stays NOT_SERVING, whatever is said of it meanwhile', async () => {
    await started()
    leave()
    server.serving(true)
    expect(await calling().health('')).toBe('NOT_SERVING')
    server.serving(true)
    expect(await calling().health('envoy.service.auth.v3.Authorization')).toBe('NOT_SERVING')
  })

  it('answers what was begun, takes nothing new, and ends when all is answered', async () => {
    const { check, begun, end } = heldCheck()
    await started(check)
    const known = calling()
    const underWay = known.check()
    await begun
    const state = leave()
    await vi.advanceTimersByTimeAsync(2_000)
    await expect(calling().check()).rejects.toMatchObject({ code: status.UNAVAILABLE })
    expect(state.over).toBe(false)
    end(refused(418))
    expect(await underWay).toMatchObject({ status: 418 })
    await over
    await expect(known.check()).rejects.toMatchObject({ code: status.UNAVAILABLE })
  })

  it('ends at once where nobody waits for an answer, though connections are open and watch its health', async () => {
    await started()
    await calling().check()
    await calling().health('')
    await watching()
    leave()
    await vi.advanceTimersByTimeAsync(2_000)
    await over
  })

  it.each<[string, () => string]>([
    ['TCP', () => '127.0.0.1:0'],
    ['a host by its name', () => 'localhost:0'],
    ['a Unix socket', () => `unix:${join(folder, 'cut')}`],
  ])('cuts after ten seconds what still runs, and is over when that check has ended: %s', async (_, grpc) => {
    const { check, begun, end } = heldCheck()
    await started(check, { grpc: grpc() })
    const cut = failure(calling().check())
    const signal = (await begun).signal()
    const cancelled = once(signal, 'abort')
    const state = leave()
    await vi.advanceTimersByTimeAsync(9_999)
    expect(state.over).toBe(false)
    expect(signal.aborted).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    await cancelled
    expect(signal.reason).toEqual(new Denied('cancelled'))
    expect(state.over).toBe(false)
    end(refused(503, 'cancelled'))
    await over
    expect([status.CANCELLED, status.UNAVAILABLE]).toContain((await cut)?.code)
  })

  it('waits for a check that was answered for and still runs, since its record is to come', async () => {
    const { check, begun, end } = heldCheck()
    await started(check, { check_timeout: 20 })
    const answered = calling().check()
    await begun
    await vi.advanceTimersByTimeAsync(30)
    expect(await answered).toMatchObject({ body: '{"error":"deadline"}' })
    const state = leave()
    await vi.advanceTimersByTimeAsync(2_000)
    expect(state.over).toBe(false)
    end(allowed)
    await over
  })

  it('does not wait for ever for a check that does not end', async () => {
    const { check, begun } = heldCheck()
    await started(check)
    const cut = failure(calling().check())
    await begun
    leave()
    await vi.advanceTimersByTimeAsync(11_000)
    await over
    expect(await cut).toBeDefined()
  })

  it('does not wait longer for a connection that says nothing', async () => {
    await started()
    await silent()
    const state = leave()
    await vi.advanceTimersByTimeAsync(10_000)
    await over
    expect(state.over).toBe(true)
  })

  it('waits for none that is in the middle of TLS', async () => {
    await started(undefined, tls())
    await silent()
    const state = leave()
    await vi.advanceTimersByTimeAsync(2_000)
    // Turns, not time: nothing of it depends on a peer.
    for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate)
    expect(state.over).toBe(true)
  })
})

async function watching(): Promise<void> {
  const watch = calling().watch('')
  await once(
    watch.on('error', () => undefined),
    'data',
  )
}

async function silent(): Promise<void> {
  const socket = connect(Number(server.address.split(':')[1]), '127.0.0.1').on('error', () => undefined)
  sockets.push(socket)
  await once(socket, 'connect')
}

function tls(): Partial<GrpcSettings> {
  const { crt, key } = certificatesIn(folder).leaf('server')
  return { tls: { cert: crt, key } }
}

function failure(call: Promise<unknown>): Promise<ServiceError | undefined> {
  return call.then(
    () => undefined,
    (error: ServiceError) => error,
  )
}
