import { describe, expect } from 'vitest'
import { startIssuer } from '../../deploy/demo/issuer.ts'
import { type Configured, ISSUER } from '../unit/configured.ts'
import { noStack, set, TOGETHER, vacantAddress, it as withCommands } from './command-line.ts'

const WANTED = ['--sub', 'alice', '--act', 'mail-summary,planner', '--aud', 'https://mail.example.com']

const it = withCommands
  .extend('issuer', async ({ onTestFinished }) => {
    const issuer = await startIssuer(0)
    onTestFinished(issuer.close)
    return issuer
  })
  .extend(
    'mintedAt',
    ({ run }) =>
      (url: string, ...options: string[]) =>
        run('token', 'mint', '--issuer', url, ...WANTED, ...options),
  )
  .extend(
    'minted',
    ({ issuer, mintedAt }) =>
      (...options: string[]) =>
        mintedAt(issuer.url, ...options),
  )

describe('token inspect', TOGETHER, () => {
  it('is 0 for a token that is accepted, read from standard input or a file', async ({ at, run, runOn }) => {
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

  it('is 1 for a token that is refused, with every rule that refuses', async ({ at, runOn }) => {
    const token = await at.mint({ aud: 'https://elsewhere.example.com', act: { sub: 'alice@example.com' } })
    const { code, stdout, stderr } = await runOn(token, 'token', 'inspect', '--config', at.configure())
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(/^refused: audience_mismatch\n/)
    expect(stdout).toMatch(/^audience +refused: audience_mismatch /m)
    expect(stdout).toMatch(/^delegation +refused: actor_is_delegator /m)
  })

  it.for<[what: string, options: (at: Configured) => string[], message: string]>([
    [
      'the configuration is not there',
      at => ['--config', at.path('absent')],
      'cannot read the configuration',
    ],
    [
      'there is no token',
      at => ['--config', at.configure(), '--token', at.write('empty', '\n')],
      'there is no token',
    ],
    [
      'the file is a token',
      at => ['--config', at.configure(), '--token', 'secret.secret.secret'],
      'cannot read the file of --token, which is not for the token itself (ENOENT)\n',
    ],
  ])('is 2 where %s, and says nothing of the token', async ([, options, message], { at, runOn }) => {
    const { code, stdout, stderr } = await runOn('a.b.secret', 'token', 'inspect', ...options(at))
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.startsWith(`agent-authz: ${message}`)).toBe(true)
    expect(stderr).toEqual(noStack)
    expect(stderr).not.toContain('secret')
  })
})

describe('token mint', TOGETHER, () => {
  it('is 0 with the token alone, which inspect takes', async ({ at, issuer, minted, runOn }) => {
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

  it('may live as long as max_lifetime allows, and is taken', async ({ at, issuer, minted, runOn }) => {
    const { stdout } = await minted('--ttl', '900')
    const config = at.configure(({ issuers }) =>
      set({ issuer: issuer.url, jwks_file: undefined, max_lifetime: '15m' })(issuers[0]),
    )
    expect(await runOn(stdout, 'token', 'inspect', '--config', config)).toMatchObject({ code: 0 })
  })

  it('is 1 where the issuer makes no such token, and says why', async ({ minted }) => {
    const { code, stdout, stderr } = await minted('--ttl', '9999')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.startsWith('agent-authz: the issuer mints no such token:\n')).toBe(true)
    expect(stderr).toContain('ttl')
  })

  it('is 2 where there is no such issuer', async ({ mintedAt }) => {
    const url = `http://${await vacantAddress()}`
    const { code, stdout, stderr } = await mintedAt(url)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      `agent-authz: no development issuer answers at ${url} (ECONNREFUSED): make up starts one at http://127.0.0.1:9400\n`,
    )
  })

  it('is 2 for an issuer on another machine', async ({ mintedAt }) => {
    const { code, stdout, stderr } = await mintedAt(ISSUER)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      'agent-authz: --issuer must be http on loopback, such as http://127.0.0.1:9400: this is for development only\n',
    )
  })
})
