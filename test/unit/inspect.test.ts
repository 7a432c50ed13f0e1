import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inspect, readToken } from '../../src/inspect.ts'
import { Unusable } from '../../src/unusable.ts'
import { type Configured, configured, ISSUER, type Written } from './configured.ts'
import { json, newKey, startServer } from './identify/issuer.ts'
import { keptLog } from './listen/callers.ts'

let at: Configured
beforeAll(async () => {
  at = await configured()
})
afterAll(() => at?.remove())

/** What a person is told of a token, line by line. */
async function told(token: string, edit?: (config: Written) => void) {
  const { outcome, text } = await inspect(at.configure(edit), token, keptLog())
  const lines = text.split('\n')
  expect(lines.pop()).toBe('')
  return { outcome, lines, text }
}

const ofIssuer = (changes: object) => (config: Written) => Object.assign(config.issuers[0], changes)
const now = () => Math.floor(Date.now() / 1000)

describe('an inspection', () => {
  it('of a token that is accepted tells every rule, and the identity', async () => {
    const token = await at.mint({
      act: { sub: 'mail-summary', act: { sub: 'planner', act: { sub: 'chat' } } },
    })
    const { outcome, lines } = await told(token)
    expect(outcome).toBe('accepted')
    const end = lines.indexOf('')
    expect(lines[0]).toBe('accepted')
    expect(lines.slice(1, 3)).toEqual([
      'size                holds  README, Answers',
      'form and JSON       holds  RFC 7515, 7.1; RFC 7519, 4; BCP 225, 3.7 and 3.14',
    ])
    for (const line of lines.slice(1, end)) expect(line).toMatch(/^.{18} {2}holds {2}\S/)
    expect(lines.slice(end + 1)).toEqual([
      'issuer        corp',
      'delegator     alice@example.com',
      'agent         mail-summary (act)',
      'prior actors  planner, chat',
      'depth         3',
      'scopes        read:mail:inbox',
      'client        console',
      expect.stringMatching(/^expires {7}in (29\d|300) s$/),
      'headers       x-delegator-id: alice@example.com',
      '              x-delegator-issuer: corp',
      '              x-agent-id: mail-summary',
      '              x-agent-issuer: corp',
      '              x-agent-chain: planner,chat',
    ])
  })

  it('tells of an identity what there is not', async () => {
    const token = await at.mint({
      sub: undefined,
      act: undefined,
      scope: undefined,
      client_id: undefined,
      iat: undefined,
      exp: now() - 5,
    })
    const { outcome, lines } = await told(token, ofIssuer({ require_agent: false, require_delegator: false }))
    expect(outcome).toBe('accepted')
    expect(lines.slice(lines.indexOf('') + 1)).toEqual([
      'issuer        corp',
      'delegator     nobody',
      'agent         nobody',
      'prior actors  none',
      'depth         0',
      'scopes        none',
      'client        none',
      expect.stringMatching(/^expires {7}\d+ s ago, which clock_skew allows$/),
    ])
  })

  it('of a token that is refused begins with the first reason, and tells the others', async () => {
    const { outcome, lines } = await told(await at.mint({ exp: now() - 3600, aud: 5, sub: 'carol' }))
    expect(outcome).toBe('refused')
    expect(lines[0]).toBe('refused: token_expired')
    expect(lines).toContain('expiry              refused: token_expired       RFC 7519, 4.1.4')
    expect(lines).toContain(
      'audience            refused: claim_invalid: aud  RFC 7519, 4.1.3; RFC 9068, 4; BCP 225, 3.9',
    )
    expect(lines).not.toContain('')
  })

  it('holds nothing of the token, and no claim of one that is refused', async () => {
    const good = await at.mint()
    for (const token of [
      good,
      `${good.slice(0, -4)}AAAA`,
      'garbage',
      await at.mint({ iss: 'https://x.example.com' }),
    ]) {
      const { text } = await told(token)
      for (const piece of token.split('.')) expect(text).not.toContain(piece)
    }
    const { text } = await told(await at.mint({ aud: 'https://x.example.com' }))
    for (const claim of ['alice', 'x.example.com', 'console', 'token-1', ISSUER])
      expect(text).not.toContain(claim)
  })

  it('shows what a terminal would obey as what it is', async () => {
    const { text } = await told(await at.mint({ act: { sub: 'a\u001b[2J\u202e\nb' } }))
    expect(text).toContain('agent         a\\u{1b}[2J\\u{202e}\\u{a}b (act)\n')
  })

  it('needs no policy, and writes no decision log', async () => {
    const { outcome } = await told(await at.mint(), config => {
      Object.assign(config.policy, { bundle: 'absent' })
      Object.assign(config, { decision_log: { file: 'no/such/file' } })
    })
    expect(outcome).toBe('accepted')
  })

  it('waits for keys that have to be fetched', async () => {
    const key = await newKey('k7')
    const server = await startServer(json({ keys: [key.jwk] }))
    try {
      const claims = {
        iss: ISSUER,
        sub: 'alice',
        aud: 'https://mail.example.com',
        exp: now() + 60,
        act: { sub: 'a' },
      }
      const edit = ofIssuer({ jwks_file: undefined, jwks_uri: `${server.url}/keys` })
      expect(await told(await key.sign(claims), edit)).toMatchObject({ outcome: 'accepted' })
      expect(server.asked).toEqual(['/keys'])
    } finally {
      await server.close()
    }
  })

  it.each<[what: string, edit: (config: Written) => void, message: RegExp]>([
    [
      'the configuration is wrong',
      config => Object.assign(config, { mode: 'audit' }),
      /mode: expected one of/,
    ],
    ['a key file is not there', ofIssuer({ jwks_file: 'absent' }), /^issuer corp: cannot use jwks_file/],
  ])('is not made where %s', async (_, edit, message) => {
    await expect(told(await at.mint(), edit)).rejects.toSatisfy(
      error => error instanceof Unusable && message.test(error.message),
    )
  })
})

