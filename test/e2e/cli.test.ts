import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync, renameSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Issuer, startIssuer } from '../../deploy/demo/issuer.ts'
import { until } from '../../deploy/demo/processes.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { type Configured, configured, ISSUER, ROOT, reading, type Written } from '../unit/configured.ts'
import { caller } from '../unit/listen/callers.ts'
import { encodeRequest } from '../unit/listen/wire/oracle.ts'

const MAIN = join(ROOT, 'src/main.ts')
const HINT = 'agent-authz --help shows the commands\n'

let at: Configured
const children: ChildProcess[] = []
beforeEach(async () => {
  at = await configured()
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  at.remove()
})

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(...args: string[]): Promise<Ended> {
  return runOn('', ...args)
}

/** With this text on standard input. */
async function runOn(stdin: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: at.folder })
  children.push(child)
  // It may end without having read it.
  child.stdin.on('error', () => undefined)
  child.stdin.end(stdin)
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { code, stdout, stderr }
}

const set = (changes: object) => (config: Written) => Object.assign(config, changes)
const noStack = expect.not.stringMatching(/^ +at /m)

describe('the command line', () => {
  it.each(['--help', '-h'])('says with %s what there is', async option => {
    const { code, stdout, stderr } = await run(option)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const commands = ['serve', 'config check', 'config schema', 'check', 'token inspect', 'token mint']
    for (const told of [...commands, '--token FILE', '--version', 'SIGHUP']) expect(stdout).toContain(told)
  })

  it('says its version', async () => {
    expect(await run('--version')).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: '' })
  })

  it('prints the JSON Schema of the configuration', async () => {
    const { code, stdout } = await run('config', 'schema')
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ type: 'object', required: ['issuers', 'policy'] })
  })

  it.each([
    [[], 'a command is missing'],
    [['serv'], 'unknown command: serv'],
    [['config'], 'config check or config schema'],
    [['config', 'chek'], 'config check or config schema'],
    [['serve', 'now', '--config', 'x'], 'unknown command: serve now'],
    [['serve'], '--config FILE is missing'],
    [['config', 'check'], '--config FILE is missing'],
    [['check', '--config', 'x'], '--request FILE is missing'],
    [['check', 'eyJsecret'], 'one of the arguments is not understood'],
    [['--eyJsecret'], 'one of the arguments is not understood'],
    [['token'], 'token inspect or token mint; no token as an argument'],
    [['token', 'secret'], 'token inspect or token mint; no token as an argument'],
    [['token', 'inspect', 'secret', '--config', 'x'], 'token inspect or token mint; no token as an argument'],
    [['token', 'inspect'], '--config FILE is missing'],
    [['token', 'inspect', '--config', 'x', '--token'], "Option '--token <value>' argument missing"],
    [['token', 'mint'], '--sub NAME is missing'],
    [['token', 'mint', '--sub', 'alice'], '--aud URL is missing'],
    [['serve', '--config'], "Option '--config <value>' argument missing"],
    [['serve', '--confg', 'x'], "Unknown option '--confg'"],
    [['-x'], "Unknown option '-x'"],
    [['--version=1'], "Option '--version' does not take an argument"],
  ])('refuses %j with a message and a hint', async (args, message) => {
    const { code, stdout, stderr } = await run(...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).not.toContain('secret')
    expect(stderr.startsWith(`agent-authz: ${message}`)).toBe(true)
    expect(stderr.endsWith(`\n${HINT}`)).toBe(true)
    expect(stderr.split('\n')).toHaveLength(3)
  })
})

describe('config check', () => {
  it('is 0 for a configuration that is valid, without opening what it names', async () => {
    const file = at.configure(config => set({ bundle: 'absent' })(config.policy))
    expect(await run('config', 'check', '--config', file)).toEqual({
      code: 0,
      stdout: `${file} is valid; the files that it names are opened by serve\n`,
      stderr: '',
    })
  })

  it('is 1 for one that is not, with every problem', async () => {
    const file = at.configure(set({ mode: 'audit', polcy: {} }))
    expect(await run('config', 'check', '--config', file)).toEqual({
      code: 1,
      stdout: '',
      stderr: [
        `agent-authz: ${file} cannot be used:`,
        '  mode: expected one of "enforce"|"observe"',
        '  polcy: unknown key; did you mean policy?\n',
      ].join('\n'),
    })
  })

  it.each([
    ['is not there', () => at.path('absent.yaml'), 'cannot read the configuration'],
    ['refers to itself', () => at.write('bomb.yaml', 'listen: &x { tls: *x }'), 'refers to itself'],
    ['is no YAML', () => at.write('no.yaml', 'listen: ['), 'is not YAML'],
  ])('is 1 for one that %s', async (_, file, message) => {
    const { code, stderr } = await run('config', 'check', '--config', file())
    expect(code).toBe(1)
    expect(stderr).toContain(message)
    expect(stderr).toEqual(noStack)
  })
})

