import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { AGENT, claims, json, type Key, NOW, newKey, type Server, startServer, until } from '../issuer.ts'
import { asked, deadline, type KeyRoom, keyRooms, refresh } from './key-room.ts'

const DAY_MS = 24 * 60 * 60_000
const HOUR_MS = 60 * 60_000

let key: Key
let server: Server
const { started, keep } = keyRooms()

beforeAll(async () => {
  key = await newKey('k1')
})
beforeEach(async () => {
  server = keep(await startServer(json({ keys: [key.jwk] })))
})

const remote = () => [{ jwks_uri: `${server.url}/keys` }]
const broken: Server['answer'] = (_, response) => response.writeHead(500).end()
/** A token that is good at the time of the room. */
const tokenAt = ({ time }: KeyRoom) =>
  key.sign(claims({ iat: undefined, exp: Math.floor(time.now / 1000) + 300 }))

describe('an issuer that cannot be reached', () => {
  it('is 503 until it is there, and is tried again soon', async () => {
    await server.close()
    const port = Number(new URL(server.url).port)
    const room = started(remote())
    await room.fetched()
    const token = await key.sign(claims())
    await expect(room.identify(token)).rejects.toThrow('keys_unavailable')
    expect(room.room.status()).toMatchObject([{ keys: 0, error: expect.stringMatching(/reach/) }])
    expect(await room.fetched(2)).toMatchObject({ fetches: { unreachable: 2 }, keys: 0, loaded: 0 })
    expect(room.seen.logged).toMatchObject([
      { level: 'warn', fields: { issuer: 'corp', code: 'ECONNREFUSED' } },
    ])

    keep(await startServer(json({ keys: [key.jwk] }), port))
    await vi.advanceTimersByTimeAsync(2_000)
    await until('the keys', () => room.room.status()[0]?.keys === 1)
    expect(await room.identify(token)).toMatchObject(AGENT)
    expect(room.room.status()).toMatchObject([{ error: null }])
    expect(await room.scrape()).toMatchObject({ fetches: { unreachable: 2, ok: 1 }, keys: 1, loaded: NOW })
  })

  it('is tried less and less often, but every half minute', async () => {
    server.answer = broken
    const room = started(remote())
    await room.fetched()
    let times = 1
    for (const pause of [1, 2, 4, 8, 16, 30, 30].map(seconds => seconds * 1000)) {
      await vi.advanceTimersByTimeAsync(pause - 1)
      expect(await asked(server)).toHaveLength(times)
      await vi.advanceTimersByTimeAsync(1)
      await room.fetched(++times)
    }
    expect(room.seen.logged).toHaveLength(1)
    expect(await room.scrape()).toMatchObject({ fetches: { status: times }, keys: 0 })
  })

  it('is 503 keys_unavailable, not deadline, where its first answer does not come in time', async () => {
    server.answer = () => undefined
    const room = started(remote())
    const impatient = deadline()
    const waiting = room.identify(await key.sign(claims()), impatient)
    await until('the check to wait', () => impatient.waiting)
    impatient.pass()
    await expect(waiting).rejects.toThrow('keys_unavailable')
    const gone = deadline()
    gone.pass('cancelled')
    await expect(room.identify(await key.sign(claims()), gone)).rejects.toThrow('cancelled')
  })

  it('keeps its last good keys for a day, and none after that', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = broken
    room.time.now += DAY_MS - 1
    const last = await tokenAt(room)
    expect(await room.identify(last)).toMatchObject(AGENT)
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 1, status: 1 }, keys: 1, loaded: NOW })

    room.time.now += 1
    await expect(room.identify(last)).rejects.toThrow('keys_unavailable')
    expect(room.room.status()).toMatchObject([{ keys: 0, error: 'the answer is not 200' }])
    expect(await room.scrape()).toMatchObject({ keys: 0, loaded: NOW })
    expect(room.seen.logged).toMatchObject([
      { level: 'warn', message: expect.stringMatching(/could not be read/) },
      { level: 'error', message: expect.stringMatching(/a day old/), fields: { issuer: 'corp' } },
    ])
    server.answer = json({ keys: [key.jwk] })
    room.time.now += 10_000
    expect(await room.identify(await tokenAt(room))).toMatchObject(AGENT)
    expect(await room.scrape()).toMatchObject({ keys: 1, loaded: room.time.now / 1000 })
  })

  it('shows that they have ended as soon as anybody looks', async () => {
    const room = started(remote())
    await room.fetched()
    room.time.now += DAY_MS
    expect(room.room.status()).toMatchObject([{ keys: 0 }])
    expect(await room.scrape()).toMatchObject({ fetches: { ok: 1 }, keys: 0, loaded: NOW })
  })

  it('shows that they have ended though nobody looks', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = broken
    room.time.now += DAY_MS
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 1, status: 1 }, keys: 0, loaded: NOW })
  })

  it('keeps them no longer than a day from when the clock was set back', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = broken
    room.time.now -= 365 * DAY_MS
    const set = room.time.now
    const token = await tokenAt(room)
    expect(await room.identify(token)).toMatchObject(AGENT)
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ keys: 1, loaded: set / 1000 })
    room.time.now = set + DAY_MS - 1
    expect(await room.identify(await tokenAt(room))).toMatchObject(AGENT)
    room.time.now = set + DAY_MS
    await expect(room.identify(await tokenAt(room))).rejects.toThrow('keys_unavailable')
    expect(await room.scrape()).toMatchObject({ keys: 0 })
  })

  it('does not take keys back that were too old, when the clock is set back', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = broken
    room.time.now += DAY_MS + HOUR_MS
    await expect(room.identify(await tokenAt(room))).rejects.toThrow('keys_unavailable')
    room.time.now -= 2 * HOUR_MS
    await expect(room.identify(await tokenAt(room))).rejects.toThrow('keys_unavailable')
    expect(await room.scrape()).toMatchObject({ keys: 0 })
  })

  it('is read at once by the first check after a clock was set ahead', async () => {
    const room = started(remote())
    await room.fetched()
    room.time.now += 2 * DAY_MS
    expect(await room.identify(await tokenAt(room))).toMatchObject(AGENT)
    expect(await room.scrape()).toMatchObject({ fetches: { ok: 2 }, keys: 1 })
  })
})

describe('a file of keys that stays as it is', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keys-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('has no age', async () => {
    const jwks_file = join(folder, 'jwks.json')
    writeFileSync(jwks_file, JSON.stringify({ keys: [key.jwk] }))
    const room = started([{ jwks_file }])
    for (const days of [2, -30, 365]) {
      room.time.now += days * DAY_MS
      expect(await room.identify(await tokenAt(room))).toMatchObject(AGENT)
    }
    expect(await room.scrape()).toEqual({ fetches: { ok: 1 }, keys: 1, ignored: 0, loaded: NOW })
  })
})
