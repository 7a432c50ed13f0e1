import { existsSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { explain } from '../../src/explain.ts'
import { Unusable } from '../../src/unusable.ts'
import { type Configured, configured, reading, type Written } from './configured.ts'
import { keptLog } from './listen/callers.ts'

let at: Configured
beforeAll(async () => {
  at = await configured()
})
afterAll(() => at?.remove())

/** What a person is told of one request, line by line, the decision's id taken out. */
async function told(
  http: object,
  { edit, extensions = {} }: { edit?: (config: Written) => void; extensions?: object } = {},
) {
  const request = { attributes: { request: { http }, contextExtensions: extensions } }
  const { outcome, text } = await explain(
    at.configure(edit),
    at.write('request.json', JSON.stringify(request)),
    keptLog(),
  )
  const lines = text.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'ID').split('\n')
  expect(lines.pop()).toBe('')
  return { outcome, lines, text }
}

const REQUEST = 'request   GET mail.example.com/v1/folders/inbox/messages'
const ROUTE = 'route     mode enforce, identity required, authorization remove'
const ALICE = 'issuer corp, agent mail-summary (act), for alice@example.com, scopes read:mail:inbox'

describe('an explanation', () => {
  it('tells what each stage found on the way to an allow, and what the upstream gets', async () => {
    const { outcome, lines } = await told(
      reading(await at.mint({ act: { sub: 'mail-summary', act: { sub: 'planner' } } })),
    )
    expect(outcome).toBe('allow')
    expect(lines).toEqual([
      'allow',
      REQUEST,
      ROUTE,
      `identify  ${ALICE}`,
      'gather    path, query and body read',
      expect.stringMatching(/^decide {4}allow by envoy\/authz\/result at revision [0-9a-f]{12}$/),
      'reason    policy_allowed',
      'respond   goes on to the upstream',
      '          x-delegator-id: alice@example.com',
      '          x-delegator-issuer: corp',
      '          x-agent-id: mail-summary',
      '          x-agent-issuer: corp',
      '          x-agent-chain: planner',
      '          x-authz-decision-id: ID',
      '          authorization removed',
    ])
  })

  it('tells where a request was refused and why, and that nothing was asked behind it', async () => {
    const { outcome, lines } = await told(reading())
    expect(outcome).toBe('deny')
    expect(lines).toEqual([
      'deny',
      REQUEST,
      ROUTE,
      'identify  refused: token_missing',
      'gather    not reached',
      'decide    not reached',
      'reason    token_missing',
      'respond   401 {"error":"token_missing","decision_id":"ID"}',
      '          x-authz-decision-id: ID',
      '          www-authenticate: Bearer',
      '          content-type: application/json',
    ])
  })

  const stages = (lines: string[]) => lines.slice(1, 6).map(line => line.replace(/ at revision .*/, ''))

  it.each<
    [what: string, claims: object, http: object, options: Parameters<typeof told>[1], wanted: string[]]
  >([
    [
      'the token, for a verified one in which nobody acts',
      { act: undefined },
      {},
      {},
      [
        REQUEST,
        ROUTE,
        'identify  refused: agent_missing; issuer corp, agent none (none), for alice@example.com, scopes read:mail:inbox',
        'gather    not reached',
        'decide    not reached',
      ],
    ],
    [
      'the token, with what is wrong with it',
      { exp: 1_000 },
      {},
      {},
      [
        REQUEST,
        ROUTE,
        expect.stringMatching(/^identify {2}refused: token_/),
        'gather    not reached',
        'decide    not reached',
      ],
    ],
    [
      'the body',
      {},
      { headers: { 'content-type': 'application/json' }, body: '{' },
      { edit: config => Object.assign(config, { identity: 'optional' }) },
      [
        REQUEST,
        'route     mode enforce, identity optional, authorization remove',
        'identify  no token, and none is required',
        expect.stringMatching(/^gather {4}refused: body_invalid/),
        'decide    not reached',
      ],
    ],
    [
      'policy',
      {},
      { path: '/v1/folders/archive/messages' },
      {},
      [
        'request   GET mail.example.com/v1/folders/archive/messages',
        ROUTE,
        `identify  ${ALICE}`,
        'gather    path, query and body read',
        'decide    deny by envoy/authz/result',
      ],
    ],
    [
      'the route',
      {},
      {},
      { extensions: { agent_authz_mode: 'audit' } },
      [
        REQUEST,
        'route     refused: route_invalid',
        'identify  not reached',
        'gather    not reached',
        'decide    not reached',
      ],
    ],
    [
      'the request itself, where it cannot be judged',
      {},
      { path: '' },
      {},
      [
        'request   refused: request_malformed: no method or path; GET mail.example.com',
        'route     not reached',
        'identify  not reached',
        'gather    not reached',
        'decide    not reached',
      ],
    ],
  ])('names the stage that refused: %s', async (_, claims, http, options, wanted) => {
    const { outcome, lines } = await told(reading(await at.mint(claims), http), options)
    expect(outcome).toBe('deny')
    expect(stages(lines)).toEqual(wanted)
  })

  it('has policy’s reason, and the scope that would help', async () => {
    const elsewhere = await told(reading(await at.mint(), { path: '/v1/folders/archive/messages' }))
    expect(elsewhere.lines).toContain('reason    folder_not_allowed')
    const scopeless = await told(reading(await at.mint({ scope: 'none' })))
    expect(scopeless.lines).toContain('reason    insufficient_scope')
    expect(scopeless.text).toContain(
      'www-authenticate: Bearer error="insufficient_scope", scope="read:mail:inbox"',
    )
  })

  it('tells a refusal that would only be observed', async () => {
    const { outcome, lines } = await told(reading(), {
      edit: config => Object.assign(config, { mode: 'observe' }),
    })
    expect(outcome).toBe('deny')
    expect(lines[0]).toBe('allow (observed: deny)')
    expect(lines).toContain('identify  refused: token_missing')
    expect(lines).toContain('          x-agent-id removed')
  })

  it('holds no token and no query', async () => {
    const good = await at.mint()
    const bad = `${good.slice(0, -4)}AAAA`
    for (const token of [good, bad, 'garbage']) {
      const { text } = await told(reading(token, { path: '/v1/folders/inbox/messages?key=hidden' }))
      for (const secret of [token, ...token.split('.'), 'hidden']) expect(text).not.toContain(secret)
    }
  })

  it('waits for keys that have to be fetched, and says so where they are not there', async () => {
    const { lines } = await told(reading(await at.mint()), {
      edit: config =>
        Object.assign(config.issuers[0], { jwks_file: undefined, jwks_uri: 'http://127.0.0.1:1/keys' }),
    })
    expect(lines[3]).toMatch(/^identify {2}refused: keys_unavailable/)
  })

  it('writes no decision log', async () => {
    await told(reading(), { edit: config => Object.assign(config, { decision_log: { file: 'untouched' } }) })
    expect(existsSync(at.path('untouched'))).toBe(false)
  })
})

