import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import type { Deadline } from '../../../src/types.ts'
import { Unusable } from '../../../src/unusable.ts'
import { claims, json, type Key, newKey, type Server, startRoom, startServer, until } from './issuer.ts'

let key: Key
let next: Key
let server: Server
const open: { close(): unknown }[] = []

beforeAll(async () => {
  ;[key, next] = await Promise.all([newKey('k1'), newKey('k2')])
})
beforeEach(async () => {
  // Only the timers between fetches stand still; sockets and limits keep real time.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  server = await startServer(json({ keys: [key.jwk] }))
  open.push(server)
})
afterEach(async () => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
  for (const each of open.splice(0)) await each.close()
})

async function started(...args: Parameters<typeof startRoom>) {
  const made = startRoom(...args)
  open.push(made.room)
  made.room.start()
  return made
}
const remote = () => [{ jwks_uri: `${server.url}/keys` }]
type Room = Awaited<ReturnType<typeof started>>
const fetches = ({ seen }: Room) => seen.events.filter(event => event.startsWith('fetched'))
const fetched = (room: Room, times = 1) => until(`fetch ${times}`, () => fetches(room).length >= times)

/** What was asked for up to now: a request that was sent before this one has arrived when this one is answered. */
async function asked(): Promise<string[]> {
  await fetch(`${server.url}/marker`)
  return server.asked.filter(path => path !== '/marker')
}

/** A deadline that a test lets pass. */
function deadline(): Deadline & { pass(reason?: 'deadline' | 'cancelled'): void; waiting: boolean } {
  const controller = new AbortController()
  const made = {
    at: Number.POSITIVE_INFINITY,
    waiting: false,
    signal: () => {
      made.waiting = true
      return controller.signal
    },
    pass: (reason: 'deadline' | 'cancelled' = 'deadline') => controller.abort(new Denied(reason)),
  }
  return made
}
const AGENT = { agent: 'mail-summary' }

describe('the keys of a URL', () => {
  it('are fetched at the start, which does not wait for them', async () => {
    server.answer = () => undefined
    const room = await started(remote())
    expect(room.room.status()).toEqual([
      { issuer: 'corp', required: false, keys: 0, keys_read_at: null, error: null },
    ])
    await until('the request', () => server.asked.length === 1)
  })

  it('are waited for by the first check', async () => {
    const { identify, room } = await started(remote())
    expect(await identify(await key.sign(claims()))).toMatchObject(AGENT)
    expect(room.status()).toMatchObject([{ keys: 1, error: null }])
    expect(server.asked).toEqual(['/keys'])
  })

  it('are fetched again in the background, and a key that is gone is gone', async () => {
    const room = await started(remote())
    const token = await key.sign(claims())
    await room.identify(token)
    expect(room.raw(token)).not.toBeInstanceOf(Promise)
    server.answer = json({ keys: [next.jwk] })
    await vi.advanceTimersByTimeAsync(330_000)
    await fetched(room, 2)
    await expect(room.identify(token)).rejects.toThrow('key_unknown')
  })

  it('are not fetched again sooner than four and a half minutes', async () => {
    const room = await started(remote())
    await fetched(room)
    await vi.advanceTimersByTimeAsync(269_000)
    expect(await asked()).toHaveLength(1)
  })

  it('leave what they verified known when another key joins them', async () => {
    const room = await started(remote())
    const token = await key.sign(claims())
    await room.identify(token)
    server.answer = json({ keys: [next.jwk, key.jwk] })
    await vi.advanceTimersByTimeAsync(330_000)
    await fetched(room, 2)
    expect(room.raw(token)).not.toBeInstanceOf(Promise)
  })
})

