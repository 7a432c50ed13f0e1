import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:net'
import { gzipSync } from 'node:zlib'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AGENT, claims, json, type Key, NOW, newKey, type Server, startServer } from '../issuer.ts'
import { keyRooms, refresh } from './key-room.ts'

let key: Key
let next: Key
let server: Server
const { started, keep } = keyRooms()

beforeAll(async () => {
  ;[key, next] = await Promise.all([newKey('k1'), newKey('k2')])
})
beforeEach(async () => {
  server = keep(await startServer(json({ keys: [key.jwk] })))
})

const remote = () => [{ jwks_uri: `${server.url}/keys` }]
const text =
  (body: string | Buffer, headers: Record<string, string> = {}, status = 200): Server['answer'] =>
  (_, response) =>
    response.writeHead(status, headers).end(body)
const good = () => JSON.stringify({ keys: [key.jwk] })
const status = (code: number) => text(good(), {}, code)

describe('an answer that is no set of keys', () => {
  const answers: [what: string, outcome: string, phrase: RegExp, answer: () => Server['answer']][] = [
    ['an error', 'status', /not 200/, () => status(500)],
    ['not found', 'status', /not 200/, () => status(404)],
    ['not whole', 'status', /not 200/, () => status(206)],
    ['without content', 'status', /not 200/, () => text('', {}, 204)],
    ['HTML', 'malformed', /not JSON/, () => text('<!doctype html><title>Sign in</title>')],
    ['empty', 'malformed', /not JSON/, () => text('')],
    ['JSON that is cut', 'malformed', /not JSON/, () => text(good().slice(0, -2))],
    ['JSON and more', 'malformed', /not JSON/, () => text(`${good()}${good()}`)],
    ['packed', 'malformed', /not JSON/, () => text(gzipSync(good()), { 'content-encoding': 'gzip' })],
    [
      'packed, and unpacked 16 MiB',
      'malformed',
      /not JSON/,
      () => text(gzipSync(Buffer.alloc(16 << 20, ' ')), { 'content-encoding': 'gzip' }),
    ],
    ['a list of keys', 'malformed', /not a JWK Set/, () => json([key.jwk])],
    ['a key alone', 'malformed', /not a JWK Set/, () => json(key.jwk)],
    ['without keys', 'no_usable_key', /no usable key/, () => json({ keys: [] })],
    [
      'without a usable key',
      'no_usable_key',
      /no usable key/,
      () =>
        json({
          keys: [
            { kty: 'oct', k: 'AAAA' },
            { ...key.jwk, use: 'enc' },
          ],
        }),
    ],
    ['over 256 KiB', 'too_large', /over 256 KiB/, () => text(good().padEnd(256 * 1024 + 1))],
    [
      'without end',
      'too_large',
      /over 256 KiB/,
      () => (_, response) => {
        const more = () => {
          while (response.write(' '.repeat(65_536)));
        }
        response.on('drain', more)
        more()
      },
    ],
    [
      'of ten thousand keys',
      'too_large',
      /over 100 keys/,
      () => json({ keys: [key.jwk, ...Array.from({ length: 10_000 }, () => ({ kty: 'oct' }))] }),
    ],
    [
      'shorter than it said',
      'unreachable',
      /cannot be reached/,
      () => (_, response) => {
        response.writeHead(200, { 'content-length': '1000' })
        response.write(good())
        setImmediate(() => response.destroy())
      },
    ],
    [
      'cut off by a reset',
      'unreachable',
      /cannot be reached/,
      () => (request, response) => {
        response.write(good())
        setImmediate(() => request.socket.resetAndDestroy())
      },
    ],
    ['none', 'unreachable', /cannot be reached/, () => request => void request.socket.destroy()],
  ]
  it.each(answers)('leaves the last good keys: %s is %s', async (_, outcome, phrase, answer) => {
    const room = started(remote())
    await room.fetched()
    server.answer = answer()
    room.time.now += 60_000
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 1, [outcome]: 1 }, keys: 1, loaded: NOW })
    expect(room.room.status()).toMatchObject([{ keys: 1, error: expect.stringMatching(phrase) }])
    const warned = room.seen.logged.filter(({ level }) => level === 'warn')
    expect(warned).toMatchObject([
      { fields: { issuer: 'corp', keys: 1 }, message: expect.stringMatching(phrase) },
    ])
    expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
  })

  it.each(answers)('gives none at the start: %s is %s', async (_, outcome, phrase, answer) => {
    server.answer = answer()
    const room = started(remote())
    expect(await room.fetched()).toMatchObject({ fetches: { [outcome]: 1 }, keys: 0, loaded: 0 })
    expect(room.room.status()).toMatchObject([{ keys: 0, error: expect.stringMatching(phrase) }])
    await expect(room.identify(await key.sign(claims()))).rejects.toThrow('keys_unavailable')
  })

  it('is a redirect, which is not followed', async () => {
    const elsewhere = keep(await startServer(json({ keys: [key.jwk] })))
    server.answer = text(good(), { location: `${elsewhere.url}/keys` }, 302)
    const room = started(remote())
    expect(await room.fetched()).toMatchObject({ fetches: { status: 1 }, keys: 0 })
    expect(elsewhere.asked).toEqual([])
  })

  it('is no HTTP', async () => {
    const other = createServer(socket => socket.end('220 mail.example.com ESMTP\r\n'))
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
    keep({ close: () => other.close() })
    const { port } = other.address() as { port: number }
    const room = started([{ jwks_uri: `http://127.0.0.1:${port}/keys` }])
    expect(await room.fetched()).toMatchObject({ fetches: { unreachable: 1 }, keys: 0 })
    expect(JSON.stringify(room.seen.logged)).not.toContain('ESMTP')
  })
})