describe('nothing is explained', () => {
  const request = (content: string) => explain(at.configure(), at.write('request.json', content), keptLog())

  it.each([
    [
      'is not there',
      () => explain(at.configure(), at.path('absent.json'), keptLog()),
      /^cannot read the request \S+absent\.json \(ENOENT\)$/,
    ],
    ['is not JSON', () => request('{'), /^the request is not JSON/],
    [
      'has an unknown field',
      () => request('{"attributes":{"reqest":{}}}'),
      /^request\.attributes\.reqest: unknown/,
    ],
    ['is a list', () => request('[]'), /^request: must be an object$/],
  ])('where the request %s', async (_, run, message) => {
    await expect(run()).rejects.toSatisfy(error => error instanceof Unusable && message.test(error.message))
  })

  it.each<[what: string, edit: (config: Written) => void, message: RegExp]>([
    ['is wrong', config => Object.assign(config, { mode: 'audit' }), /mode: expected one of/],
    [
      'has a bundle that is not there',
      config => Object.assign(config.policy, { bundle: 'absent' }),
      /^policy\.bundle: /,
    ],
    [
      'has a key file that is not there',
      config => Object.assign(config.issuers[0], { jwks_file: 'absent' }),
      /^issuer corp: cannot use jwks_file/,
    ],
  ])('where the configuration %s', async (_, edit, message) => {
    writeFileSync(at.path('request.json'), '{"attributes":{}}')
    await expect(explain(at.configure(edit), at.path('request.json'), keptLog())).rejects.toSatisfy(
      error => error instanceof Unusable && message.test(error.message),
    )
  })
})
