import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { status } from '@grpc/grpc-js'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { createListen, type ListenRoom, listenSettings } from '../../../src/listen/listen.ts'
import type { Check, Deadline, Reply } from '../../../src/types.ts'
import { Unusable } from '../../../src/unusable.ts'
import { allowed, caller, keptEvents, keptLog, refused, stop } from './callers.ts'

const problems = (settings: unknown) =>
  listenSettings.safeParse(settings).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)

describe('the settings', () => {
  it('need nothing', () => {
    expect(listenSettings.parse({})).toEqual({
      grpc: '127.0.0.1:9191',
      admin: '127.0.0.1:9192',
      check_timeout: 150,
      max_connections: 1024,
      max_concurrent_streams: 1024,
      max_connection_age: 1_800_000,
      keepalive: 30_000,
      reflection: false,
    })
  })

  const hosts = [
    '127.0.0.1:9191',
    '0.0.0.0:0',
    'localhost:65535',
    'authz-1.internal:1',
    '[::1]:9191',
    '[::]:0',
    '[fe80::1:2]:80',
  ]
  it.each([...hosts, 'unix:/run/authz.sock', 'unix:authz.sock', 'unix:./with space'])(
    'take %j for the address of gRPC',
    grpc => {
      expect(listenSettings.parse({ grpc })).toMatchObject({ grpc })
    },
  )
  it.each(hosts)('take %j for the address of the admin port', admin => {
    expect(listenSettings.parse({ admin })).toMatchObject({ admin })
  })

  const none = [
    '',
    '9191',
    ':9191',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:x',
    '127.0.0.1:0x1f',
    '127.0.0.1:-1',
    '127.0.0.1:9191 ',
    ' 127.0.0.1:9191',
    '127.0.0.1:9191\n',
    'x\n127.0.0.1:9191',
    '127.0.0.1:123456',
    '::1:9191',
    '[::1]',
    '[localhost]:9191',
    '[]:9191',
    'http://127.0.0.1:9191',
    '127.0.0.1:9191/path',
    'user@127.0.0.1:9191',
    '*:9191',
    'größe:9191',
  ]
  it.each([...none, 'unix:', 'unix-abstract:name', 'UNIX:/run/authz.sock', 'tcp+unix:/run/authz.sock'])(
    'refuse %j as the address of gRPC',
    grpc => {
      expect(problems({ grpc })).toEqual(['grpc: host:port or unix:/path'])
    },
  )
  it.each([...none, 'unix:/run/authz.sock'])('refuse %j as the address of the admin port', admin => {
    expect(problems({ admin })).toEqual(['admin: host:port'])
  })
  it.each(['127.0.0.1:65536', '[::1]:99999'])('refuse a port that is none: %j', address => {
    expect(problems({ grpc: address, admin: address })).toEqual([
      'grpc: a port is at most 65535',
      'admin: a port is at most 65535',
    ])
  })

  it.each([
    ['1ms', 1],
    ['150ms', 150],
    ['1s', 1_000],
    ['60s', 60_000],
    ['1m', 60_000],
  ])('take %s for the longest check', (text, ms) => {
    expect(listenSettings.parse({ check_timeout: text }).check_timeout).toBe(ms)
  })
  it.each(['0ms', '0s', '60001ms', '61s', '2m', '1h'])('refuse a longest check of %s', text => {
    expect(problems({ check_timeout: text })).toEqual(['check_timeout: from 1ms to 60s'])
  })
  it.each(['150', 150, '1.5s', '-1s', '1 s', '1S', '', null])('refuse what is no duration: %j', text => {
    expect(problems({ check_timeout: text })).toEqual([
      'check_timeout: a duration such as 150ms, 30s, 15m or 24h',
    ])
  })

  it.each<[string, object, string[]]>([
    ['no key', { cert: 'a' }, ['tls.key']],
    ['no certificate', { key: 'a' }, ['tls.cert']],
    ['a CA alone', { client_ca: 'a' }, ['tls.cert', 'tls.key']],
    ['empty names', { cert: '', key: '', client_ca: '' }, ['tls.cert', 'tls.key', 'tls.client_ca']],
    ['another key', { cert: 'a', key: 'b', ca: 'c' }, ['tls']],
  ])('refuse TLS with %s', (_, tls, places) => {
    expect(problems({ tls })?.map(problem => problem.split(':')[0])).toEqual(places)
  })

  it('refuse a key that is not known', () => {
    expect(problems({ port: 9191 })).toHaveLength(1)
  })
})

