import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Service, startService } from '../../src/app.ts'
import { Unusable } from '../../src/unusable.ts'
import { type Configured, configured, ROOT, reading, type Written } from './configured.ts'
import { json, startServer } from './identify/issuer.ts'
import { type Answer, type Caller, caller, keptLog } from './listen/callers.ts'
import { certificatesIn } from './listen/certificates.ts'
import { encodeHttp } from './listen/wire/oracle.ts'

let at: Configured
const folders: Configured[] = []
beforeEach(async () => {
  at = await configured()
  folders.push(at)
})

interface Running extends Service {
  readonly log: ReturnType<typeof keptLog>
  readonly caller: Caller
  check(token?: string, changes?: object): Promise<Answer>
  /** The status that the client would see: 200 where Envoy asks the upstream. */
  ask(token?: string, changes?: object): Promise<number>
  ready(): Promise<{ status: number; detail: Written }>
  sample(name: string): Promise<number>
  /** What the service log holds of this level. */
  told(level: 'info' | 'warn' | 'error'): string[]
}

const running: Running[] = []
/** Each ends as slowly as Envoy hears of it: all at once. */
afterAll(async () => {
  await Promise.all(running.map(service => service.stop()))
  for (const service of running) service.caller.close()
  for (const folder of folders) folder.remove()
}, 30_000)

async function start(file = at.configure()): Promise<Running> {
  const log = keptLog()
  const service = await startService(file, log)
  const client = caller(service.grpc)
  const page = (path: string) => fetch(`http://${service.admin}${path}`)
  const check = (token?: string, changes?: object) => client.check(encodeHttp(reading(token, changes)))
  const started: Running = {
    ...service,
    log,
    caller: client,
    check,
    async ask(token, changes) {
      const { code, status } = await check(token, changes)
      return code === 0 ? 200 : (status ?? 0)
    },
    async ready() {
      const answer = await page('/readyz')
      return { status: answer.status, detail: await answer.json() }
    },
    async sample(name) {
      const lines = (await (await page('/metrics')).text()).split('\n')
      return Number(lines.find(line => line.startsWith(`${name} `))?.slice(name.length + 1) ?? 0)
    },
    told: level => log.lines.filter(line => line.level === level).map(({ message }) => message),
  }
  running.push(started)
  return started
}

/** The servers of this process, and the files of the test's folder that are open. */
const held = () => ({
  servers: process
    .getActiveResourcesInfo()
    .filter(resource => /Server|Pipe/.test(resource))
    .toSorted(),
  open: open(),
})

function open(): string[] {
  const targets = readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return []
    }
  })
  return targets.filter(target => target.startsWith(at.folder)).toSorted()
}

const patient = { timeout: 10_000, interval: 20 }
const set = (changes: object) => (config: Written) => Object.assign(config, changes)
const loads = (outcome: string) => `agent_authz_configuration_loads_total{outcome="${outcome}"}`
/** Allowed by the sample policy to anybody, where the service lets a request without a token through to it. */
const PUBLIC = { path: '/public' }

const failedFetches = (issuer: string) =>
  `agent_authz_key_fetches_total{issuer="${issuer}",outcome="malformed"}`

/** Until a service has seen its `other.json` change twice: whoever else looks at a file has looked at it meanwhile. */
async function twoLooks(service: Running): Promise<void> {
  for (const looks of [1, 2]) {
    at.write('other.json', 'broken '.repeat(looks))
    await vi.waitFor(async () => expect(await service.sample(failedFetches('other'))).toBe(looks), patient)
  }
}

/** For the keys of an issuer, a file of its own. */
const other = () => ({
  name: 'other',
  jwks_file: at.write('other.json', readFileSync(at.path('jwks.json'), 'utf8')),
})