describe('check', () => {
  const request = (http: object) =>
    at.write('request.json', JSON.stringify({ attributes: { request: { http } } }))

  it('is 0 for an allow, with what each stage found and no token', async () => {
    const token = await at.mint()
    const { code, stdout, stderr } = await run(
      ...['check', '--config', at.configure(), '--request', request(reading(token))],
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const line of [
      /^allow$/m,
      /^request {3}GET mail\.example\.com\/v1\/folders\/inbox\/messages$/m,
      /^route {5}mode enforce/m,
      /^identify {2}issuer corp, agent mail-summary \(act\), for alice@example\.com/m,
      /^gather {4}path, query and body read$/m,
      /^decide {4}allow by envoy\/authz\/result at revision /m,
      /^reason {4}policy_allowed$/m,
      /^respond {3}goes on to the upstream$/m,
    ])
      expect(stdout).toMatch(line)
    for (const part of token.split('.')) expect(stdout).not.toContain(part)
  })

  it('is 1 for a refusal, with the stage that refused and why', async () => {
    const config = at.configure()
    const { code, stdout, stderr } = await run('check', '--config', config, '--request', request(reading()))
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(/^deny\n/)
    expect(stdout).toMatch(/^identify {2}refused: token_missing$/m)
    expect(stdout).toMatch(/^respond {3}401 /m)
  })

  it('ends by itself where keys have to be fetched', async () => {
    const config = at.configure(config =>
      set({ jwks_file: undefined, jwks_uri: 'http://127.0.0.1:1/keys' })(config.issuers[0]),
    )
    const { code, stdout } = await run(
      ...['check', '--config', config, '--request', request(reading(await at.mint()))],
    )
    expect(code).toBe(1)
    expect(stdout).toContain('keys_unavailable')
  })

  it.each([
    [
      'the configuration is not there',
      () => [at.path('absent'), request({})],
      'cannot read the configuration',
    ],
    ['the request is not there', () => [at.configure(), at.path('absent')], 'cannot read the request'],
    ['the request is not JSON', () => [at.configure(), at.write('bad.json', '{')], 'the request is not JSON'],
    [
      'the bundle is not there',
      () => [at.configure(config => set({ bundle: 'absent' })(config.policy)), request({})],
      'policy.bundle: ',
    ],
  ])('is 2 where %s, wherever the options stand', async (_, files, message) => {
    const [config, asked] = files() as [string, string]
    for (const args of [
      ['check', '--config', config, '--request', asked],
      ['--config', config, '--request', asked, 'check'],
    ]) {
      const { code, stdout, stderr } = await run(...args)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr.startsWith(`agent-authz: ${message}`)).toBe(true)
      expect(stderr).toEqual(noStack)
    }
  })
})