const folder = mkdtempSync(join(tmpdir(), 'listen-'))
const path = (name: string) => join(folder, name)
const open: ListenRoom[] = []
afterEach(async () => {
  for (const room of open.splice(0)) await stop(room)
  vi.useRealTimers()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function started(settings: object = {}, check: Check = () => allowed): Promise<ListenRoom> {
  const room = await createListen(
    listenSettings.parse({ grpc: '127.0.0.1:0', admin: '127.0.0.1:0', check_timeout: '60s', ...settings }),
    {
      check,
      clock: Date.now,
      log: keptLog(),
      events: keptEvents(),
      metrics: async () => ({ contentType: 'text/plain', text: 'agent_authz_up 1\n' }),
      readiness: () => ({ ready: false, detail: { stopping: true } }),
    },
  )
  open.push(room)
  return room
}

const listeners = () => process.getActiveResourcesInfo().filter(kind => kind === 'TCPServerWrap').length

describe('the two doors', () => {
  it('are open at the addresses that are told', async () => {
    const room = await started()
    const envoy = caller(room.grpc)
    expect(await envoy.check()).toMatchObject({ code: 0 })
    room.serving(true)
    expect(await envoy.health('')).toBe('SERVING')
    envoy.close()
    expect(await (await fetch(`http://${room.admin}/metrics`)).text()).toBe('agent_authz_up 1\n')
  })

  it('are both shut where the admin port cannot be opened', async () => {
    const { admin } = await started()
    const second = started({ grpc: `unix:${path('shut')}`, admin })
    await expect(second).rejects.toThrow(Unusable)
    await expect(second).rejects.toThrow(/^listen\.admin/)
    expect(existsSync(path('shut'))).toBe(false)
  })

  it.each<[string, () => Promise<object>]>([
    ['its address is taken', async () => ({ grpc: (await started()).grpc })],
    ['its certificate cannot be read', async () => ({ tls: { cert: path('no'), key: path('no') } })],
  ])('are both shut where gRPC cannot be opened since %s', async (_, make) => {
    const settings = await make()
    const before = listeners()
    await expect(started(settings)).rejects.toThrow(/^listen\.(grpc|tls)/)
    await vi.waitFor(() => expect(listeners()).toBe(before))
  })

  it('shut one after the other: readiness is told until the last call is answered', async () => {
    const begun = Promise.withResolvers<void>()
    const reply = Promise.withResolvers<Reply>()
    const room = await started({}, () => {
      begun.resolve()
      return reply.promise
    })
    const envoy = caller(room.grpc)
    const underWay = envoy.check()
    await begun.promise
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const over = room.drain()
    await vi.advanceTimersByTimeAsync(2_000)
    const newcomer = caller(room.grpc)
    await expect(newcomer.check()).rejects.toMatchObject({ code: status.UNAVAILABLE })
    expect(await (await fetch(`http://${room.admin}/readyz`)).json()).toEqual({ stopping: true })
    reply.resolve(refused(418))
    expect(await underWay).toMatchObject({ status: 418 })
    await over
    open.splice(0)
    await expect(fetch(`http://${room.admin}/readyz`)).rejects.toThrow()
    envoy.close()
    newcomer.close()
  })

  it('do not shut before a check that was cut has ended, so that its record is not lost', async () => {
    const begun = Promise.withResolvers<void>()
    const records: string[] = []
    const room = await started({}, async (_, deadline: Deadline) => {
      await new Promise(resolve => {
        deadline.signal().addEventListener('abort', resolve)
        begun.resolve()
      })
      records.push('cancelled')
      return refused(503, 'cancelled')
    })
    const envoy = caller(room.grpc)
    const cut = envoy.check().catch((error: unknown) => error)
    await begun.promise
    await stop(room)
    open.splice(0)
    expect(records).toEqual(['cancelled'])
    expect(await cut).toBeInstanceOf(Error)
    envoy.close()
  })

  it('leave nothing behind that keeps the process alive, once shut', async () => {
    const script = `
      import { createListen, listenSettings } from '../../../src/listen/listen.ts'
      import { allowed, caller, keptEvents, keptLog } from './callers.ts'
      const settings = listenSettings.parse({ grpc: '127.0.0.1:0', admin: '127.0.0.1:0' })
      const room = await createListen(settings, {
        check: async (_, deadline) => deadline.signal() && allowed,
        clock: Date.now,
        log: keptLog(),
        events: keptEvents(),
        metrics: async () => ({ contentType: 'text/plain', text: '' }),
        readiness: () => ({ ready: true, detail: {} }),
      })
      const envoy = caller(room.grpc)
      await envoy.check()
      await fetch('http://' + room.admin + '/metrics')
      envoy.close()
      await room.drain()
      const timers = process.getActiveResourcesInfo().filter(kind => kind === 'Timeout').length
      process.on('exit', () => console.log('ended by itself,', timers, 'timers'))
    `
    const args = ['--input-type=module-typescript', '--eval', script]
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
      cwd: import.meta.dirname,
      timeout: 20_000,
    })
    expect(stdout).toBe('ended by itself, 0 timers\n')
    expect(stderr).toBe('')
  }, 30_000)
})