describe('a service that cannot start', () => {
  let taken: Server
  beforeEach(async () => {
    taken = createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    return () => void taken.close()
  })
  const takenAddress = () => `127.0.0.1:${(taken.address() as AddressInfo).port}`

  const broken: [what: string, edit: (config: Written) => void, message: RegExp][] = [
    ['a wrong setting', set({ mode: 'audit' }), /agent-authz\.yaml cannot be used:\n {2}mode: /],
    [
      'a bundle that is not there',
      config => set({ bundle: 'absent.tar.gz' })(config.policy),
      /^policy\.bundle: \S+absent\.tar\.gz cannot be used: it cannot be read \(ENOENT\)$/,
    ],
    [
      'a bundle that was not compiled',
      config => set({ bundle: at.archive('rego.tar.gz', { 'policy.rego': 'package x' }) })(config.policy),
      /^policy\.bundle: .* it has no policy\.wasm; build it with: opa build -t wasm -e envoy\/authz\/result -o bundle\.tar\.gz /,
    ],
    [
      'a bundle that is damaged',
      config => set({ bundle: at.write('bundle.tar.gz', 'no archive') })(config.policy),
      /^policy\.bundle: .* it is damaged, or not a tar\.gz$/,
    ],
    [
      'a bundle without the entry point',
      config => set({ entrypoint: 'envoy/other' })(config.policy),
      /^policy\.bundle: .* it has no entry point envoy\/other/,
    ],
    [
      'canaries that are not there',
      config => set({ canaries: 'absent' })(config.policy),
      /^policy\.canaries: cannot read \S+absent \(ENOENT\)$/,
    ],
    [
      'a key file that is not there',
      config => set({ jwks_file: 'absent.json' })(config.issuers[0]),
      /^issuer corp: cannot use jwks_file \S+absent\.json \(ENOENT\)$/,
    ],
    [
      'a key file that is damaged',
      config => set({ jwks_file: at.write('broken.json', '{"keys":') })(config.issuers[0]),
      /^issuer corp: cannot use jwks_file \S+broken\.json \(it is not JSON\)$/,
    ],
    [
      'a key file without keys behind one that is good',
      config =>
        config.issuers.push({
          ...config.issuers[0],
          ...{
            name: 'other',
            issuer: 'https://other.example.com',
            jwks_file: at.write('none.json', '{"keys":[]}'),
          },
        }),
      /^issuer other: cannot use jwks_file \S+none\.json /,
    ],
    [
      'a CA file that is not there',
      config => set({ jwks_file: undefined, ca_file: 'absent.pem' })(config.issuers[0]),
      /^issuer corp: cannot use ca_file \S+absent\.pem \(ENOENT\)$/,
    ],
    [
      'a certificate that is not there',
      config => set({ tls: { cert: 'absent.crt', key: 'absent.key' } })(config.listen),
      /^listen\.tls\.cert: cannot read \S+absent\.crt \(ENOENT\)$/,
    ],
    [
      'the key of another certificate',
      config => {
        const certificates = certificatesIn(at.folder)
        const [cert, key] = [certificates.leaf('one').crt, certificates.leaf('two').key]
        set({ tls: { cert, key } })(config.listen)
      },
      /^listen\.tls: the key \S+two\.key is not that of the certificate \S+one\.crt$/,
    ],
    [
      'a decision log that cannot be opened',
      set({ decision_log: { file: 'no/such/file' } }),
      /^decision_log\.file: cannot open \S+no\/such\/file for appending \(ENOENT\)$/,
    ],
    [
      'a gRPC address in use',
      config => set({ grpc: takenAddress() })(config.listen),
      /^listen\.grpc: cannot listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\); is another process using it\?$/,
    ],
    [
      'an admin address in use',
      config => set({ admin: takenAddress() })(config.listen),
      /^listen\.admin: cannot listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\); is another process using it\?$/,
    ],
    [
      'a file in the place of its socket',
      config => set({ grpc: `unix:${at.write('socket', '')}` })(config.listen),
      /^listen\.grpc: \S+socket exists and is not a socket/,
    ],
  ]

  it.each(broken)('says so in one message, and leaves nothing behind: %s', async (_, edit, message) => {
    const file = at.configure(edit)
    const before = held()
    const log = keptLog()
    const refused = await startService(file, log).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(Unusable)
    expect((refused as Error).message).toMatch(message)
    expect(log.lines).toEqual([])
    await vi.waitFor(() => expect(held()).toEqual(before), patient)
  })

  it('looks at none of its files any more', async () => {
    const log = keptLog()
    const file = at.configure(config => set({ grpc: takenAddress() })(config.listen))
    await expect(startService(file, log)).rejects.toThrow(/EADDRINUSE/)
    const service = await start(at.configure(config => set(other())(config.issuers[0])))
    at.write('jwks.json', 'broken')
    await twoLooks(service)
    expect(log.lines).toEqual([])
  })

  it('keeps no process, however often it was tried', async () => {
    const files = broken.map(([, edit], i) => at.write(`broken-${i}.yaml`, at.text(edit)))
    const script = `
      const [, app, ...files] = process.argv
      const { startService } = await import(app)
      const quiet = { info() {}, warn() {}, error() {} }
      for (const file of files) await startService(file, quiet).then(() => process.exit(3), () => undefined)
    `
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', script, `${ROOT}/src/app.ts`, ...files],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    )
    expect(await once(child, 'exit')).toEqual([0, null])
  }, 20_000)

  it('says that there is no configuration', async () => {
    await expect(startService(at.path('absent.yaml'), keptLog())).rejects.toThrow(
      new Unusable(`cannot read the configuration ${at.path('absent.yaml')} (ENOENT)`),
    )
  })
})