describe('a token', () => {
  const hints: string[] = []
  const stdin = (...pieces: string[]) => Readable.from(pieces.map(piece => Buffer.from(piece)))
  const fromStdin = (...pieces: string[]) => readToken('-', stdin(...pieces), hint => hints.push(hint))

  it.each([
    ['as it is', ['a.b.c']],
    ['in pieces', ['a.', 'b.c']],
    ['with a line end', ['a.b.c\n']],
    ['with white space around', [' \t a.b.c \r\n\n']],
    ['behind Bearer', ['Bearer a.b.c\n']],
    ['behind bearer and a line end', ['  bearer\n a.b.c']],
    ['behind a byte order mark', ['\ufeffa.b.c']],
  ])('is read from standard input %s', async (_, pieces) => {
    expect(await fromStdin(...pieces)).toBe('a.b.c')
    expect(hints).toEqual([])
  })

  it('is read from a file', async () => {
    const file = at.write('token', 'Bearer a.b.c\n')
    expect(await readToken(file, stdin('x.y.z'), hint => hints.push(hint))).toBe('a.b.c')
  })

  it('with white space inside stays as it is, to be refused', async () => {
    expect(await fromStdin('a.b\n.c\n')).toBe('a.b\n.c')
  })

  it('is read no further than it may be long, by far', async () => {
    async function* endless() {
      for (;;) yield Buffer.from('x'.repeat(1024))
    }
    const token = await readToken('-', Readable.from(endless()), () => undefined)
    expect(token.length).toBeLessThan(100_000)
    expect(await told(token)).toMatchObject({ lines: expect.arrayContaining(['refused: token_too_large']) })
  })

  it('is hinted at where a person would be waited for in silence', async () => {
    const terminal = Object.assign(new PassThrough(), { isTTY: true })
    const told: string[] = []
    const reading = readToken('-', terminal, hint => told.push(hint))
    expect(told).toEqual([expect.stringContaining('paste the token')])
    terminal.end('a.b.c\n')
    expect(await reading).toBe('a.b.c')
    await readToken(at.write('token', 'a.b.c'), terminal, hint => told.push(hint))
    expect(told).toHaveLength(1)
  })

  it.each([
    ['standard input is empty', () => fromStdin(''), /^there is no token on standard input/],
    ['standard input is blank', () => fromStdin(' \n'), /^there is no token on standard input/],
    [
      'the file is not there',
      () => readToken('/absent/eyJ.eyJ.x', stdin(), () => undefined),
      /^cannot read the file of --token, .* \(ENOENT\)$/,
    ],
    ['the file is a folder', () => readToken(at.folder, stdin(), () => undefined), /\(EISDIR\)$/],
  ])('is missed where %s, whose name is not told', async (_, run, message) => {
    await expect(run()).rejects.toSatisfy(
      error => error instanceof Unusable && message.test(error.message) && !error.message.includes('eyJ'),
    )
  })
})
