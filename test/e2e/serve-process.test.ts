import { once } from 'node:events'
import { renameSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect } from 'vitest'
import type { Configured } from '../unit/configured.ts'
import { noStack, set, TOGETHER } from './command-line.ts'
import { AGAIN, eventually, it } from './serving.ts'

describe('a start that fails', TOGETHER, () => {
  it.for<[what: string, file: (at: Configured) => string, message: RegExp]>([
    [
      'the configuration is not there',
      at => at.path('absent.yaml'),
      /^cannot read the configuration \S+absent\.yaml \(ENOENT\)$/,
    ],
    [
      'the configuration is wrong',
      at => at.configure(set({ mode: 'audit' })),
      /^\S+agent-authz\.yaml cannot be used:\n {2}mode: expected one of "enforce"\|"observe"$/,
    ],
    [
      'the bundle is not there',
      at => at.configure(config => set({ bundle: 'absent.tar.gz' })(config.policy)),
      /^policy\.bundle: \S+absent\.tar\.gz cannot be used: it cannot be read \(ENOENT\)$/,
    ],
    [
      'the bundle is not compiled',
      at =>
        at.configure(config =>
          set({ bundle: at.archive('rego.tar.gz', { 'policy.rego': 'package x' }) })(config.policy),
        ),
      /^policy\.bundle: .*; build it with: opa build -t wasm -e envoy\/authz\/result -o bundle\.tar\.gz policies\/$/,
    ],
    [
      'the key file is damaged',
      at => at.configure(config => set({ jwks_file: at.write('keys', '{') })(config.issuers[0])),
      /^issuer corp: cannot use jwks_file \S+keys \(it is not JSON\)$/,
    ],
    [
      'the certificate is not there',
      at => at.configure(config => set({ tls: { cert: 'a.crt', key: 'a.key' } })(config.listen)),
      /^listen\.tls\.cert: cannot read \S+a\.crt \(ENOENT\)$/,
    ],
    [
      'the decision log cannot be opened',
      at => at.configure(set({ decision_log: { file: 'no/such/file' } })),
      /^decision_log\.file: cannot open \S+no\/such\/file for appending \(ENOENT\)$/,
    ],
  ])('ends with 1 and one message when %s', async ([, file, message], { at, run }) => {
    const { code, stdout, stderr } = await run('serve', '--config', file(at))
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.endsWith('\n')).toBe(true)
    expect(stderr.slice('agent-authz: '.length, -1)).toMatch(message)
    expect(stderr).toEqual(noStack)
  })

  it.for(['grpc', 'admin'])(
    'ends with 1 and one message when the %s address is in use',
    async (door, { at, onTestFinished, run }) => {
      const taken = createServer().listen(0, '127.0.0.1')
      onTestFinished(() => void taken.close())
      await once(taken, 'listening')
      const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`
      const { code, stdout, stderr } = await run(
        ...['serve', '--config', at.configure(config => set({ [door]: address })(config.listen))],
      )
      expect({ code, stdout, stderr }).toEqual({
        code: 1,
        stdout: '',
        stderr: `agent-authz: listen.${door}: cannot listen on ${address} (EADDRINUSE); is another process using it?\n`,
      })
    },
  )
})

describe('a signal', TOGETHER, () => {
  it.for(['SIGTERM', 'SIGINT'] as const)(
    '%s ends it with 0, its lines written',
    async (signal, { at, serve }) => {
      const serving = await serve()
      expect(await serving.ask(await at.mint())).toBe(200)
      serving.child.kill(signal)
      expect(await serving.ended()).toEqual([0, null])
      expect(serving.count('draining')).toBe(1)
      expect(at.decisions()).toHaveLength(1)
    },
  )

  it('SIGTERM ends it once, however often it comes', async ({ serve }) => {
    const serving = await serve()
    serving.child.kill('SIGTERM')
    await serving.told('draining')
    serving.child.kill('SIGTERM')
    serving.child.kill('SIGINT')
    expect(await serving.ended()).toEqual([0, null])
    expect(serving.count('draining')).toBe(1)
  })

  it('SIGHUP has the configuration read again, and a wrong one is survived', async ({ at, serve }) => {
    const serving = await serve()
    expect(await serving.ask(undefined, { path: '/public' })).toBe(401)
    at.configure(set({ identity: 'optional' }))
    serving.child.kill('SIGHUP')
    await serving.told(AGAIN)
    expect(await serving.ask(undefined, { path: '/public' })).toBe(200)
    at.write('agent-authz.yaml', 'listen: &x { tls: *x }')
    serving.child.kill('SIGHUP')
    await serving.told(`${at.path('agent-authz.yaml')} cannot be used`)
    expect(await serving.ask(undefined, { path: '/public' })).toBe(200)
  })

  it('SIGHUP may come in a storm, and SIGTERM in the middle of it', async ({ at, serve }) => {
    const serving = await serve()
    for (let i = 0; i < 500; i++) serving.child.kill('SIGHUP')
    await serving.told(AGAIN)
    expect(await serving.ask(await at.mint())).toBe(200)
    at.configure(set({ decision_log: { file: 'second.jsonl' } }))
    for (let i = 0; i < 500; i++) serving.child.kill(i === 250 ? 'SIGTERM' : 'SIGHUP')
    expect(await serving.ended()).toEqual([0, null])
    expect(at.decisions()).toHaveLength(1)
  })

  it('SIGUSR2 has the decision log opened again', async ({ at, serve }) => {
    const serving = await serve()
    await serving.ask()
    await eventually('a line', () => at.decisions().length === 1)
    renameSync(at.path('decisions.jsonl'), at.path('decisions.1'))
    serving.child.kill('SIGUSR2')
    await eventually('another line in the new file', async () => {
      await serving.ask()
      try {
        return at.decisions().length > 0
      } catch {
        return false
      }
    })
  })

  /** Sends the signal as soon as the service listens for it, which is before it has begun to start. */
  const atOnce = (signal: string) =>
    `process.on('newListener',name=>{if(name==='uncaughtException')process.kill(process.pid,'${signal}')})`

  it.for(['SIGTERM', 'SIGINT'])('%s while it starts ends it with 0', async (signal, { at, launch }) => {
    const serving = launch(at.configure(), { preload: atOnce(signal) })
    expect(await serving.ended()).toEqual([0, null])
    expect(serving.count('listening')).toBe(0)
  })

  it('SIGHUP while it starts is not lost', async ({ at, serve }) => {
    const serving = await serve(at.configure(), { preload: atOnce('SIGHUP') })
    await serving.told(AGAIN)
    expect(await serving.healthy()).toBe(true)
  })

  it('SIGUSR2 while it starts is survived', async ({ at, serve }) => {
    const serving = await serve(at.configure(), { preload: atOnce('SIGUSR2') })
    expect(await serving.healthy()).toBe(true)
  })
})
