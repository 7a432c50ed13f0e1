import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { Unusable } from '../../../../src/unusable.ts'
import { certificatesIn, openssl } from '../../listen/certificates.ts'
import { AGENT, claims, json, type Key, newKey, type Server, startServer, until } from '../issuer.ts'
import { type KeyRoom, keyRooms } from './key-room.ts'

const folder = mkdtempSync(join(tmpdir(), 'keys-'))
const certificates = certificatesIn(folder)
const { started, make, keep } = keyRooms()

let key: Key
beforeAll(async () => {
  key = await newKey('k1')
  certificates.authority('ca')
  certificates.authority('other-ca')
  for (const [name, host, days] of [
    ['good', 'localhost', '1'],
    ['expired', 'localhost', '0'],
    ['elsewhere', 'idp.example.com', '1'],
  ] as const)
    leaf(name, host, days)
  // Valid to the second in which it was made: some versions of openssl make none that is over already.
  const { validToDate } = new X509Certificate(readFileSync(certificates.path('expired.crt')))
  await until('a certificate to be over', () => Date.now() > validToDate.getTime() + 1_000)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
beforeEach(() => {
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'])
    for (const spelt of [name, name.toLowerCase()]) vi.stubEnv(spelt, '')
})

/** A certificate of `ca` for this host. */
function leaf(name: string, host: string, days: string): void {
  const [key, csr, crt, ext] = ['key', 'csr', 'crt', 'ext'].map(kind => certificates.path(`${name}.${kind}`))
  writeFileSync(ext as string, `subjectAltName=DNS:${host}`)
  openssl(
    ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...(['-subj', `/CN=${host}`, '-keyout', key, '-out', csr] as string[]),
  )
  openssl(
    ...(['x509', '-req', '-in', csr, '-days', days, '-extfile', ext, '-out', crt] as string[]),
    ...['-CA', certificates.path('ca.crt'), '-CAkey', certificates.path('ca.key'), '-CAcreateserial'],
  )
}

/** On a free port of this machine; what is still connected at the end is cut off. */
async function listening(server: NetServer): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', socket => sockets.add(socket))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  keep({
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  })
  return (server.address() as AddressInfo).port
}

/** An issuer that speaks TLS: its port, and the paths that were asked for. */
async function secure(certificate: string, answer = json({ keys: [key.jwk] })) {
  const asked: string[] = []
  const [cert, privateKey] = ['crt', 'key'].map(kind =>
    readFileSync(certificates.path(`${certificate}.${kind}`)),
  )
  const server = createHttpsServer({ cert, key: privateKey as Buffer }, (request, response) => {
    asked.push(request.url as string)
    answer(request, response)
  })
  return { port: await listening(server), asked }
}

/** A proxy that connects every name to this machine, and what it was asked for. */
async function proxy(password?: string) {
  const connects: string[] = []
  const expected = password && `Basic ${Buffer.from(password).toString('base64')}`
  const server = createHttpServer().on('connect', (request, client: Socket) => {
    connects.push(request.url as string)
    client.on('error', () => undefined)
    if (expected !== undefined && request.headers['proxy-authorization'] !== expected) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      return
    }
    const upstream = connect(Number(request.url?.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      upstream.pipe(client).pipe(upstream)
    })
    upstream.on('error', () => client.destroy())
  })
  return { port: await listening(server), connects }
}

const everythingTold = async (room: KeyRoom) =>
  JSON.stringify([room.seen, room.room.status(), await room.scrape()])