describe('token inspect', () => {
  it('is 0 for a token that is accepted, read from standard input or a file', async () => {
    const token = await at.mint()
    const config = at.configure()
    for (const { code, stdout, stderr } of [
      await runOn(`Bearer ${token}\n`, 'token', 'inspect', '--config', config),
      await runOn(`${token}\n`, 'token', 'inspect', '--config', config, '--token', '-'),
      await run('token', 'inspect', '--config', config, '--token', at.write('token', token)),
    ]) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^accepted\nsize {16}holds /)
      expect(stdout).toContain('\nagent         mail-summary (act)\n')
      for (const part of token.split('.')) expect(stdout).not.toContain(part)
    }
  })

  it('is 1 for a token that is refused, with every rule that refuses', async () => {
    const token = await at.mint({ aud: 'https://elsewhere.example.com', act: { sub: 'alice@example.com' } })
    const { code, stdout, stderr } = await runOn(token, 'token', 'inspect', '--config', at.configure())
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(/^refused: audience_mismatch\n/)
    expect(stdout).toMatch(/^audience +refused: audience_mismatch /m)
    expect(stdout).toMatch(/^delegation +refused: actor_is_delegator /m)
  })

  it.each([
    [
      'the configuration is not there',
      () => ['--config', at.path('absent')],
      'cannot read the configuration',
    ],
    [
      'there is no token',
      () => ['--config', at.configure(), '--token', at.write('empty', '\n')],
      'there is no token',
    ],
    [
      'the file is a token',
      () => ['--config', at.configure(), '--token', 'secret.secret.secret'],
      'cannot read the file of --token, which is not for the token itself (ENOENT)\n',
    ],
  ])('is 2 where %s, and says nothing of the token', async (_, options, message) => {
    const { code, stdout, stderr } = await runOn('a.b.secret', 'token', 'inspect', ...options())
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.startsWith(`agent-authz: ${message}`)).toBe(true)
    expect(stderr).toEqual(noStack)
    expect(stderr).not.toContain('secret')
  })
})

describe('token mint', () => {
  const wanted = ['--sub', 'alice', '--act', 'mail-summary,planner', '--aud', 'https://mail.example.com']
  let issuer: Issuer
  beforeEach(async () => {
    issuer = await startIssuer(0)
  })
  afterEach(() => issuer?.close())
  const minted = (...options: string[]) => run('token', 'mint', '--issuer', issuer.url, ...wanted, ...options)

  it('is 0 with the token alone, which inspect takes', async () => {
    const { code, stdout, stderr } = await minted('--scope', 'a b', '--client-id', 'console', '--ttl', '60')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)
    const config = at.configure(({ issuers }) =>
      set({ issuer: issuer.url, jwks_file: undefined })(issuers[0]),
    )
    const inspected = await runOn(stdout, 'token', 'inspect', '--config', config)
    expect(inspected).toMatchObject({ code: 0, stderr: '' })
    for (const line of [
      'delegator     alice',
      'prior actors  planner',
      'scopes        a b',
      'client        console',
    ])
      expect(inspected.stdout).toContain(`\n${line}\n`)
  })

  it('is 1 where the issuer makes no such token, and says why', async () => {
    const { code, stdout, stderr } = await minted('--ttl', '9999')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.startsWith('agent-authz: the issuer mints no such token:\n')).toBe(true)
    expect(stderr).toContain('ttl')
  })

  it('is 2 where there is no such issuer', async () => {
    await issuer.close()
    const { code, stdout, stderr } = await minted()
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    const { url } = issuer
    expect(stderr).toBe(
      `agent-authz: no development issuer answers at ${url} (ECONNREFUSED): make up starts one at http://127.0.0.1:9400\n`,
    )
  })

  it('is 2 for an issuer on another machine', async () => {
    const { code, stdout, stderr } = await run('token', 'mint', ...wanted, '--issuer', ISSUER)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      'agent-authz: --issuer must be http on loopback, such as http://127.0.0.1:9400: this is for development only\n',
    )
  })
})