describe('a key that is not known', () => {
  it('is fetched for the check that meets it', async () => {
    const room = await started(remote())
    await fetched(room)
    server.answer = json({ keys: [key.jwk, next.jwk] })
    expect(await room.identify(await next.sign(claims()))).toMatchObject(AGENT)
    expect(server.asked).toHaveLength(2)
  })

  it('makes one fetch for many checks at once', async () => {
    const room = await started(remote())
    await fetched(room)
    server.answer = json({ keys: [key.jwk, next.jwk] })
    const token = await next.sign(claims())
    const all = await Promise.all(Array.from({ length: 20 }, () => room.identify(token)))
    expect(all).toHaveLength(20)
    expect(server.asked).toHaveLength(2)
  })

  it('makes one fetch in ten seconds, and is refused at once until then', async () => {
    const room = await started(remote())
    await fetched(room)
    for (const kid of ['x1', 'x2', 'x3', '__proto__'])
      await expect(room.identify(await next.sign(claims(), { kid }))).rejects.toThrow('key_unknown')
    expect(server.asked).toHaveLength(2)
    expect(room.seen.events.filter(event => event === 'unknown corp')).toHaveLength(4)

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
    const elsewhere = await startServer(json({ keys: [key.jwk] }))
    open.push(elsewhere)
    const room = await started([
      ...remote(),
      { name: 'other', issuer: OTHER, jwks_uri: `${elsewhere.url}/keys` },
    ])
    await fetched(room, 2)
    await expect(room.identify(await next.sign(claims()))).rejects.toThrow('key_unknown')
    await expect(room.identify(await next.sign(claims({ iss: OTHER })))).rejects.toThrow('key_unknown')
    expect([server.asked.length, elsewhere.asked.length]).toEqual([2, 2])
  })

  it('is not paused for longer when the clock is set back', async () => {
    const room = await started(remote())
    await fetched(room)
    await expect(room.identify(await next.sign(claims()))).rejects.toThrow('key_unknown')
    room.time.now -= 5_000
    server.answer = json({ keys: [key.jwk, next.jwk] })
    expect(await room.identify(await next.sign(claims()))).toMatchObject(AGENT)
  })

  it('is waited for until the deadline, and the fetch goes on for others', async () => {
    const room = await started(remote())
    await fetched(room)
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
    await fetched(room, 2)
    expect(await room.identify(token)).toMatchObject(AGENT)
    expect(server.asked).toHaveLength(2)
  })

  it('is given up when Envoy stops waiting, and before it begins where that is so already', async () => {
    const room = await started(remote())
    await fetched(room)
    server.answer = () => undefined
    const gone = deadline()
    gone.pass('cancelled')
    await expect(room.identify(await next.sign(claims()), gone)).rejects.toThrow('cancelled')
  })

  it('never makes a signal where the token is known', async () => {
    const room = await started(remote())
    await fetched(room)
    const token = await key.sign(claims())
    await room.identify(token)
    const unused = deadline()
    await room.identify(token, unused)
    expect(unused.waiting).toBe(false)
  })

  it('is not waited for past the deadline either where it is known: a signature takes its time', async () => {
    const room = await started(remote())
    await fetched(room)
    const gone = deadline()
    gone.pass('deadline')
    await expect(room.identify(await key.sign(claims()), gone)).rejects.toThrow('deadline')
  })
})

describe('a key that was replaced under its own kid', () => {
  it('is fetched for the first signature that does not verify, which does not wait', async () => {
    const room = await started(remote())
    await fetched(room)
    const replaced = await newKey('k1')
    server.answer = json({ keys: [replaced.jwk] })
    const token = await replaced.sign(claims())
    await expect(room.identify(token)).rejects.toThrow('signature_invalid')
    await fetched(room, 2)
    expect(await room.identify(token)).toMatchObject(AGENT)
  })

  it('is fetched once in ten seconds, however many forged tokens come', async () => {
    const room = await started(remote())
    await fetched(room)
    const forger = await newKey('k1')
    for (let i = 0; i < 5; i++)
      await expect(room.identify(await forger.sign(claims({ jti: `${i}` })))).rejects.toThrow(
        'signature_invalid',
      )
    await fetched(room, 2)
    expect(server.asked).toHaveLength(2)
  })
})

