import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type ClientHttp2Session, connect as connectHttp2, type SecureClientSessionOptions } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { gzipSync } from 'node:zlib'
import { credentials } from '@grpc/grpc-js'
import { afterAll, afterEach, expect, it, vi } from 'vitest'
import { asDenied } from '../../../src/denied.ts'
import { createGrpcServer, type GrpcServer, type GrpcSettings } from '../../../src/listen/grpc-server.ts'
import type { Check, Reply } from '../../../src/types.ts'
import { replaceFile } from '../replace-file.ts'
import {
  allowed,
  type Caller,
  caller,
  keptEvents,
  keptLog,
  REQUEST,
  read,
  refused,
  SETTINGS,
  stop,
} from './callers.ts'
import { certificatesIn } from './certificates.ts'

const folder = mkdtempSync(join(tmpdir(), 'production-'))
const make = certificatesIn(folder)
const open = { servers: [] as GrpcServer[], callers: [] as Caller[], sessions: [] as ClientHttp2Session[] }
afterEach(async () => {
  for (const each of open.callers.splice(0)) each.close()
  for (const session of open.sessions.splice(0)) session.destroy()
  for (const server of open.servers.splice(0)) await stop(server)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Answers as the real check does: what cannot be read is refused by its reason. */
const judged: Check = request => {
  try {
    request()
    return allowed
  } catch (thrown) {
    return refused(400, asDenied(thrown).reason)
  }
}

interface Held {
  readonly check: Check
  readonly begun: Promise<unknown>
  readonly end: (reply: Reply) => void
}

/** Holds the first call until it is ended; the others are allowed. */
function heldCheck(): Held {
  const begun = Promise.withResolvers<void>()
  const reply = Promise.withResolvers<Reply>()
  let calls = 0
  const check: Check = () => {
    begun.resolve()
    return calls++ === 0 ? reply.promise : allowed
  }
  return { check, begun: begun.promise, end: reply.resolve }
}

async function started(settings: Partial<GrpcSettings> = {}, check: Check = judged) {
  const [log, events] = [keptLog(), keptEvents()]
  const server = await createGrpcServer({ ...SETTINGS, ...settings }, { check, clock: Date.now, log, events })
  open.servers.push(server)
  return { address: server.address, port: Number(server.address.split(':').at(-1)), log, events }
}

function calling(address: string, as = credentials.createInsecure()): Caller {
  const made = caller(address, as)
  open.callers.push(made)
  return made
}

/** A connection by hand. */
function connection(address: string, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const session = connectHttp2(address, options)
  open.sessions.push(session)
  return session
}

/** One call by hand: the bytes of its messages, and what came back. */
async function call(session: ClientHttp2Session, frames: Buffer, headers: Record<string, string> = {}) {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/envoy.service.auth.v3.Authorization/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  })
  let status: unknown
  stream.on('trailers', trailers => {
    status = trailers['grpc-status']
  })
  stream.on('error', () => undefined)
  stream.end(frames)
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(stream, 'close')
  return { status, answer: read(Buffer.concat(chunks).subarray(5)) }
}

/** One call that waits until it is ended. */
async function heldCall(session: ClientHttp2Session, held: Held) {
  const answer = call(session, frame(REQUEST))
  await held.begun
  return {
    answer() {
      held.end(allowed)
      return answer
    },
  }
}

function frame(message: Buffer, { packed = false, length = message.length } = {}): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(packed ? 1 : 0, 0)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}

it.each<[string, Buffer, Record<string, string>, string]>([
  ['a message over 64 MiB', frame(REQUEST, { length: 65 * 1024 * 1024 }), {}, 'request_too_large'],
  [
    'one that unpacks to over 64 MiB',
    frame(gzipSync(Buffer.alloc(65 * 1024 * 1024)), { packed: true }),
    { 'grpc-encoding': 'gzip' },
    'request_too_large',
  ],
  [
    'one that cannot be unpacked',
    frame(REQUEST, { packed: true }),
    { 'grpc-encoding': 'gzip' },
    'request_malformed',
  ],
  [
    'one packed in an unknown way',
    frame(REQUEST, { packed: true }),
    { 'grpc-encoding': 'zz' },
    'request_malformed',
  ],
  ['two messages in one call', Buffer.concat([frame(REQUEST), frame(REQUEST)]), {}, 'request_malformed'],
  ['no message', Buffer.alloc(0), {}, 'request_malformed'],
  ['a deadline that is none', frame(REQUEST), { 'grpc-timeout': 'soon' }, 'request_malformed'],
])(
  'what gRPC itself would end with an error is refused as anything else: %s',
  async (_, frames, headers, reason) => {
    const check = vi.fn(judged)
    const { address } = await started({}, check)
    const { status, answer } = await call(connection(`http://${address}`), frames, headers)
    expect(status).toBe('0')
    expect(answer).toMatchObject({ code: 7, status: 400, metadata: { reason } })
    expect(check).toHaveBeenCalledTimes(1)
  },
)