describe('standard output', () => {
  /** The exit code and standard error of a command in a shell's pipe or redirection. */
  async function inShell(to: string, ...args: string[]): Promise<Ended> {
    const shell = `{ "$0" "$@"; echo "$?" > "$CODE"; } ${to}`
    const child = spawn('sh', ['-c', shell, process.execPath, MAIN, ...args], {
      env: { ...process.env, CODE: at.path('code') },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.push(child)
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
    return { code: Number(readFileSync(at.path('code'), 'utf8')), stdout, stderr }
  }

  it.each([[['--help']], [['--version']], [['config', 'schema']]])(
    'may be closed before %j is read, which is no fault',
    async args => {
      expect(await inShell('| :', ...args)).toEqual({ code: 0, stdout: '', stderr: '' })
    },
  )

  it('may be read in part', async () => {
    expect(await inShell('| head -1', 'config', 'schema')).toEqual({ code: 0, stdout: '{\n', stderr: '' })
  })

  it('may be closed before a refusal is read, which the exit code says all the same', async () => {
    const file = at.write('refused.json', JSON.stringify({ attributes: { request: { http: reading() } } }))
    const ended = await inShell('| :', 'check', '--config', at.configure(), '--request', file)
    expect(ended).toEqual({ code: 1, stdout: '', stderr: '' })
  })

  it('that takes nothing is told in one message', async () => {
    expect(await inShell('> /dev/full', 'config', 'schema')).toEqual({
      code: 2,
      stdout: '',
      stderr: 'agent-authz: cannot write to standard output (ENOSPC)\n',
    })
  })
})

describe('a start that fails', () => {
  it.each<[what: string, file: () => string, message: RegExp]>([
    [
      'the configuration is not there',
      () => at.path('absent.yaml'),
      /^cannot read the configuration \S+absent\.yaml \(ENOENT\)$/,
    ],
    [
      'the configuration is wrong',
      () => at.configure(set({ mode: 'audit' })),
      /^\S+agent-authz\.yaml cannot be used:\n {2}mode: expected one of "enforce"\|"observe"$/,
    ],
    [
      'the bundle is not there',
      () => at.configure(config => set({ bundle: 'absent.tar.gz' })(config.policy)),
      /^policy\.bundle: \S+absent\.tar\.gz cannot be used: it cannot be read \(ENOENT\)$/,
    ],
    [
      'the bundle is not compiled',
      () =>
        at.configure(config =>
          set({ bundle: at.archive('rego.tar.gz', { 'policy.rego': 'package x' }) })(config.policy),
        ),
      /^policy\.bundle: .*; build it with: opa build -t wasm -e envoy\/authz\/result -o bundle\.tar\.gz policies\/$/,
    ],
    [
      'the key file is damaged',
      () => at.configure(config => set({ jwks_file: at.write('keys', '{') })(config.issuers[0])),
      /^issuer corp: cannot use jwks_file \S+keys \(it is not JSON\)$/,
    ],
    [
      'the certificate is not there',
      () => at.configure(config => set({ tls: { cert: 'a.crt', key: 'a.key' } })(config.listen)),
      /^listen\.tls\.cert: cannot read \S+a\.crt \(ENOENT\)$/,
    ],
    [
      'the decision log cannot be opened',
      () => at.configure(set({ decision_log: { file: 'no/such/file' } })),
      /^decision_log\.file: cannot open \S+no\/such\/file for appending \(ENOENT\)$/,
    ],
  ])('ends with 1 and one message when %s', async (_, file, message) => {
    const { code, stdout, stderr } = await run('serve', '--config', file())
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.endsWith('\n')).toBe(true)
    expect(stderr.slice('agent-authz: '.length, -1)).toMatch(message)
    expect(stderr).toEqual(noStack)
  })

  it.each(['grpc', 'admin'])('ends with 1 and one message when the %s address is in use', async door => {
    const taken = createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`
    const { code, stdout, stderr } = await run(
      ...['serve', '--config', at.configure(config => set({ [door]: address })(config.listen))],
    )
    taken.close()
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: `agent-authz: listen.${door}: cannot listen on ${address} (EADDRINUSE); is another process using it?\n`,
    })
  })
})

interface Serving {
  readonly child: ChildProcess
  /** The service log so far. */
  log(): string
  /** How often it holds this message. */
  count(message: string): number
  told(message: string, times?: number): Promise<void>
  /** The status that Envoy would answer with, 200 where it asks the upstream. */
  ask(token?: string, changes?: object): Promise<number>
  metric(name: string): Promise<number>
  healthy(): Promise<boolean>
  ended(): Promise<[code: number | null, signal: string | null]>
}

/** The service on its way; `listening` waits until it is there. */
function launch(file: string, { preload = '', stdout = 'pipe' as 'pipe' | number } = {}): Serving {
  const args = [...(preload === '' ? [] : ['--import', `data:text/javascript,${preload}`]), MAIN]
  const child = spawn(process.execPath, [...args, 'serve', '--config', file], {
    stdio: ['ignore', stdout, 'pipe'],
  })
  children.push(child)
  let log = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk
  })
  // Asked for at once: it may have ended before anybody waits for it.
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>
  const where = (): { grpc: string; admin: string } => {
    const line = /^\{.*"msg":"listening"\}$/m.exec(log)
    if (!line) throw new Error(`it does not listen: ${log}`)
    return JSON.parse(line[0])
  }
  const count = (message: string) => log.split(`"msg":"${message}`).length - 1
  return {
    child,
    log: () => log,
    count,
    told: async (message, times = 1) => {
      await until(`"${message}" in ${log}`, () => count(message) >= times || undefined)
    },
    async ask(token, changes) {
      const client = caller(where().grpc)
      try {
        const http = reading(token, changes)
        const answer = await client.check(encodeRequest({ attributes: { request: { http } } }))
        return answer.code === 0 ? 200 : (answer.status ?? 0)
      } finally {
        client.close()
      }
    },
    async metric(name) {
      const page = await (await fetch(`http://${where().admin}/metrics`)).text()
      const line = page.split('\n').find(sample => sample.startsWith(`${name} `))
      return Number(line?.slice(name.length + 1) ?? 0)
    },
    healthy: async () => (await fetch(`http://${where().admin}/healthz`)).ok,
    ended: () => exit,
  }
}

async function serve(file = at.configure(), options = {}): Promise<Serving> {
  const serving = launch(file, options)
  await serving.told('listening')
  return serving
}

const AGAIN = 'the configuration was read again and is in force'

describe('a signal', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('%s ends it with 0, its lines written', async signal => {
    const serving = await serve()
    expect(await serving.ask(await at.mint())).toBe(200)
    serving.child.kill(signal)
    expect(await serving.ended()).toEqual([0, null])
    expect(serving.count('draining')).toBe(1)
    expect(at.decisions()).toHaveLength(1)
  })

  it('SIGTERM ends it once, however often it comes', async () => {
    const serving = await serve()
    serving.child.kill('SIGTERM')
    await serving.told('draining')
    serving.child.kill('SIGTERM')
    serving.child.kill('SIGINT')
    expect(await serving.ended()).toEqual([0, null])
    expect(serving.count('draining')).toBe(1)
  })

  it('SIGHUP has the configuration read again, and a wrong one is survived', async () => {
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

  it('SIGHUP may come in a storm, and SIGTERM in the middle of it', async () => {
    const serving = await serve()
    for (let i = 0; i < 500; i++) serving.child.kill('SIGHUP')
    await serving.told(AGAIN)
    expect(await serving.ask(await at.mint())).toBe(200)
    at.configure(set({ decision_log: { file: 'second.jsonl' } }))
    for (let i = 0; i < 500; i++) serving.child.kill(i === 250 ? 'SIGTERM' : 'SIGHUP')
    expect(await serving.ended()).toEqual([0, null])
    expect(at.decisions()).toHaveLength(1)
  })

  it('SIGUSR2 has the decision log opened again', async () => {
    const serving = await serve()
    await serving.ask()
    await until('a line', () => at.decisions().length === 1 || undefined)
    renameSync(at.path('decisions.jsonl'), at.path('decisions.1'))
    serving.child.kill('SIGUSR2')
    await until('another line in the new file', async () => {
      await serving.ask()
      try {
        return at.decisions().length > 0 || undefined
      } catch {
        return undefined
      }
    })
  })

  /** Sends the signal as soon as the service listens for it, which is before it has begun to start. */
  const atOnce = (signal: string) =>
    `process.on('newListener',name=>{if(name==='uncaughtException')process.kill(process.pid,'${signal}')})`

  it.each(['SIGTERM', 'SIGINT'])('%s while it starts ends it with 0', async signal => {
    const serving = launch(at.configure(), { preload: atOnce(signal) })
    expect(await serving.ended()).toEqual([0, null])
    expect(serving.count('listening')).toBe(0)
  })

  it('SIGHUP while it starts is not lost', async () => {
    const serving = await serve(at.configure(), { preload: atOnce('SIGHUP') })
    await serving.told(AGAIN)
    expect(await serving.healthy()).toBe(true)
  })

  it('SIGUSR2 while it starts is survived', async () => {
    const serving = await serve(at.configure(), { preload: atOnce('SIGUSR2') })
    expect(await serving.healthy()).toBe(true)
  })
})

describe('where what it writes is not taken', () => {
  it('it serves on when standard error is full, and ends as it is told', async () => {
    const free = createServer()
    await new Promise<void>(resolve => free.listen(0, '127.0.0.1', resolve))
    const admin = `127.0.0.1:${(free.address() as AddressInfo).port}`
    await new Promise(resolve => free.close(resolve))
    const child = spawn(
      process.execPath,
      [MAIN, 'serve', '--config', at.configure(config => set({ admin })(config.listen))],
      { stdio: ['ignore', 'ignore', openSync('/dev/full', 'w')] },
    )
    children.push(child)
    const ended = once(child, 'exit')
    const healthy = async () =>
      (await fetch(`http://${admin}/healthz`).catch(() => undefined))?.ok || undefined
    await until('it to be up', healthy)
    const reads = async () =>
      (await (await fetch(`http://${admin}/metrics`)).text()).match(
        /configuration_loads_total\S*ok\S* (\d+)/,
      )?.[1]
    child.kill('SIGHUP')
    await until(
      'it to tell that it has read its configuration',
      async () => (await reads()) === '2' || undefined,
    )
    expect(await healthy()).toBe(true)
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })

  it('it serves on when nobody reads its standard error any more', async () => {
    const serving = await serve()
    serving.child.stderr?.destroy()
    serving.child.kill('SIGHUP')
    await until(
      'it to tell that it has read its configuration',
      async () =>
        (await serving.metric('agent_authz_configuration_loads_total{outcome="ok"}')) === 2 || undefined,
    )
    expect(await serving.ask(await at.mint())).toBe(200)
  })

  it('it serves on when nobody reads the decision log on its standard output, and says so', async () => {
    const serving = await serve(at.configure(set({ decision_log: { on_full: 'refuse' } })))
    serving.child.stdout?.destroy()
    expect(await serving.ask(await at.mint())).toBe(200)
    await serving.told('the decision log cannot be written')
    expect(await serving.ask(await at.mint())).toBe(200)
    expect(await serving.metric('agent_authz_decision_log_errors_total')).toBe(1)
  })

  it.each([
    ['a file', 'file'],
    ['standard output', 'stdout'],
  ])('it ends when it is told though the pipe that is its decision log takes nothing: %s', async (_, as) => {
    execFileSync('mkfifo', [at.path('pipe')])
    const pipe = openSync(at.path('pipe'), 'r+')
    const log = as === 'file' ? { file: 'pipe' } : { on_full: 'refuse' }
    const serving = await serve(at.configure(set({ decision_log: log })), {
      stdout: as === 'file' ? 'pipe' : pipe,
    })
    // More than a pipe takes.
    for (let i = 0; i < 100; i++) await serving.ask(undefined, { path: `/${'x'.repeat(1_500)}` })
    serving.child.kill('SIGTERM')
    expect(await serving.ended()).toEqual([0, null])
    expect(serving.log()).toContain('the end of the decision log is not written')
  })

  it('it waits a little for the reader of a decision log that it has left for another', async () => {
    execFileSync('mkfifo', [at.path('pipe')])
    const serving = await serve(at.configure(set({ decision_log: { file: 'pipe' } })))
    for (let i = 0; i < 100; i++) await serving.ask(undefined, { path: `/${'x'.repeat(1_500)}` })
    at.configure()
    serving.child.kill('SIGHUP')
    await serving.told(AGAIN)
    serving.child.kill('SIGTERM')
    // It answers no more: what is left to do is to write.
    await until('it to have drained', () =>
      serving.healthy().then(
        () => undefined,
        () => true,
      ),
    )
    const reader = spawn('cat', [at.path('pipe')], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = (await text(reader.stdout)).split('\n').slice(0, -1)
    expect(await serving.ended()).toEqual([0, null])
    expect(lines.map(line => JSON.parse(line).reason)).toEqual(Array(100).fill('token_missing'))
  })

  it('the decision log on standard output has every line and nothing else', async () => {
    const serving = await serve(at.configure(set({ decision_log: {} })))
    const read = text(serving.child.stdout as NonNullable<ChildProcess['stdout']>)
    expect(await serving.ask(await at.mint())).toBe(200)
    expect(await serving.ask()).toBe(401)
    serving.child.kill('SIGTERM')
    await serving.ended()
    const lines = (await read).split('\n').slice(0, -1)
    expect(lines.map(line => JSON.parse(line).issuer)).toEqual(['corp', undefined])
    expect(serving.log()).not.toContain(ISSUER)
  })
})
