import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { credentials } from '@grpc/grpc-js'
import { afterAll, afterEach, expect, it, vi } from 'vitest'
import { allowed, REQUEST } from './callers.ts'
import { certificatesIn } from './certificates.ts'
import { call, calling, connection, frame, heldCheck, started } from './servers.ts'

const folder = mkdtempSync(join(tmpdir(), 'connections-'))
const make = certificatesIn(folder)
afterEach(() => void vi.useRealTimers())
afterAll(() => rmSync(folder, { recursive: true, force: true }))

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

it('one over TLS that names no protocol, as health checks may, is closed without waiting for it to leave', async () => {
  const { crt: cert, key, pem: ca } = make.leaf('unnamed')
  const { port } = await started({ tls: { cert, key } })
  const peer = connectTls({ port, host: '127.0.0.1', ca, servername: 'authz.example.com' })
  // node:http2 would answer it, and keep it for 10 s.
  expect(await buffer(peer)).toHaveLength(0)
})

it('one that begins with TLS and goes no further is cut', async () => {
  const { crt: cert, key } = make.leaf('unfinished')
  const { port } = await started({ tls: { cert, key } })
  const peer = connectTcp(port, '127.0.0.1').on('error', () => undefined)
  // After 10 s; node:tls would wait for two minutes.
  await once(peer.resume(), 'close')
})

it('tells how many streams a connection may have', async () => {
  const { address } = await started({ max_concurrent_streams: 7 })
  const [settings] = await once(connection(`http://${address}`), 'remoteSettings')
  expect(settings.maxConcurrentStreams).toBe(7)
})

it('a connection is ended at its age, when what it began is answered, and the next one serves', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const held = heldCheck()
  const { address } = await started({ max_connection_age: 1_000 }, held.check)
  const session = connection(`http://${address}`)
  const answer = call(session, frame(REQUEST))
  await held.begun
  const told = once(session, 'goaway')
  await vi.advanceTimersByTimeAsync(1_100)
  const [code, lastStream] = await told
  expect({ code, lastStream }).toEqual({ code: 0, lastStream: 2 ** 31 - 1 })
  for (let roundTrips = 0; roundTrips < 100; roundTrips++) await new Promise(resolve => session.ping(resolve))
  held.end(allowed)
  expect(await answer).toMatchObject({ status: '0', answer: { code: 0 } })
  if (!session.closed) await once(session, 'close')
  expect(await calling(address).check()).toMatchObject({ code: 0 })
})

it('a connection of that age whose call does not end is cut', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const held = heldCheck()
  const { address } = await started({ max_connection_age: 1_000 }, held.check)
  const session = connection(`http://${address}`).on('error', () => undefined)
  const cut = once(session, 'close')
  void call(session, frame(REQUEST)).catch(() => undefined)
  await held.begun
  const told = once(session, 'goaway')
  await vi.advanceTimersByTimeAsync(1_100)
  await told
  await vi.advanceTimersByTimeAsync(8_000)
  await cut
  held.end(allowed)
})

it('a connection that is silent, and says nothing when it is asked, is cut', async () => {
  const { port } = await started({ keepalive: 50 })
  const peer = connectTcp(port, '127.0.0.1').on('error', () => undefined)
  peer.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  peer.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
  peer.resume()
  await once(peer, 'close')
})