describe('a service', () => {
  it('decides by its policy for the tokens of its issuers, and leaves a line for each answer', async () => {
    const service = await start()
    expect(await service.ask(await at.mint())).toBe(200)
    expect(await service.ask(await at.mint({ act: { sub: 'stranger' } }))).toBe(403)
    expect(await service.ask()).toBe(401)
    await vi.waitFor(() => expect(at.decisions()).toHaveLength(3), patient)
    expect(at.decisions().map(({ reason }) => reason)).toEqual([
      'policy_allowed',
      'agent_unknown',
      'token_missing',
    ])
    expect(await service.sample(loads('ok'))).toBe(1)
    expect(service.log.lines).toEqual([])
  })

  it('is ready, and says with which policy and keys', async () => {
    const service = await start()
    expect(await service.ready()).toEqual({
      status: 200,
      detail: {
        ready: true,
        stopping: false,
        configuration: null,
        policy: expect.objectContaining({ entrypoint: 'envoy/authz/result', error: null }),
        issuers: [expect.objectContaining({ issuer: 'corp', keys: 1, error: null, required: false })],
      },
    })
    expect(await service.caller.health('')).toBe('SERVING')
  })

  it('opens its decision log again after that was moved away', async () => {
    const service = await start()
    await service.ask()
    await vi.waitFor(() => expect(at.decisions()).toHaveLength(1), patient)
    renameSync(at.path('decisions.jsonl'), at.path('decisions.1'))
    service.reopen()
    await service.ask()
    await vi.waitFor(() => expect(at.decisions()).toHaveLength(1), patient)
    expect(at.decisions('decisions.1')).toHaveLength(1)
  })
})

describe('an issuer that cannot be reached', () => {
  /** An address where nobody listens, until somebody does. */
  async function unheard(): Promise<number> {
    const server = await startServer()
    await server.close()
    return Number(new URL(server.url).port)
  }
  const elsewhere = (port: number) => ({
    jwks_file: undefined,
    jwks_uri: `http://127.0.0.1:${port}/keys`,
  })

  it('does not end the start: its tokens are 503 until its keys are there', async () => {
    const port = await unheard()
    const service = await start(at.configure(config => set(elsewhere(port))(config.issuers[0])))
    expect(await service.ask(await at.mint())).toBe(503)
    expect(await service.ready()).toMatchObject({
      status: 503,
      detail: {
        ready: false,
        issuers: [{ issuer: 'corp', keys: 0, keys_read_at: null, error: 'it cannot be reached' }],
      },
    })
    expect(await service.caller.health('')).toBe('NOT_SERVING')

    const keys = JSON.parse(readFileSync(at.path('jwks.json'), 'utf8'))
    const server = await startServer(json(keys), port)
    await vi.waitFor(async () => expect(await service.caller.health('')).toBe('SERVING'), patient)
    expect(await service.ask(await at.mint())).toBe(200)
    expect((await service.ready()).status).toBe(200)
    await server.close()
  }, 20_000)

  it.each([
    [false, 200, 'SERVING'],
    [true, 503, 'NOT_SERVING'],
  ])('beside one that has keys, required: %s, leaves /readyz at %i', async (required, status, serving) => {
    const port = await unheard()
    const late = { name: 'late', issuer: 'https://late.example.com', required, ...elsewhere(port) }
    const service = await start(
      at.configure(config => config.issuers.push({ ...config.issuers[0], ...late })),
    )
    expect(await service.ready()).toMatchObject({
      status,
      detail: {
        issuers: [
          { issuer: 'corp', keys: 1 },
          { issuer: 'late', keys: 0, required },
        ],
      },
    })
    expect(await service.caller.health('')).toBe(serving)
    expect(await service.ask(await at.mint())).toBe(200)
    expect(await service.ask(await at.mint({ iss: 'https://late.example.com' }))).toBe(503)
  })
})