describe('an issuer with a private CA', () => {
  const ca_file = (name: string) => ({ ca_file: certificates.path(`${name}.crt`) })

  it('is believed by that CA', async () => {
    const { port } = await secure('good')
    const room = started([{ jwks_uri: `https://localhost:${port}/keys`, ...ca_file('ca') }])
    expect(await room.fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
    expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
  })

  it.each([
    ['no ca_file', 'good', undefined, /UNABLE_TO|SELF_SIGNED/],
    ['another ca_file', 'good', 'other-ca', /UNABLE_TO|SELF_SIGNED/],
    ['an expired certificate', 'expired', 'ca', 'CERT_HAS_EXPIRED'],
    ['a certificate for another host', 'elsewhere', 'ca', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ])('is not believed with %s, and is never asked', async (_, certificate, ca, code) => {
    const { port, asked } = await secure(certificate)
    const room = started([{ jwks_uri: `https://localhost:${port}/keys`, ...(ca && ca_file(ca)) }])
    expect(await room.fetched()).toMatchObject({ fetches: { certificate: 1 }, keys: 0 })
    expect(room.room.status()).toMatchObject([{ error: 'its certificate is not to be trusted' }])
    expect(room.seen.logged).toMatchObject([{ level: 'warn', fields: { code: expect.stringMatching(code) } }])
    expect(asked).toEqual([])
  })

  it('may have its keys on another host', async () => {
    const keys = await secure('good')
    const document: Server['answer'] = (request, response) =>
      json({ issuer, jwks_uri: `https://localhost:${keys.port}/keys` })(request, response)
    const { port, asked } = await secure('good', document)
    const issuer = `https://localhost:${port}`
    const room = started([{ issuer, ...ca_file('ca') }])
    expect(await room.fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
    expect([asked, keys.asked]).toEqual([['/.well-known/openid-configuration'], ['/keys']])
  })

  it('may not point at what runs on this machine without TLS', async () => {
    const local = keep(await startServer(json({ keys: [key.jwk] })))
    const document: Server['answer'] = (request, response) =>
      json({ issuer, jwks_uri: `${local.url}/keys` })(request, response)
    const issuer = `https://localhost:${(await secure('good', (...to) => document(...to))).port}`
    const room = started([{ issuer, ...ca_file('ca') }])
    expect(await room.fetched()).toMatchObject({ fetches: { malformed: 1 }, keys: 0 })
    expect(local.asked).toEqual([])
  })

  it.each([
    ['absent', undefined],
    ['no PEM', 'garbage'],
    ['PEM of nothing', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
  ])('ends the start when the file is %s', (_, content) => {
    const ca_file = certificates.path(`ca-${content?.length ?? 'absent'}.pem`)
    if (content !== undefined) writeFileSync(ca_file, content)
    const failing = () => make([{ jwks_uri: 'https://idp.example.com/keys', ca_file }])
    expect(failing).toThrow(Unusable)
    expect(failing).toThrow(ca_file)
  })
})

describe('an issuer that is slow', () => {
  it('is given up after 5 s, wherever it stops', async () => {
    const headers = keep(await startServer())
    const body = keep(
      await startServer((_, response) => {
        response.writeHead(200)
        const drip = setInterval(() => response.write(' '), 50)
        response.on('close', () => clearInterval(drip))
      }),
    )
    const handshake = await listening(createServer())
    const rooms = [`${headers.url}/`, `${body.url}/`, `https://127.0.0.1:${handshake}/`].map(jwks_uri =>
      started([{ jwks_uri }]),
    )
    for (const room of rooms) {
      expect(await room.fetched()).toMatchObject({ fetches: { timeout: 1 }, keys: 0 })
      expect(room.room.status()).toMatchObject([{ error: 'there is no whole answer within 5 s' }])
    }
  }, 15_000)

  it('has its 5 s for discovery and keys together', async () => {
    const patience = new AbortController()
    const begun = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(patience.signal)
    const server = keep(await startServer())
    server.answer = (request, response) => {
      if (request.url !== '/keys')
        json({ issuer: server.url, jwks_uri: `${server.url}/keys` })(request, response)
    }
    const room = started([{ issuer: server.url }])
    await until('the keys to be asked for', () => server.asked.includes('/keys'))
    expect(begun.mock.calls).toEqual([[5_000]])
    patience.abort()
    expect(await room.fetched()).toMatchObject({ fetches: { timeout: 1 }, keys: 0 })
  })
})

describe('an issuer whose name nobody knows', () => {
  it('cannot be reached', async () => {
    // A label of over 63 letters: refused by every resolver, without asking.
    const room = started([{ jwks_uri: `https://${'a'.repeat(64)}.invalid/keys` }])
    expect(await room.fetched()).toMatchObject({ fetches: { unreachable: 1 }, keys: 0 })
    expect(room.seen.logged).toMatchObject([{ fields: { code: expect.stringMatching(/ENOTFOUND|EAI_/) } }])
  })
})

describe('a proxy', () => {
  const beyond = async (certificate = 'elsewhere') => {
    const { port } = await secure(certificate)
    return {
      at: `idp.example.com:${port}`,
      settings: { jwks_uri: `https://idp.example.com:${port}/keys`, ca_file: certificates.path('ca.crt') },
    }
  }

  it.each([
    ['by its setting', (url: string) => ({ proxy: url })],
    ['by the environment', (url: string) => void vi.stubEnv('HTTPS_PROXY', url)],
    [
      'by its setting, whatever the environment says',
      (url: string) => {
        vi.stubEnv('HTTPS_PROXY', 'http://127.0.0.1:1')
        vi.stubEnv('NO_PROXY', '*')
        return { proxy: url }
      },
    ],
  ])('lets the keys through %s', async (_, set) => {
    for (const spelt of ['https_proxy', 'no_proxy']) vi.stubEnv(spelt, undefined)
    const { at, settings } = await beyond()
    const { port, connects } = await proxy()
    const room = started([{ ...settings, ...set(`http://127.0.0.1:${port}`) }])
    expect(await room.fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
    expect(await room.identify(await key.sign(claims()))).toMatchObject(AGENT)
    expect(connects).toEqual([at])
  })

  it.each([
    ['expired', 'CERT_HAS_EXPIRED'],
    ['good', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ])('cannot pass itself off as the issuer: its certificate is %s', async (certificate, code) => {
    const { settings } = await beyond(certificate)
    const { port } = await proxy()
    const room = started([{ ...settings, proxy: `http://127.0.0.1:${port}` }])
    expect(await room.fetched()).toMatchObject({ fetches: { certificate: 1 }, keys: 0 })
    expect(room.seen.logged).toMatchObject([{ fields: { code } }])
  })

  it('is not asked for hosts of NO_PROXY', async () => {
    const { port } = await secure('good')
    const { port: proxyPort, connects } = await proxy()
    vi.stubEnv('https_proxy', `http://127.0.0.1:${proxyPort}`)
    vi.stubEnv('no_proxy', 'idp.example.com,localhost')
    const settings = { jwks_uri: `https://localhost:${port}/keys`, ca_file: certificates.path('ca.crt') }
    expect(await started([settings]).fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
    expect(connects).toEqual([])
    vi.stubEnv('no_proxy', 'idp.example.com')
    expect(await started([settings]).fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
    expect(connects).toEqual([`localhost:${port}`])
  })

  it.each([
    ['right', 'user:s3cret', { ok: 1 }],
    ['wrong', 'user:0ther', { unreachable: 1 }],
  ])('gets its password, here a %s one, and nobody else does', async (_, password, fetches) => {
    const { settings } = await beyond()
    const { port } = await proxy(password)
    const room = started([{ ...settings, proxy: `http://user:s3cret@127.0.0.1:${port}` }])
    expect(await room.fetched()).toMatchObject({ fetches })
    expect(await everythingTold(room)).not.toMatch(/s3cret|dXNlcjpzM2NyZXQ/)
  })

  it('that is not there keeps its password to itself', async () => {
    const { settings } = await beyond()
    const gone = await startServer()
    await gone.close()
    const room = started([{ ...settings, proxy: gone.url.replace('//', '//user:s3cret@') }])
    expect(await room.fetched()).toMatchObject({ fetches: { unreachable: 1 }, keys: 0 })
    expect(room.seen.logged).toMatchObject([{ fields: { code: 'ECONNREFUSED' } }])
    expect(await everythingTold(room)).not.toContain('s3cret')
  })

  it('is never asked for keys of this machine, which would leave it unprotected', async () => {
    const { port, connects } = await proxy()
    const server = keep(await startServer(json({ keys: [key.jwk] })))
    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'])
      vi.stubEnv(name, `http://127.0.0.1:${port}`)
    for (const proxied of [{}, { proxy: `http://127.0.0.1:${port}` }]) {
      const room = started([{ jwks_uri: `${server.url}/keys`, ...proxied }])
      expect(await room.fetched()).toMatchObject({ fetches: { ok: 1 }, keys: 1 })
    }
    expect(connects).toEqual([])
  })

  it('of the environment that is no URL ends the start, and its text, which may hold a password, is not shown', () => {
    vi.stubEnv('https_proxy', 'user:s3cret@proxy')
    const failing = () => make([{ jwks_uri: 'https://idp.example.com/keys' }])
    expect(failing).toThrow(Unusable)
    expect(failing).toThrow('HTTPS_PROXY')
    expect(failing).not.toThrow('s3cret')
  })
})
