import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { credentials, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { GrpcSettings } from '../../../src/listen/grpc-server.ts'
import { replaceFile } from '../replace-file.ts'
import { allowed, REQUEST } from './callers.ts'
import { type Certificate, certificatesIn } from './certificates.ts'
import { call, calling, connection, frame, heldCheck, refusal, started } from './servers.ts'

const folder = mkdtempSync(join(tmpdir(), 'credentials-'))
const path = (name: string) => join(folder, name)
const make = certificatesIn(folder)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('TLS', () => {
  let ca: Certificate
  let between: Certificate
  let server: Certificate
  let envoy: Certificate
  let strange: Certificate
  beforeAll(() => {
    ca = make.authority('ca')
    between = make.authority('between', 'ca')
    server = make.leaf('server', 'between')
    envoy = make.leaf('envoy', 'ca')
    make.authority('strange-ca')
    strange = make.leaf('strange', 'strange-ca')
    make.write('chain', Buffer.concat([server.pem, between.pem]))
  })
  const one = () => ({ cert: path('chain'), key: server.key })
  const both = () => ({ ...one(), client_ca: ca.crt })
  const without = () => credentials.createSsl(ca.pem)
  const as = ({ keyPem, pem }: Certificate) => credentials.createSsl(ca.pem, keyPem, pem)

  it.each<[string, () => Partial<GrpcSettings>]>([
    ['TCP', () => ({})],
    ['a Unix socket', () => ({ grpc: `unix:${path('tls')}` })],
  ])('answers who trusts its CA, by its whole chain, over %s', async (_, settings) => {
    const { address } = await started({ ...settings(), tls: one() })
    expect(await calling(address, without()).check()).toMatchObject({ code: 0 })
  })

  it.each<[string, () => Certificate]>([
    ['of its CA', () => envoy],
    ['of a CA below it', () => chained(make.leaf('below', 'between'))],
  ])('with client_ca answers who shows a certificate %s', async (_, shown) => {
    const { address } = await started({ tls: both() })
    const client = calling(address, as(shown()))
    expect(await client.check()).toMatchObject({ code: 0 })
    expect(await client.health('')).toBe('NOT_SERVING')
  })

  it.each<[string, () => ReturnType<typeof without>]>([
    ['no certificate', without],
    ['the certificate of another CA', () => as(strange)],
    ['a certificate that signed itself', () => as(make.leaf('self'))],
    ['no TLS', credentials.createInsecure],
  ])('with client_ca asks no check, and tells no health, for who shows %s', async (_, shown) => {
    const check = vi.fn(() => allowed)
    const { address } = await started({ tls: both() }, check)
    const client = calling(address, shown())
    await expect(client.check()).rejects.toMatchObject({ code: status.UNAVAILABLE })
    await expect(client.health('')).rejects.toMatchObject({ code: status.UNAVAILABLE })
    expect(check).not.toHaveBeenCalled()
  })

  it.each<[string, () => NonNullable<GrpcSettings['tls']>, RegExp]>([
    ['a key of another certificate', () => ({ ...one(), key: envoy.key }), /^listen\.tls: .*envoy\.key/],
    ['no such file', () => ({ ...one(), cert: path('absent') }), /^listen\.tls\.cert: .*absent \(ENOENT\)/],
    [
      'a CA that is none',
      () => ({ ...one(), client_ca: server.key }),
      /^listen\.tls\.client_ca: .*server\.key/,
    ],
  ])('does not begin with %s, and takes no address', async (_, tls, message) => {
    expect(await refusal({ grpc: `unix:${path('broken')}`, tls: tls() })).toMatch(message)
    expect(existsSync(path('broken'))).toBe(false)
  })

  function chained({ crt, key, keyPem, pem }: Certificate): Certificate {
    return { crt, key, keyPem, pem: Buffer.concat([pem, between.pem]) }
  }
})

describe('files that are replaced', () => {
  it('are shown to new connections, and drop no call of one that stands', async () => {
    const [first, second] = [make.leaf('first'), make.leaf('second')]
    const tls = { cert: path('shown.crt'), key: path('shown.key') }
    replaceFile(tls.cert, first.pem)
    replaceFile(tls.key, first.keyPem)
    const held = heldCheck()
    const { address, port, log, events } = await started({ tls }, held.check)
    const standing = connection(`https://${address}`, { ca: first.pem, servername: 'authz.example.com' })
    const answer = call(standing, frame(REQUEST))
    await held.begun
    expect(await shown(port)).toBe('first')

    replaceFile(tls.cert, second.pem)
    await vi.waitFor(() => expect(events.seen).toContain('certificate failed'), 10_000)
    expect(await shown(port)).toBe('first')
    replaceFile(tls.key, second.keyPem)
    await vi.waitFor(async () => expect(await shown(port)).toBe('second'), 10_000)
    expect(await calling(address, credentials.createSsl(second.pem)).check()).toMatchObject({ code: 0 })
    expect(events.seen.filter(what => what === 'certificate loaded')).toHaveLength(2)
    expect(JSON.stringify(log.lines)).not.toContain('PRIVATE')

    replaceFile(tls.cert, Buffer.from('garbage'))
    const failures = () => events.seen.filter(what => what === 'certificate failed').length
    const before = failures()
    await vi.waitFor(() => expect(failures()).toBeGreaterThan(before), 10_000)
    expect(await shown(port)).toBe('second')
    replaceFile(tls.cert, second.pem)
    const again = 'the files of listen.tls are again those in force'
    await vi.waitFor(() => expect(log.lines.at(-1)?.message).toBe(again), 10_000)
    expect(events.seen.filter(what => what === 'certificate loaded')).toHaveLength(2)
    held.end(allowed)
    expect(await answer).toMatchObject({ status: '0', answer: { code: 0 } })
    expect(await call(standing, frame(REQUEST))).toMatchObject({ status: '0', answer: { code: 0 } })
  })

  it('are told of when they have expired, at the start and later, and shown all the same', async () => {
    const [first, second] = [make.leaf('over'), make.leaf('over-too')]
    const tls = { cert: path('over.shown'), key: path('over.key.shown') }
    const put = ({ pem, keyPem }: Certificate) => {
      replaceFile(tls.key, keyPem)
      replaceFile(tls.cert, pem)
    }
    put(first)
    const expired = 'the certificate has expired, and is shown all the same'
    const tomorrow = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 2 * 24 * 60 * 60_000)
    onTestFinished(() => tomorrow.mockRestore())
    const { port, log } = await started({ tls })
    const told = () => log.lines.filter(({ message }) => message === expired)
    expect(told()).toMatchObject([{ level: 'warn', fields: { not_after: expect.any(Date) } }])
    put(second)
    await vi.waitFor(() => expect(told()).toHaveLength(2), 10_000)
    expect(await shown(port)).toBe('over-too')
  })

  it('hold new clients to a new CA', async () => {
    const server = make.leaf('held')
    const [before, after] = [make.leaf('before'), make.leaf('after')]
    const client_ca = make.write('clients.crt', before.pem)
    const { address } = await started({ tls: { cert: server.crt, key: server.key, client_ca } })
    const as = ({ pem, keyPem }: typeof before) => credentials.createSsl(server.pem, keyPem, pem)
    await calling(address, as(before)).check()
    await expect(calling(address, as(after)).check()).rejects.toThrow()
    make.write('clients.crt', after.pem)
    await vi.waitFor(() => calling(address, as(after)).check(), 10_000)
    await expect(calling(address, as(before)).check()).rejects.toThrow()
  })
})

/** The name in the certificate that a new connection is shown. */
async function shown(port: number): Promise<string | undefined> {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] })
  await once(socket, 'secureConnect')
  const name = socket.getPeerCertificate().subject.CN
  socket.destroy()
  return Array.isArray(name) ? name[0] : name
}