describe('a configuration that is read again', () => {
  it('is in force as a whole when all of it is good', async () => {
    const service = await start()
    expect(await service.ask(undefined, PUBLIC)).toBe(401)
    at.configure(config => {
      set({ identity: 'optional', decision_log: { file: 'second.jsonl' } })(config)
      set({ audiences: ['https://other.example.com'] })(config.issuers[0])
    })
    await service.reload()
    expect(await service.ask(undefined, PUBLIC)).toBe(200)
    expect(await service.ask(await at.mint())).toBe(401)
    expect(await service.sample(loads('ok'))).toBe(2)
    expect(service.log.lines).toEqual([
      {
        level: 'info',
        fields: { file: at.path('agent-authz.yaml') },
        message: 'the configuration was read again and is in force',
      },
    ])
    await vi.waitFor(() => expect(at.decisions('second.jsonl')).toHaveLength(2), patient)
    expect(open()).toEqual([at.path('second.jsonl')])
  })

  const broken: [what: string, edit: (config: Written) => void, message: RegExp][] = [
    ['an unknown key', set({ polcy: {} }), /polcy: unknown key; did you mean policy\?/],
    ['a bundle that is not there', config => set({ bundle: 'absent' })(config.policy), /^policy\.bundle: /],
    [
      'canaries that are not there',
      config => set({ canaries: 'absent' })(config.policy),
      /^policy\.canaries: /,
    ],
    [
      'a key file that is not there',
      config => set({ jwks_file: 'absent' })(config.issuers[0]),
      /^issuer corp: cannot use jwks_file/,
    ],
    [
      'a CA file that is not there',
      config => set({ jwks_file: undefined, ca_file: 'absent' })(config.issuers[0]),
      /^issuer corp: cannot use ca_file/,
    ],
    [
      'a decision log that cannot be opened',
      set({ decision_log: { file: 'no/such/file' } }),
      /^decision_log\.file: /,
    ],
  ]
  it.each(broken)('changes nothing when one part of it is not usable: %s', async (_, edit, message) => {
    const service = await start()
    const before = open()
    at.configure(config => {
      set({ identity: 'optional', decision_log: { file: 'second.jsonl' } })(config)
      edit(config)
    })
    await service.reload()
    expect(await service.ask(undefined, PUBLIC)).toBe(401)
    expect(await service.sample(loads('error'))).toBe(1)
    expect(await service.sample(loads('ok'))).toBe(1)
    expect(service.told('error')).toEqual([expect.stringMatching(message)])
    expect(service.told('error')[0]).toMatch(/\nthe configuration before stays in force$/)
    expect(await service.ready()).toMatchObject({
      status: 200,
      detail: {
        ready: true,
        configuration: 'the configuration file is not usable; the one before stays in force',
      },
    })
    await vi.waitFor(() => expect(open()).toEqual(before), patient)
    await vi.waitFor(() => expect(at.decisions()).toHaveLength(1), patient)

    at.configure(set({ identity: 'optional' }))
    await service.reload()
    expect(await service.ask(undefined, PUBLIC)).toBe(200)
    expect((await service.ready()).detail.configuration).toBeNull()
  })

  it.each([
    ['no YAML', 'listen: ['],
    ['one that refers to itself', 'listen: &x { tls: *x }'],
    [
      'one that grows beyond all bounds',
      `a: &a [x]\n${'bcdefgh'.replace(/./g, (name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[i]}`)}]\n`)}`,
    ],
    ['none at all', ''],
  ])('changes nothing when it is %s', async (_, content) => {
    const service = await start()
    at.write('agent-authz.yaml', content)
    await service.reload()
    expect(await service.ask(await at.mint())).toBe(200)
    expect(await service.sample(loads('error'))).toBe(1)
    expect(service.told('error')).toHaveLength(1)
  })

  it('lets go of the keys that it wants no more, though one before it could not be used', async () => {
    const service = await start()
    at.configure(config => set({ bundle: 'absent' })(config.policy))
    await service.reload()
    at.configure(config => set(other())(config.issuers[0]))
    await service.reload()
    expect(service.told('error')).toHaveLength(1)

    at.write('jwks.json', 'broken')
    await twoLooks(service)
    expect(await service.sample(failedFetches('corp'))).toBe(0)
  })

  it('says as long as it is so that another listen needs a restart, and all else is in force', async () => {
    const service = await start()
    const restart = 'listen has changed: this part needs a restart, all others are in force'
    at.configure(config => {
      set({ identity: 'optional' })(config)
      set({ check_timeout: '1s' })(config.listen)
    })
    await service.reload()
    expect(await service.ask(undefined, PUBLIC)).toBe(200)
    expect(service.told('warn')).toEqual([restart])
    await service.reload()
    expect(service.told('warn')).toEqual([restart, restart])
    at.configure()
    await service.reload()
    expect(service.told('warn')).toEqual([restart, restart])
  })

  it('may fail by a fault of ours, which is told without its text, and is read the next time', async () => {
    const service = await start()
    const { info } = service.log
    service.log.info = () => {
      throw new TypeError('hidden')
    }
    await service.reload()
    expect(service.told('error')).toEqual([
      'a fault inside: TypeError\nthe configuration before stays in force',
    ])
    service.log.info = info
    at.configure(set({ identity: 'optional' }))
    await service.reload()
    expect(await service.ask(undefined, PUBLIC)).toBe(200)
    await service.stop()
    expect(at.decisions()).toHaveLength(1)
  }, 20_000)

  it('is read once or twice, however many ask at once, and each is answered when it is in force', async () => {
    const service = await start()
    at.configure(set({ identity: 'optional' }))
    await Promise.all(Array.from({ length: 200 }, () => service.reload()))
    expect(await service.ask(undefined, PUBLIC)).toBe(200)
    expect(await service.sample(loads('ok'))).toBeLessThanOrEqual(3)
  })

  it('is read as it is when the last one asked', async () => {
    const service = await start()
    at.configure(config => set({ bundle: at.path('copy.tar.gz') })(config.policy))
    execFileSync('cp', [`${ROOT}/policies/build/bundle.tar.gz`, at.path('copy.tar.gz')])
    const first = service.reload()
    // The first is waiting for its bundle now.
    await new Promise(setImmediate)
    at.configure(set({ identity: 'optional' }))
    await service.reload()
    await first
    expect(await service.ask(undefined, PUBLIC)).toBe(200)
  })
})

