import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { AGENT, claims, json, type Key, NOW, newKey, type Server, startServer, until } from '../issuer.ts'
import { asked, deadline, keyRooms, refresh } from './key-room.ts'

let key: Key
let next: Key
let server: Server
const { started, make, keep, forget } = keyRooms()

beforeAll(async () => {
  ;[key, next] = await Promise.all([newKey('k1'), newKey('k2')])
})
beforeEach(async () => {
  server = keep(await startServer(json({ keys: [key.jwk] })))
})

const remote = () => [{ jwks_uri: `${server.url}/keys` }]

describe('the keys of a URL', () => {
  it('are fetched at the start, which does not wait for them', async () => {
    server.answer = () => undefined
    const room = started(remote())
    expect(room.room.status()).toEqual([
      { issuer: 'corp', required: false, keys: 0, keys_read_at: null, error: null },
    ])
    await until('the request', () => server.asked.length === 1)
  })

  it('are waited for by the first check', async () => {
    const { identify, room, scrape } = started(remote())
    expect(await identify(await key.sign(claims()))).toMatchObject(AGENT)
    expect(room.status()).toMatchObject([{ keys: 1, error: null }])
    expect(server.asked).toEqual(['/keys'])
    expect(await scrape()).toEqual({ fetches: { ok: 1 }, keys: 1, ignored: 0, loaded: NOW })
  })

  it('are fetched again in the background, and a key that is gone is gone', async () => {
    const room = started(remote())
    const token = await key.sign(claims())
    await room.identify(token)
    expect(room.raw(token)).not.toBeInstanceOf(Promise)
    server.answer = json({ keys: [next.jwk] })
    room.time.now += 300_000
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 2 }, keys: 1, loaded: NOW + 300 })
    await expect(room.identify(token)).rejects.toThrow('key_unknown')
  })

  it('are not fetched again sooner than four and a half minutes', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0)
    const room = started(remote())
    await room.fetched()
    await vi.advanceTimersByTimeAsync(269_999)
    expect(await asked(server)).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(1)
    await room.fetched(2)
  })

  it('leave what they verified known when another key joins them', async () => {
    const room = started(remote())
    const token = await key.sign(claims())
    await room.identify(token)
    server.answer = json({ keys: [next.jwk, key.jwk] })
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ keys: 2 })
    expect(room.raw(token)).not.toBeInstanceOf(Promise)
  })

  it('leave what they verified known when they are only written otherwise', async () => {
    const room = started(remote())
    const token = await key.sign(claims())
    await room.identify(token)
    server.answer = json({
      keys: [{ x5t: 'AAAA', ...Object.fromEntries(Object.entries(key.jwk).toReversed()) }],
    })
    await refresh()
    await room.fetched(2)
    expect(room.raw(token)).not.toBeInstanceOf(Promise)
  })
})

describe('a key that is not known', () => {
  it('is fetched for the check that meets it', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = json({ keys: [key.jwk, next.jwk] })
    expect(await room.identify(await next.sign(claims()))).toMatchObject(AGENT)
    expect(server.asked).toHaveLength(2)
  })

  it('makes one fetch for many checks at once', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = json({ keys: [key.jwk, next.jwk] })
    const token = await next.sign(claims())
    const all = await Promise.all(Array.from({ length: 20 }, () => room.identify(token)))
    expect(all).toHaveLength(20)
    expect(server.asked).toHaveLength(2)
  })

  it('makes one fetch in ten seconds, and is refused at once until then', async () => {
    const room = started(remote())
    await room.fetched()
    for (const kid of ['x1', 'x2', 'x3', '__proto__'])
      await expect(room.identify(await next.sign(claims(), { kid }))).rejects.toThrow('key_unknown')
    expect(server.asked).toHaveLength(2)
    expect(await room.scrape()).toMatchObject({ fetches: { ok: 2 }, keys: 1, unknown: 4 })

    server.answer = json({ keys: [key.jwk, next.jwk] })
    const token = await next.sign(claims())
    room.time.now += 9_999
    await expect(room.identify(token)).rejects.toThrow('key_unknown')
    expect(server.asked).toHaveLength(2)
    room.time.now += 1
    expect(await room.identify(token)).toMatchObject(AGENT)
    expect(server.asked).toHaveLength(3)
  })

  it('has its pause by issuer', async () => {
    const OTHER = 'https://other.example.com'
    const elsewhere = keep(await startServer(json({ keys: [key.jwk] })))
    const room = started([...remote(), { name: 'other', issuer: OTHER, jwks_uri: `${elsewhere.url}/keys` }])
    await room.fetched(2)
    await expect(room.identify(await next.sign(claims()))).rejects.toThrow('key_unknown')
    await expect(room.identify(await next.sign(claims({ iss: OTHER })))).rejects.toThrow('key_unknown')
    expect([server.asked.length, elsewhere.asked.length]).toEqual([2, 2])
    for (const issuer of ['corp', 'other'])
      expect(await room.scrape(issuer)).toMatchObject({ fetches: { ok: 2 }, unknown: 1 })
  })

  it('is not paused for longer when the clock is set back', async () => {
    const room = started(remote())
    await room.fetched()
    await expect(room.identify(await next.sign(claims()))).rejects.toThrow('key_unknown')
    room.time.now -= 5_000
    server.answer = json({ keys: [key.jwk, next.jwk] })
    expect(await room.identify(await next.sign(claims()))).toMatchObject(AGENT)
  })

  it('is waited for until the deadline, and the fetch goes on for others', async () => {
    const room = started(remote())
    await room.fetched()
    let release = () => {}
    server.answer = (request, response) => {
      release = () => json({ keys: [key.jwk, next.jwk] })(request, response)
    }
    const token = await next.sign(claims())
    const impatient = deadline()
    const late = room.identify(token, impatient)
    await until('the fetch', () => server.asked.length === 2)
    impatient.pass()
    await expect(late).rejects.toThrow('deadline')
    release()
    await room.fetched(2)
    expect(await room.identify(token)).toMatchObject(AGENT)
    expect(server.asked).toHaveLength(2)
  })

  it('is given up when Envoy stops waiting, and before it begins where that is so already', async () => {
    const room = started(remote())
    await room.fetched()
    server.answer = () => undefined
    const gone = deadline()
    gone.pass('cancelled')
    await expect(room.identify(await next.sign(claims()), gone)).rejects.toThrow('cancelled')
  })

  it('never makes a signal where the token is known', async () => {
    const room = started(remote())
    await room.fetched()
    const token = await key.sign(claims())
    await room.identify(token)
    const unused = deadline()
    await room.identify(token, unused)
    expect(unused.waiting).toBe(false)
  })

  it('is not waited for past the deadline either where it is known: a signature takes its time', async () => {
    const room = started(remote())
    await room.fetched()
    const gone = deadline()
    gone.pass('deadline')
    await expect(room.identify(await key.sign(claims()), gone)).rejects.toThrow('deadline')
  })
})

