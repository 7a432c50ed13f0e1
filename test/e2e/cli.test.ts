import { describe, expect } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { type Configured, reading } from '../unit/configured.ts'
import { it, noStack, set, TOGETHER } from './command-line.ts'

const HINT = 'agent-authz --help shows the commands\n'

describe('the command line', TOGETHER, () => {
  it.for(['--help', '-h'])('says with %s what there is', async (option, { run }) => {
    const { code, stdout, stderr } = await run(option)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const commands = ['serve', 'config check', 'config schema', 'check', 'token inspect', 'token mint']
    for (const told of [...commands, '--token FILE', '--version', 'SIGHUP']) expect(stdout).toContain(told)
  })

  it('says its version', async ({ run }) => {
    expect(await run('--version')).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: '' })
  })

  it('prints the JSON Schema of the configuration', async ({ run }) => {
    const { code, stdout } = await run('config', 'schema')
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ type: 'object', required: ['issuers', 'policy'] })
  })

  it.for<[args: string[], message: string]>([
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
  ])('refuses %j with a message and a hint', async ([args, message], { run }) => {
    const { code, stdout, stderr } = await run(...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).not.toContain('secret')
    expect(stderr.startsWith(`agent-authz: ${message}`)).toBe(true)
    expect(stderr.endsWith(`\n${HINT}`)).toBe(true)
    expect(stderr.split('\n')).toHaveLength(3)
  })
})

describe('config check', TOGETHER, () => {
  it('is 0 for a configuration that is valid, without opening what it names', async ({ at, run }) => {
    const file = at.configure(config => set({ bundle: 'absent' })(config.policy))
    expect(await run('config', 'check', '--config', file)).toEqual({
      code: 0,
      stdout: `${file} is valid; the files that it names are opened by serve\n`,
      stderr: '',
    })
  })

  it('is 1 for one that is not, with every problem', async ({ at, run }) => {
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

  it.for<[what: string, file: (at: Configured) => string, message: string]>([
    ['is not there', at => at.path('absent.yaml'), 'cannot read the configuration'],
    ['refers to itself', at => at.write('bomb.yaml', 'listen: &x { tls: *x }'), 'refers to itself'],
    ['is no YAML', at => at.write('no.yaml', 'listen: ['), 'is not YAML'],
  ])('is 1 for one that %s', async ([, file, message], { at, run }) => {
    const { code, stderr } = await run('config', 'check', '--config', file(at))
    expect(code).toBe(1)
    expect(stderr).toContain(message)
    expect(stderr).toEqual(noStack)
  })
})

describe('check', TOGETHER, () => {
  const request = (at: Configured, http: object = {}) =>
    at.write('request.json', JSON.stringify({ attributes: { request: { http } } }))

  it('is 0 for an allow, with what each stage found and no token', async ({ at, run }) => {
    const token = await at.mint()
    const { code, stdout, stderr } = await run(
      ...['check', '--config', at.configure(), '--request', request(at, reading(token))],
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

  it('is 1 for a refusal, with the stage that refused and why', async ({ at, run }) => {
    const config = at.configure()
    const { code, stdout, stderr } = await run(
      'check',
      '--config',
      config,
      '--request',
      request(at, reading()),
    )
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(/^deny\n/)
    expect(stdout).toMatch(/^identify {2}refused: token_missing$/m)
    expect(stdout).toMatch(/^respond {3}401 /m)
  })

  it('ends by itself where keys have to be fetched', async ({ at, run }) => {
    const config = at.configure(config =>
      set({ jwks_file: undefined, jwks_uri: 'http://127.0.0.1:1/keys' })(config.issuers[0]),
    )
    const { code, stdout } = await run(
      ...['check', '--config', config, '--request', request(at, reading(await at.mint()))],
    )
    expect(code).toBe(1)
    expect(stdout).toContain('keys_unavailable')
  })

  it.for<[what: string, files: (at: Configured) => [config: string, request: string], message: string]>([
    [
      'the configuration is not there',
      at => [at.path('absent'), request(at)],
      'cannot read the configuration',
    ],
    ['the request is not there', at => [at.configure(), at.path('absent')], 'cannot read the request'],
    ['the request is not JSON', at => [at.configure(), at.write('bad.json', '{')], 'the request is not JSON'],
    [
      'the bundle is not there',
      at => [at.configure(config => set({ bundle: 'absent' })(config.policy)), request(at)],
      'policy.bundle: ',
    ],
  ])('is 2 where %s, wherever the options stand', async ([, files, message], { at, run }) => {
    const [config, asked] = files(at)
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