describe('a configuration file', () => {
  const optional = () => at.text(set({ identity: 'optional' }))

  const replaced: [how: string, before: () => void, replace: () => void][] = [
    [
      'moved into its place',
      () => undefined,
      () => renameSync(at.write('next', optional()), at.path('agent-authz.yaml')),
    ],
    ['written over', () => undefined, () => at.write('agent-authz.yaml', optional())],
    [
      'written over, with its size and time kept',
      () => at.configure(set({ identity: 'required' })),
      () => {
        const { atime, mtime } = statSync(at.path('agent-authz.yaml'))
        at.write('agent-authz.yaml', optional())
        utimesSync(at.path('agent-authz.yaml'), atime, mtime)
      },
    ],
    [
      'behind a link that is swapped',
      () => {
        mkdirSync(at.path('v1'))
        mkdirSync(at.path('v2'))
        at.write('v1/config', at.text())
        at.write('v2/config', optional())
        symlinkSync('v1', at.path('current'))
        rmSync(at.path('agent-authz.yaml'))
        symlinkSync('current/config', at.path('agent-authz.yaml'))
      },
      () => {
        symlinkSync('v2', at.path('next'))
        renameSync(at.path('next'), at.path('current'))
      },
    ],
  ]
  it.each(replaced)('is read again without being asked when it is %s', async (_, before, replace) => {
    const file = at.configure()
    before()
    const service = await start(file)
    expect(await service.ask(undefined, PUBLIC)).toBe(401)
    replace()
    await vi.waitFor(async () => expect(await service.ask(undefined, PUBLIC)).toBe(200), patient)
  })

  it('is read again when it was replaced while the service was starting', async () => {
    const starting = start(at.configure())
    at.write('agent-authz.yaml', optional())
    const service = await starting
    await vi.waitFor(async () => expect(await service.ask(undefined, PUBLIC)).toBe(200), patient)
  })

  it('that is taken away leaves the one before in force, and counts again when it is back', async () => {
    const service = await start()
    rmSync(at.path('agent-authz.yaml'))
    await vi.waitFor(async () => expect(await service.sample(loads('error'))).toBe(1), patient)
    expect(await service.ask(await at.mint())).toBe(200)
    expect(service.told('error')).toEqual([expect.stringMatching(/^cannot read the configuration .*ENOENT/)])
    at.write('agent-authz.yaml', optional())
    await vi.waitFor(async () => expect(await service.ask(undefined, PUBLIC)).toBe(200), patient)
  })
})