it('connections beyond max_connections are closed and counted, and the others go on', async () => {
  const { address, port, events } = await started({ max_connections: 1 })
  const envoy = calling(address)
  await envoy.check()
  const another = connectTcp(port, '127.0.0.1').on('error', () => undefined)
  await once(another, 'close')
  expect(events.seen).toEqual(['connection refused'])
  expect(await envoy.check()).toMatchObject({ code: 0 })
})

it('with TLS those count that have finished it: who says nothing takes no place, and the oldest leaves', async () => {
  const { crt: cert, key, pem } = make.leaf('counted')
  const { address, port, events } = await started({ max_connections: 1, tls: { cert, key } })
  const silent = () => connectTcp(port, '127.0.0.1').on('error', () => undefined)
  const oldest = silent()
  await once(oldest, 'connect')
  const others = Array.from({ length: 1_023 }, silent)
  await Promise.all(others.map(other => once(other, 'connect')))
  expect(events.seen).not.toContain('connection refused')

  const gone = once(oldest, 'close')
  const envoy = calling(address, credentials.createSsl(pem))
  expect(await envoy.check()).toMatchObject({ code: 0 })
  await gone
  expect(events.seen.filter(what => what === 'connection refused')).toHaveLength(1)
  expect(others.filter(other => other.closed)).toEqual([])

  const another = connectTls({
    port,
    host: '127.0.0.1',
    ca: pem,
    servername: 'authz.example.com',
    ALPNProtocols: ['h2'],
  })
  await once(
    another.on('error', () => undefined),
    'close',
  )
  expect(events.seen.filter(what => what === 'connection refused')).toHaveLength(2)
  expect(await envoy.check()).toMatchObject({ code: 0 })
  envoy.close()
  await vi.waitFor(() => calling(address, credentials.createSsl(pem)).check(), 10_000)
  for (const other of others) other.destroy()
})

it('tells how many streams a connection may have', async () => {
  const { address } = await started({ max_concurrent_streams: 7 })
  const [settings] = await once(connection(`http://${address}`), 'remoteSettings')
  expect(settings.maxConcurrentStreams).toBe(7)
})

it('a connection is ended at its age, when what it began is answered, and the next one serves', async () => {
  const held = heldCheck()
  const { address } = await started({ max_connection_age: 50 }, held.check)
  const session = connection(`http://${address}`)
  const { answer } = await heldCall(session, held)
  const [code, lastStream] = await once(session, 'goaway')
  expect({ code, lastStream }).toEqual({ code: 0, lastStream: 2 ** 31 - 1 })
  for (let roundTrips = 0; roundTrips < 100; roundTrips++) await new Promise(resolve => session.ping(resolve))
  expect(await answer()).toMatchObject({ status: '0', answer: { code: 0 } })
  if (!session.closed) await once(session, 'close')
  expect(await calling(address).check()).toMatchObject({ code: 0 })
})

it('a connection that is silent, and says nothing when it is asked, is cut', async () => {
  const { port } = await started({ keepalive: 50 })
  const peer = connectTcp(port, '127.0.0.1').on('error', () => undefined)
  peer.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  peer.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
  peer.resume()
  await once(peer, 'close')
})

it.each([
  [true, ['envoy.service.auth.v3.Authorization', 'grpc.health.v1.Health']],
  [false, undefined],
])('reflection %s tells the services: %s', async (reflection, services) => {
  const { address } = await started({ reflection })
  expect(await listed(address)).toEqual(services)
})

/** The services that grpc.reflection.v1 lists; undefined where there is none. */
async function listed(address: string): Promise<string[] | undefined> {
  const stream = connection(`http://${address}`).request({
    ':method': 'POST',
    ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.end(frame(Buffer.from([0x3a, 0x00])))
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(stream, 'close')
  const names = Buffer.concat(chunks)
    .toString('latin1')
    .match(/[a-z][\w.]+\.[A-Z]\w+/g)
  return names?.toSorted()
}

it('a certificate that is replaced is shown to new connections, and drops no call of one that stands', async () => {
  const [first, second] = [make.leaf('first'), make.leaf('second')]
  const tls = { cert: join(folder, 'shown.crt'), key: join(folder, 'shown.key') }
  replaceFile(tls.cert, first.pem)
  replaceFile(tls.key, first.keyPem)
  const held = heldCheck()
  const { address, port, log, events } = await started({ tls }, held.check)
  const standing = connection(`https://${address}`, { ca: first.pem, servername: 'authz.example.com' })
  const { answer } = await heldCall(standing, held)
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
  expect(await answer()).toMatchObject({ status: '0', answer: { code: 0 } })
  expect(await call(standing, frame(REQUEST))).toMatchObject({ status: '0', answer: { code: 0 } })
})

it('clients are held to a CA that is replaced', async () => {
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

/** The name in the certificate that a new connection is shown. */
async function shown(port: number): Promise<string | undefined> {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] })
  await once(socket, 'secureConnect')
  const name = socket.getPeerCertificate().subject.CN
  socket.destroy()
  return Array.isArray(name) ? name[0] : name
}