describe('a key that was replaced under its own kid', () => {
  it('is fetched for the first signature that does not verify, which does not wait', async () => {
    const room = started(remote())
    await room.fetched()
    const replaced = await newKey('k1')
    server.answer = json({ keys: [replaced.jwk] })
    const token = await replaced.sign(claims())
    await expect(room.identify(token)).rejects.toThrow('signature_invalid')
    await room.fetched(2)
    expect(await room.identify(token)).toMatchObject(AGENT)
  })

  it('is fetched once in ten seconds, however many forged tokens come', async () => {
    const room = started(remote())
    await room.fetched()
    const forger = await newKey('k1')
    for (let i = 0; i < 5; i++)
      await expect(room.identify(await forger.sign(claims({ jti: `${i}` })))).rejects.toThrow(
        'signature_invalid',
      )
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 2 } })
    expect(server.asked).toHaveLength(2)
  })
})

describe('a room that takes the place of another', () => {
  it('has the keys of the one before at once, which may close', async () => {
    const before = started(remote())
    await before.fetched()
    server.answer = () => undefined
    const after = started([{ ...remote()[0], audiences: ['https://other.example.com'] }], {
      previous: before.room,
    })
    before.room.close()
    forget(before.room)
    expect(after.room.status()).toMatchObject([{ keys: 1 }])
    expect(await after.identify(await key.sign(claims({ aud: 'https://other.example.com' })))).toMatchObject(
      AGENT,
    )
    await expect(after.identify(await key.sign(claims()))).rejects.toThrow('audience_mismatch')

    server.answer = json({ keys: [next.jwk] })
    await refresh()
    await before.fetched(2)
    const token = await next.sign(claims({ aud: 'https://other.example.com' }))
    expect(await after.identify(token)).toMatchObject(AGENT)
  })

  it('may be given up, and the one before goes on', async () => {
    const before = started(remote())
    await before.fetched()
    make(remote(), { previous: before.room }).room.close()
    await refresh()
    await before.fetched(2)
    expect(await before.identify(await key.sign(claims()))).toMatchObject(AGENT)
  })

  it('fetches for itself where the keys come from elsewhere now', async () => {
    const before = started(remote())
    await before.fetched()
    const after = started([{ jwks_uri: `${server.url}/other` }], { previous: before.room })
    await after.fetched()
    expect(server.asked).toEqual(['/keys', '/other'])
  })

  it('says nothing of a fetch that its end cut off', async () => {
    server.answer = () => undefined
    const room = started(remote())
    await until('the request', () => server.asked.length === 1)
    const cut = room.identify(await key.sign(claims()))
    room.room.close()
    forget(room.room)
    await expect(cut).rejects.toThrow('keys_unavailable')
    expect(room.seen.logged).toEqual([])
  })

  it('leaves nothing running when all are closed', async () => {
    const before = started(remote())
    await before.fetched()
    const after = started(remote(), { previous: before.room })
    before.room.close()
    after.room.close()
    forget(before.room)
    forget(after.room)
    for (let i = 0; i < 3; i++) await refresh()
    expect(await asked(server)).toHaveLength(1)
  })
})