describe('an issuer that cannot be reached', () => {
  it('is 503 until it is there, and is tried again soon', async () => {
    await server.close()
    const port = Number(new URL(server.url).port)
    const room = await started(remote())
    await fetched(room)
    const token = await key.sign(claims())
    await expect(room.identify(token)).rejects.toThrow('keys_unavailable')
    expect(room.room.status()).toMatchObject([{ keys: 0, error: expect.stringMatching(/reach/) }])
    expect(room.seen.events).toContain('loaded corp 0')
    await fetched(room, 2)

    open.push(await startServer(json({ keys: [key.jwk] }), port))
    await vi.advanceTimersByTimeAsync(2_000)
    await until('the keys', () => room.room.status()[0]?.keys === 1)
    expect(await room.identify(token)).toMatchObject(AGENT)
    expect(room.room.status()).toMatchObject([{ error: null }])
  })

  it('is tried less and less often, but every half minute', async () => {
    server.answer = (_, response) => response.writeHead(500).end()
    const room = await started(remote())
    await fetched(room)
    let times = 1
    for (const pause of [1, 2, 4, 8, 16, 30, 30].map(seconds => seconds * 1000)) {
      await vi.advanceTimersByTimeAsync(pause - 1)
      expect(await asked()).toHaveLength(times)
      await vi.advanceTimersByTimeAsync(1)
      await fetched(room, ++times)
    }
    expect(room.seen.logged).toHaveLength(1)
  })

  it('is 503 keys_unavailable, not deadline, where its first answer does not come in time', async () => {
    server.answer = () => undefined
    const room = await started(remote())
    const impatient = deadline()
    const waiting = room.identify(await key.sign(claims()), impatient)
    await until('the check to wait', () => impatient.waiting)
    impatient.pass()
    await expect(waiting).rejects.toThrow('keys_unavailable')
    const gone = deadline()
    gone.pass('cancelled')
    await expect(room.identify(await key.sign(claims()), gone)).rejects.toThrow('cancelled')
  })

  it('keeps its last good keys for a day', async () => {
    const room = await started(remote())
    await fetched(room)
    server.answer = (_, response) => response.writeHead(500).end()
    const day = 24 * 60 * 60_000
    const token = async () =>
      key.sign(claims({ iat: undefined, exp: Math.floor(room.time.now / 1000) + 300 }))
    room.time.now += day - 1
    const last = await token()
    expect(await room.identify(last)).toMatchObject(AGENT)
    room.time.now += 1
    await expect(room.identify(last)).rejects.toThrow('keys_unavailable')
    expect(room.room.status()).toMatchObject([{ keys: 0 }])
  })
})

describe('an answer that is no set of keys', () => {
  const answers: [string, Server['answer'], RegExp][] = [
    ['an error', (_, response) => response.writeHead(500).end('{}'), /not 200/],
    ['not JSON', (_, response) => response.end('<html>'), /not JSON/],
    ['no JWK Set', json({ key: [] }), /not a JWK Set/],
    ['without a usable key', json({ keys: [{ kty: 'oct', k: 'AAAA' }] }), /no usable key/],
    ['over 1 MiB', (_, response) => response.end(`{"keys":[],"a":"${'a'.repeat(1024 * 1024)}"}`), /1 MiB/],
    [
      'cut off',
      (_, response) => {
        response.writeHead(200, { 'content-length': '100' })
        response.write('{"keys":')
        setImmediate(() => response.destroy())
      },
      /reach/,
    ],
  ]
  it.each(answers)('leaves the last good keys: %s', async (_, answer, error) => {
    const room = await started(remote())
    await fetched(room)
    server.answer = answer
    await expect(room.identify(await next.sign(claims()))).rejects.toThrow('key_unknown')
    await fetched(room, 2)
    expect(fetches(room)).toEqual(['fetched corp ok', 'fetched corp error'])
    expect(room.room.status()[0]?.error).toMatch(error)
    expect(room.seen.logged).toMatchObject([{ level: 'warn', fields: { issuer: 'corp' } }])
    expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
  })

  it('is a redirect, which is not followed', async () => {
    const elsewhere = await startServer(json({ keys: [key.jwk] }))
    open.push(elsewhere)
    server.answer = (_, response) => {
      response.writeHead(302, { location: `${elsewhere.url}/keys` })
      response.end(JSON.stringify({ keys: [key.jwk] }))
    }
    const room = await started(remote())
    await fetched(room)
    expect(room.room.status()).toMatchObject([{ keys: 0 }])
    expect(elsewhere.asked).toEqual([])
  })
})