describe('an answer that is odd, and a set of keys all the same', () => {
  const slowly: Server['answer'] = (_, response) => {
    const pieces = good().split('')
    const more = () => {
      const piece = pieces.shift()
      if (piece === undefined) response.end()
      else response.write(piece, () => setImmediate(more))
    }
    more()
  }

  it.each([
    ['of another content type', () => text(good(), { 'content-type': 'text/html' })],
    ['without a content type', () => text(good())],
    ['of 256 KiB', () => text(good().padEnd(256 * 1024))],
    ['with a name twice, of which the last counts', () => text(`{"keys": [], ${good().slice(1)}`)],
    ['in many pieces', () => slowly],
  ] as [string, () => Server['answer']][])('is read: %s', async (_, answer) => {
    server.answer = answer()
    const room = started(remote())
    expect(await room.fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1, ignored: 0 })
    expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
  })
})

describe('a set of odd keys', () => {
  let odd: object[]
  beforeAll(() => {
    const rsa = (modulusLength: number, publicExponent = 65_537) =>
      generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({ format: 'jwk' })
    odd = [
      { kty: 'oct', k: 'AAAA', kid: 'k1', alg: 'ES256' },
      { ...rsa(1024), kid: 'k1' },
      { ...rsa(2048, 3), kid: 'k1' },
      { ...rsa(2048), kid: 'k1', use: 'enc', alg: 'RSA-OAEP' },
      { ...next.jwk, kid: 1 },
    ]
  })

  it('gives the good ones, counts the others, and says why, once', async () => {
    server.answer = json({ keys: [...odd, key.jwk, key.jwk] })
    const room = started(remote())
    expect(await room.fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1, ignored: 6 })
    expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
    const line = {
      level: 'info',
      message: 'which published keys of an issuer are ignored has changed',
      fields: { issuer: 'corp', ignored: { secret: 1, weak: 2, other_use: 1, malformed: 1, duplicate: 1 } },
    }
    expect(room.seen.logged).toEqual([line])

    server.answer = json({ keys: [key.jwk, ...odd.toReversed(), key.jwk] })
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ keys: 1, ignored: 6 })
    expect(room.seen.logged).toEqual([line])

    server.answer = json({ keys: [key.jwk] })
    await refresh()
    expect(await room.fetched(3)).toMatchObject({ keys: 1, ignored: 0 })
    expect(room.seen.logged).toEqual([line, { ...line, fields: { issuer: 'corp', ignored: {} } }])
  })

  it('says why too where none is good', async () => {
    server.answer = json({ keys: odd.slice(0, 4) })
    const room = started(remote())
    expect(await room.fetched()).toMatchObject({ fetches: { no_usable_key: 1 }, keys: 0, ignored: 4 })
    expect(room.seen.logged).toMatchObject([
      { fields: { ignored: { secret: 1, weak: 2, other_use: 1 } } },
      { level: 'warn', message: expect.stringMatching(/no usable key/) },
    ])
  })

  it('with one kid for two keys refuses the tokens that name it, and those alone', async () => {
    const twin = await newKey('k1')
    server.answer = json({ keys: [key.jwk, twin.jwk, next.jwk] })
    const room = started(remote())
    expect(await room.fetched()).toMatchObject({ keys: 3, ignored: 0 })
    for (const signer of [key, twin])
      await expect(room.identify(await signer.sign(claims()))).rejects.toThrow('key_ambiguous')
    expect(await room.identify(await next.sign(claims()))).toMatchObject(AGENT)
    expect(server.asked).toHaveLength(1)
  })

  it('with a kid of 10,000 letters and a NUL serves it, and shows it nowhere', async () => {
    const kid = `${'k'.repeat(10_000)}\u0000`
    const long = await newKey(kid)
    server.answer = json({ keys: [long.jwk] })
    const room = started(remote())
    expect(await room.identify(await long.sign(claims()))).toMatchObject(AGENT)
    await expect(room.identify(await long.sign(claims(), { kid: `${kid}k` }))).rejects.toThrow('key_unknown')
    expect(await room.fetched()).toMatchObject({ keys: 1, ignored: 0, unknown: 1 })
    expect(JSON.stringify([room.seen, room.room.status()])).not.toContain('kkk')
  })
})