describe('a decision log that is swapped', () => {
  it('loses no line and cuts none, whatever is in flight', async () => {
    const service = await start()
    const token = await at.mint()
    const ids: unknown[] = []
    let swapped = false
    const asking = Array.from({ length: 8 }, async () => {
      for (let after = 0; after < 10; after += swapped ? 1 : 0) {
        const { metadata } = await service.check(token)
        ids.push((metadata as { decision_id: string }).decision_id)
      }
    })
    for (const file of ['second.jsonl', 'third.jsonl', 'decisions.jsonl']) {
      at.configure(set({ decision_log: { file } }))
      await service.reload()
    }
    swapped = true
    await Promise.all(asking)
    const lines = () =>
      ['decisions.jsonl', 'second.jsonl', 'third.jsonl']
        .flatMap(file => at.decisions(file))
        .map(line => line.decision_id)
    await vi.waitFor(() => expect(lines().toSorted()).toEqual(ids.toSorted()), patient)
    expect(service.told('error')).toEqual([])
  })

  it('gets its last lines though its disk is slow, and holds up nothing meanwhile', async () => {
    execFileSync('mkfifo', [at.path('pipe')])
    const service = await start(at.configure(set({ decision_log: { file: 'pipe' } })))
    const ask = () => service.check(undefined, { path: `/${'x'.repeat(1_000)}` })
    // More than a pipe takes before somebody reads it.
    await Promise.all(Array.from({ length: 200 }, ask))
    at.configure()
    await service.reload()
    await ask()
    await vi.waitFor(() => expect(at.decisions()).toHaveLength(1), patient)
    const reader = spawn('cat', [at.path('pipe')], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = (await text(reader.stdout)).split('\n').slice(0, -1)
    expect(lines).toHaveLength(200)
    expect(lines.filter(line => JSON.parse(line).reason !== 'token_missing')).toEqual([])
  })

  it('is written on where it is wanted again before its last lines were written, and no line is cut', async () => {
    execFileSync('mkfifo', [at.path('slow')])
    const piped = (more: object = {}) => at.configure(set({ decision_log: { file: 'slow', ...more } }))
    const service = await start(piped())
    const paths: string[] = []
    const ask = async (path: string) => {
      paths.push(path)
      await service.check(undefined, { path })
    }
    const many = (name: string) =>
      Promise.all(Array.from({ length: 100 }, (_, i) => ask(`/${name}/${i}/${'x'.repeat(1_000)}`)))
    await many('first')
    for (const again of [{}, { on_full: 'drop' }]) {
      at.configure()
      await service.reload()
      piped(again)
      await service.reload()
      await many(JSON.stringify(again))
    }
    const reader = spawn('cat', [at.path('slow')], { stdio: ['ignore', 'pipe', 'inherit'] })
    const read = text(reader.stdout)
    await service.stop()
    const lines = (await read).split('\n').slice(0, -1)
    expect(lines.map(line => JSON.parse(line).path).toSorted()).toEqual(paths.toSorted())
    expect(service.told('error')).toEqual([])
  }, 20_000)

  it('follows its name when it is asked to, though another has taken its place, and writes what waits', async () => {
    symlinkSync('/dev/full', at.path('full.jsonl'))
    const service = await start(at.configure(set({ decision_log: { file: 'full.jsonl' } })))
    await service.ask()
    at.configure()
    await service.reload()
    rmSync(at.path('full.jsonl'))
    service.reopen()
    await vi.waitFor(() => expect(at.decisions('full.jsonl')).toHaveLength(1), patient)
  })

  it('has its waiting lines counted, also after it was replaced or would have been', async () => {
    const pending = 'agent_authz_decision_log_pending_bytes'
    const service = await start(at.configure(set({ decision_log: { file: '/dev/full' } })))
    await service.ask()
    expect(await service.sample(pending)).toBeGreaterThan(0)
    at.configure(config => set({ bundle: 'absent' })(config.policy))
    await service.reload()
    expect(await service.sample(pending)).toBeGreaterThan(0)
    at.configure()
    await service.reload()
    expect(await service.sample(pending)).toBeGreaterThan(0)
  })
})

describe('a service that ends', () => {
  it('says first that it does, answers what runs, writes every line, and leaves nothing behind', async () => {
    const service = await start()
    const token = await at.mint()
    await service.ask(token)
    const stopping = service.stop()
    expect(await service.caller.health('')).toBe('NOT_SERVING')
    expect(await service.ready()).toMatchObject({ status: 503, detail: { ready: false, stopping: true } })
    expect(await service.ask(token)).toBe(200)
    await stopping
    expect(at.decisions()).toHaveLength(2)
    expect(open()).toEqual([])
    await expect(fetch(`http://${service.admin}/healthz`)).rejects.toThrow()
    await expect(service.ask(token)).rejects.toThrow()
  }, 20_000)

  it('keeps no process', async () => {
    const script = `
      const [, app, file] = process.argv
      const { startService } = await import(app)
      const service = await startService(file, { info() {}, warn() {}, error() {} })
      await service.stop()
    `
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', script, `${ROOT}/src/app.ts`, at.configure()],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    )
    expect(await once(child, 'exit')).toEqual([0, null])
  }, 20_000)

  it('ends once, however often it is told, and reads no configuration any more', async () => {
    const service = await start()
    const first = service.stop()
    expect(service.stop()).toBe(first)
    at.configure(set({ decision_log: { file: 'second.jsonl' } }))
    await service.reload()
    await first
    await service.reload()
    expect(service.log.lines).toEqual([])
    expect(open()).toEqual([])
  }, 20_000)

  it('waits for the configuration that is being read at that moment', async () => {
    const service = await start()
    await service.ask()
    at.configure(config => {
      set({ decision_log: { file: 'second.jsonl' } })(config)
      set({ reasons: [] })(config.policy)
    })
    const reloading = service.reload()
    await new Promise(setImmediate)
    const stopping = service.stop()
    await reloading
    expect(service.told('info')).toEqual(['the configuration was read again and is in force'])
    await service.ask()
    await stopping
    expect(at.decisions()).toHaveLength(1)
    expect(at.decisions('second.jsonl')).toHaveLength(1)
    expect(open()).toEqual([])
  }, 20_000)
})