describe('discovery', () => {
  const discovered = () => [{ issuer: server.url }]
  const document =
    (changes: object = {}): Server['answer'] =>
    (request, response) => {
      const found =
        request.url === '/.well-known/openid-configuration'
          ? { issuer: server.url, jwks_uri: `${server.url}/keys`, ...changes }
          : { keys: [key.jwk] }
      json(found)(request, response)
    }

  it('finds the keys', async () => {
    server.answer = document()
    const room = await started(discovered())
    expect(await room.identify(await key.sign(claims({ iss: server.url })))).toMatchObject(AGENT)
    expect(server.asked).toEqual(['/.well-known/openid-configuration', '/keys'])
  })

  it('is below the path of an issuer, whose slash at the end counts', async () => {
    const issuer = `${server.url}/realms/a/`
    server.answer = (request, response) =>
      json(request.url === '/keys' ? { keys: [key.jwk] } : { issuer, jwks_uri: `${server.url}/keys` })(
        request,
        response,
      )
    const room = await started([{ issuer }])
    expect(await room.identify(await key.sign(claims({ iss: issuer })))).toMatchObject(AGENT)
    expect(server.asked[0]).toBe('/realms/a/.well-known/openid-configuration')
  })

  it.each([
    ['another issuer', { issuer: 'https://mallory.example.com' }, /another issuer/],
    ['the issuer with a slash more', { slash: true }, /another issuer/],
    ['no issuer', { issuer: undefined }, /another issuer/],
    ['keys over plain HTTP from elsewhere', { jwks_uri: 'http://192.0.2.1/keys' }, /no https jwks_uri/],
    ['keys in a file', { jwks_uri: 'file:///etc/passwd' }, /no https jwks_uri/],
    ['keys at no URL', { jwks_uri: 'keys' }, /no https jwks_uri/],
    ['no keys', { jwks_uri: undefined }, /no https jwks_uri/],
    ['a list of keys', { jwks_uri: ['x'] }, /no https jwks_uri/],
  ])('is not believed when it names %s', async (_, changes, error) => {
    server.answer = document('slash' in changes ? { issuer: `${server.url}/` } : changes)
    const room = await started(discovered())
    await fetched(room)
    expect(fetches(room)).toEqual(['fetched corp error'])
    expect(room.room.status()[0]?.error).toMatch(error)
    expect(server.asked).toEqual(['/.well-known/openid-configuration'])
    const token = await key.sign(claims({ iss: server.url }))
    await expect(room.identify(token)).rejects.toThrow('keys_unavailable')
  })

  it.each([
    ['null', null],
    ['a list', []],
    ['a text', 'x'],
  ])('is not believed when it is %s', async (_, answer) => {
    server.answer = json(answer)
    const room = await started(discovered())
    await fetched(room)
    expect(room.room.status()).toMatchObject([{ keys: 0, error: expect.stringMatching(/issuer/) }])
  })
})

describe('a proxy', () => {
  it('is never asked for keys of this machine, which would leave it unprotected', async () => {
    const proxy = await startServer(json({ keys: [next.jwk] }))
    open.push(proxy)
    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy']) vi.stubEnv(name, proxy.url)
    for (const name of ['NO_PROXY', 'no_proxy']) vi.stubEnv(name, '')
    for (const proxied of [{}, { proxy: proxy.url }]) {
      const room = await started([{ ...remote()[0], ...proxied }])
      await fetched(room)
      expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
    }
    expect(proxy.asked).toEqual([])
  })

  it.each([
    ['by its setting', true],
    ['by the environment', false],
  ])('is asked for keys from elsewhere %s', async (_, setting) => {
    const connects: string[] = []
    const { createServer } = await import('node:http')
    const proxy = createServer().on('connect', (request, socket) => {
      connects.push(request.url as string)
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
    })
    await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
    open.push({ close: () => proxy.close() })
    const url = `http://127.0.0.1:${(proxy.address() as { port: number }).port}`
    for (const name of ['https_proxy', 'HTTPS_PROXY']) vi.stubEnv(name, setting ? '' : url)
    for (const name of ['NO_PROXY', 'no_proxy']) vi.stubEnv(name, '')
    const room = await started([{ jwks_uri: 'https://idp.invalid/keys', ...(setting && { proxy: url }) }])
    await fetched(room)
    expect(connects).toEqual(['idp.invalid:443'])
  })
})