describe('discovery', () => {
  const discovered = () => [{ issuer: server.url }]
  const PLACE = '/.well-known/openid-configuration'
  const document =
    (changes: object = {}): Server['answer'] =>
    (request, response) => {
      const found = request.url?.endsWith(PLACE)
        ? { issuer: server.url, jwks_uri: `${server.url}/keys`, ...changes }
        : { keys: [key.jwk] }
      json(found)(request, response)
    }

  it('finds the keys', async () => {
    server.answer = document()
    const room = started(discovered())
    expect(await room.identify(await key.sign(claims({ iss: server.url })))).toMatchObject(AGENT)
    expect(server.asked).toEqual([PLACE, '/keys'])
    expect(await room.scrape()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
  })

  it('finds them where they are now', async () => {
    server.answer = document()
    const room = started(discovered())
    await room.fetched()
    server.answer = document({ jwks_uri: `${server.url}/moved` })
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 2 } })
    expect(server.asked).toEqual([PLACE, '/keys', PLACE, '/moved'])
  })

  it.each(['/realms/a', '/realms/a/'])('is below the path of an issuer: %s', async path => {
    const issuer = `${server.url}${path}`
    server.answer = document({ issuer })
    const room = started([{ issuer }])
    expect(await room.identify(await key.sign(claims({ iss: issuer })))).toMatchObject(AGENT)
    expect(server.asked[0]).toBe(`/realms/a${PLACE}`)
  })

  type Lie = [what: string, outcome: string, changes: (url: string) => object]

  it.each<Lie>([
    ['another issuer', 'wrong_issuer', () => ({ issuer: 'https://mallory.example.com' })],
    ['the issuer with a slash more', 'wrong_issuer', url => ({ issuer: `${url}/` })],
    ['the issuer in capitals', 'wrong_issuer', url => ({ issuer: url.toUpperCase() })],
    ['a list with the issuer', 'wrong_issuer', url => ({ issuer: [url] })],
    ['no issuer', 'wrong_issuer', () => ({ issuer: undefined })],
    ['keys over plain HTTP from elsewhere', 'malformed', () => ({ jwks_uri: 'http://192.0.2.1/keys' })],
    ['keys with a password', 'malformed', () => ({ jwks_uri: 'https://user:s3cret@idp.example.com/keys' })],
    ['keys in a file', 'malformed', () => ({ jwks_uri: 'file:///etc/passwd' })],
    ['keys in itself', 'malformed', () => ({ jwks_uri: 'data:application/json,{"keys":[]}' })],
    ['keys at no URL', 'malformed', () => ({ jwks_uri: 'keys' })],
    ['no keys', 'malformed', () => ({ jwks_uri: undefined })],
    ['a list of keys', 'malformed', () => ({ jwks_uri: ['x'] })],
  ])('is not believed when it names %s: %s', async (_, outcome, changes) => {
    server.answer = document(changes(server.url))
    const room = started(discovered())
    expect(await room.fetched()).toMatchObject({ fetches: { [outcome]: 1 }, keys: 0 })
    const error =
      outcome === 'malformed' ? 'discovery has no https jwks_uri' : 'discovery names another issuer'
    expect(room.room.status()).toMatchObject([{ keys: 0, error }])
    expect(server.asked).toEqual([PLACE])
    expect(JSON.stringify(room.seen)).not.toContain('s3cret')
    const token = await key.sign(claims({ iss: server.url }))
    await expect(room.identify(token)).rejects.toThrow('keys_unavailable')
  })

  it('leaves the last good keys when it begins to lie', async () => {
    server.answer = document()
    const room = started(discovered())
    await room.fetched()
    server.answer = document({ issuer: 'https://mallory.example.com' })
    await refresh()
    expect(await room.fetched(2)).toMatchObject({ fetches: { ok: 1, wrong_issuer: 1 }, keys: 1 })
    expect(await room.identify(await key.sign(claims({ iss: server.url })))).toMatchObject(AGENT)
  })

  it.each([
    ['null', 'wrong_issuer', null],
    ['a list', 'wrong_issuer', []],
    ['a text', 'wrong_issuer', 'x'],
  ])('is not believed when it is %s', async (_, outcome, answer) => {
    server.answer = json(answer)
    const room = started(discovered())
    expect(await room.fetched()).toMatchObject({ fetches: { [outcome]: 1 }, keys: 0 })
  })

  it('that is not there says so', async () => {
    server.answer = status(404)
    const room = started(discovered())
    expect(await room.fetched()).toMatchObject({ fetches: { status: 1 }, keys: 0 })
  })
})
