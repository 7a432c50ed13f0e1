import { once } from 'node:events'
import { existsSync, linkSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:http2'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status } from '@grpc/grpc-js'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { asDenied, Denied, REASONS } from '../../../src/denied.ts'
import { message } from '../../../src/listen/wire/writer.ts'
import type { Check, Reply } from '../../../src/types.ts'
import { allowed, REQUEST, refused, stop } from './callers.ts'
import { calling, connection, refusal, started } from './servers.ts'

const PATH = '/envoy.service.auth.v3.Authorization/Check'
const folder = mkdtempSync(join(tmpdir(), 'grpc-'))
const path = (name: string) => join(folder, name)
afterEach(() => void vi.restoreAllMocks())
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('a call', () => {
  it.each<[string, () => string, RegExp]>([
    ['TCP', () => '127.0.0.1:0', /^127\.0\.0\.1:[1-9]\d+$/],
    ['a host by its name', () => 'localhost:0', /^localhost:[1-9]\d+$/],
    ['a Unix socket', () => `unix:${path('call')}`, /^unix:.*\/call$/],
  ])('over %s is answered at the address that is told', async (_, grpc, told) => {
    const check: Check = read => refused(read().path === '/' ? 418 : 500)
    const { address } = await started({ grpc: grpc() }, check)
    expect(address).toMatch(told)
    expect(await calling(address).check()).toMatchObject({ code: 7, status: 418 })
  })

  it.each<[string, unknown, object]>([
    ['allows', () => allowed, { code: 0 }],
    ['allows after a while', async () => allowed, { code: 0 }],
    ['throws', raise, { code: 7, status: 500 }],
    ['rejects', async () => raise(), { code: 7, status: 500 }],
    ['returns nothing', () => undefined, { code: 7, status: 500 }],
    ['throws a refusal', () => raise(new Denied('policy_denied')), { code: 7, status: 500 }],
  ])('is answered without a gRPC error where the check %s', async (_, check, expected) => {
    const { address } = await started({}, check as Check)
    expect(await calling(address).check()).toMatchObject(expected)
  })

  it('is answered although thousands beside it on its connection are reset', async () => {
    const reply = Promise.withResolvers<Reply>()
    const { address } = await started({}, () => reply.promise)
    const session = connection(`http://${address}`)
    let gone = 'is there'
    session.on('goaway', code => {
      gone = `GOAWAY ${code}`
    })
    const begin = () =>
      session
        .request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers' })
        .on('error', () => undefined)
    const bystander = begin()
    for (let batch = 0; batch < 30; batch++) {
      const resets = Array.from({ length: 100 }, begin)
      const closed = resets.map(stream => once(stream, 'close'))
      for (const stream of resets) stream.close(constants.NGHTTP2_CANCEL)
      await Promise.all(closed)
    }
    await new Promise(resolve => session.ping(resolve))
    expect(gone).toBe('is there')
    expect(bystander.destroyed).toBe(false)
    reply.resolve(allowed)
  })

  it('is answered without a gRPC error where the check never ends', async () => {
    const reply = Promise.withResolvers<Reply>()
    const { address } = await started({ check_timeout: 20 }, () => reply.promise)
    const envoy = calling(address)
    expect(await envoy.check()).toMatchObject({ code: 7, status: 503, body: '{"error":"deadline"}' })
    reply.resolve(allowed)
    expect(await envoy.health('')).toBe('NOT_SERVING')
  })

  it('brings how long Envoy waits', async () => {
    const left: number[] = []
    const { address } = await started({}, (_, { at }) => {
      left.push(at - Date.now())
      return allowed
    })
    await calling(address).check(REQUEST, { deadline: Date.now() + 30_000 })
    await calling(address).check(REQUEST)
    expect(left[0]).toBeLessThan(30_000)
    expect(left[1]).toBeGreaterThan(30_000)
  })

  it('that Envoy cancels stops its check, which may still end', async () => {
    const ended = Promise.withResolvers<unknown>()
    let begun: () => void = () => undefined
    const { address } = await started({}, async (_, deadline) => {
      const signal = deadline.signal()
      await new Promise(resolve => {
        signal.addEventListener('abort', resolve)
        begun()
      })
      ended.resolve(signal.reason)
      return refused(503, 'cancelled')
    })
    const envoy = calling(address)
    const call = envoy.check(REQUEST, {
      begun: call => {
        begun = () => call.cancel()
      },
    })
    await expect(call).rejects.toMatchObject({ code: status.CANCELLED })
    expect(await ended.promise).toEqual(new Denied('cancelled'))
    expect(await envoy.health('')).toBe('NOT_SERVING')
  })

  it('that cannot be decoded is refused by the check', async () => {
    const { address } = await started({}, deciding)
    const envoy = calling(address)
    expect(await envoy.check(Buffer.from('garbage'))).toMatchObject({
      status: 400,
      body: 'request_malformed',
    })
    expect(await envoy.check(Buffer.alloc(0))).toMatchObject({ status: 400, body: 'request_malformed' })
  })

  it.each([
    ['4 MiB', 4 * 1024 * 1024, { code: 0 }],
    ['4 MiB and a byte', 4 * 1024 * 1024 + 1, { status: 400, body: 'request_too_large' }],
    ['20 MiB', 20 * 1024 * 1024, { status: 400, body: 'request_too_large' }],
  ])('of %s is for the check to refuse, and is no gRPC error', async (_, bytes, answer) => {
    const { address } = await started({}, deciding)
    const envoy = calling(address)
    const padding = message(99, Buffer.alloc(bytes - REQUEST.length - 6))
    expect(await envoy.check(Buffer.concat([REQUEST, padding]))).toMatchObject(answer)
    expect(await envoy.check()).toMatchObject({ code: 0 })
  })

  it('is answered after somebody sent what is no HTTP/2', async () => {
    const { address } = await started()
    const envoy = calling(address)
    await envoy.check()
    for (const garbage of [
      'GET / HTTP/1.1\r\n\r\n',
      `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(100)}`,
    ]) {
      const socket = connect(Number(address.split(':')[1]), '127.0.0.1').on('error', () => undefined)
      socket.end(garbage, 'latin1')
      await once(socket.resume(), 'close')
    }
    expect(await envoy.check()).toMatchObject({ code: 0 })
    expect(await calling(address).check()).toMatchObject({ code: 0 })
  })

  /** A check that reads its request, and says what is wrong with it. */
  function deciding(read: Parameters<Check>[0]): Reply {
    try {
      read().assertJudgeable()
      return allowed
    } catch (error) {
      const { reason } = asDenied(error)
      return { ...refused(REASONS[reason], reason), body: reason }
    }
  }
})

function raise(error: unknown = new Error('secret')): never {
  throw error
}

describe('an address', () => {
  it.each([
    ['0.0.0.0:0', 1],
    ['127.0.0.1:0', 0],
    ['localhost:0', 0],
  ])('%s without TLS is warned of where others can reach it', async (grpc, warnings) => {
    const { log } = await started({ grpc })
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(warnings)
  })

  it('that is in use is refused by the name of its setting, and in one message', async () => {
    const printed = vi.spyOn(console, 'error')
    const { address } = await started()
    expect(await refusal({ grpc: address })).toMatch(/^listen\.grpc: .*EADDRINUSE/)
    expect(await refusal({ grpc: address })).toContain(address)
    expect(printed).not.toHaveBeenCalled()
  })

  it('that is not of this machine is refused', async () => {
    expect(await refusal({ grpc: '192.0.2.1:0' })).toMatch(
      /^listen\.grpc: .*192\.0\.2\.1:0 \(EADDRNOTAVAIL\)/,
    )
  })

  it('in a folder that is not there is refused', async () => {
    expect(await refusal({ grpc: `unix:${path('absent/socket')}` })).toMatch(
      /^listen\.grpc: .*absent\/socket \(E[A-Z]+\)/,
    )
  })

  it('may be one of IPv6, in brackets', async () => {
    const outcome = await started({ grpc: '[::1]:0' }).then(
      ({ address }) => address,
      (error: Error) => error.message,
    )
    // Not every machine has IPv6; but none may look for a host of that name.
    expect(outcome).toMatch(/^\[::1\]:[1-9]\d+$|EADDRNOTAVAIL|EAFNOSUPPORT/)
  })

  it('that is a socket which nobody listens on any more is taken', async () => {
    const stale = createServer().listen(path('stale'))
    await once(stale, 'listening')
    // Under another name it outlives its server, as that of a killed process does.
    linkSync(path('stale'), path('taken'))
    await new Promise(resolve => stale.close(resolve))
    const grpc = `unix:${path('taken')}`
    expect((await started({ grpc })).address).toBe(grpc)
    expect(await calling(grpc).check()).toMatchObject({ code: 0 })
  })

  it('that is a socket of a process that listens is left to it', async () => {
    const grpc = `unix:${path('live')}`
    await started({ grpc })
    expect(await refusal({ grpc })).toMatch(/^listen\.grpc: another process is listening/)
    expect(await calling(grpc).check()).toMatchObject({ code: 0 })
  })

  it('that is a file is left as it is', async () => {
    writeFileSync(path('file'), 'text')
    expect(await refusal({ grpc: `unix:${path('file')}` })).toMatch(/^listen\.grpc: .*not a socket/)
    expect(existsSync(path('file'))).toBe(true)
  })

  it('that is a socket is gone after the end', async () => {
    const grpc = `unix:${path('ended')}`
    const { server } = await started({ grpc })
    expect(existsSync(path('ended'))).toBe(true)
    await stop(server)
    expect(existsSync(path('ended'))).toBe(false)
  })
})