describe('a proxy of the environment that is no URL', () => {
  it('ends the start, and its text, which may hold a password, is not shown', () => {
    for (const name of ['https_proxy', 'HTTPS_PROXY']) vi.stubEnv(name, 'user:s3cret@proxy')
    const failure = (() => {
      try {
        return startRoom(remote())
      } catch (error) {
        return error
      }
    })()
    expect(failure).toBeInstanceOf(Unusable)
    expect((failure as Error).message).toContain('HTTPS_PROXY')
    expect((failure as Error).message).not.toContain('s3cret')
  })
})

describe('a CA file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ca-'))
  it.each([
    ['absent', undefined],
    ['no PEM', 'garbage'],
    ['PEM of nothing', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
  ])('ends the start when it is %s', (_, text) => {
    const ca_file = join(folder, `ca-${text?.length ?? 'absent'}.pem`)
    if (text !== undefined) writeFileSync(ca_file, text)
    const make = () => startRoom([{ jwks_uri: 'https://idp.example.com/keys', ca_file }])
    expect(make).toThrow(Unusable)
    expect(make).toThrow(ca_file)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
})

describe('a room that takes the place of another', () => {
  it('has the keys of the one before at once, which may close', async () => {
    const before = await started(remote())
    await fetched(before)
    server.answer = () => undefined
    const after = startRoom([{ ...remote()[0], audiences: ['https://other.example.com'] }], {
      previous: before.room,
    })
    open.push(after.room)
    after.room.start()
    before.room.close()
    open.splice(open.indexOf(before.room), 1)
    expect(after.room.status()).toMatchObject([{ keys: 1 }])
    expect(await after.identify(await key.sign(claims({ aud: 'https://other.example.com' })))).toMatchObject(
      AGENT,
    )
    await expect(after.identify(await key.sign(claims()))).rejects.toThrow('audience_mismatch')

    server.answer = json({ keys: [next.jwk] })
    await vi.advanceTimersByTimeAsync(330_000)
    await fetched(before, 2)
    const token = await next.sign(claims({ aud: 'https://other.example.com' }))
    expect(await after.identify(token)).toMatchObject(AGENT)
  })

  it('may be given up, and the one before goes on', async () => {
    const before = await started(remote())
    await fetched(before)
    startRoom(remote(), { previous: before.room }).room.close()
    await vi.advanceTimersByTimeAsync(330_000)
    await fetched(before, 2)
    expect(await before.identify(await key.sign(claims()))).toMatchObject(AGENT)
  })

  it('fetches for itself where the keys come from elsewhere now', async () => {
    const before = await started(remote())
    await fetched(before)
    const after = await started([{ jwks_uri: `${server.url}/other` }], { previous: before.room })
    await fetched(after)
    expect(server.asked).toEqual(['/keys', '/other'])
  })

  it('says nothing of a fetch that its end cut off', async () => {
    server.answer = () => undefined
    const room = await started(remote())
    await until('the request', () => server.asked.length === 1)
    const cut = room.identify(await key.sign(claims()))
    room.room.close()
    open.splice(open.indexOf(room.room), 1)
    await expect(cut).rejects.toThrow('keys_unavailable')
    expect(room.seen.logged).toEqual([])
  })

  it('leaves nothing running when all are closed', async () => {
    const before = await started(remote())
    await fetched(before)
    const after = await started(remote(), { previous: before.room })
    before.room.close()
    after.room.close()
    open.splice(0, open.length, server)
    await vi.advanceTimersByTimeAsync(660_000)
    expect(await asked()).toHaveLength(1)
  })
})
