import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { NOW } from './token.ts'
import { readVectors, type Vector } from './vector.ts'

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-vector-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const HEAD = `# What this file is about.
policies:
  everyone: result := true
defaults:
  policy: everyone
answers:
  refused:
    reply: { kind: deny, status: 403, headers: { x-a: b, x-c: d }, body: $STANDARD, metadata: { a: 1 } }
    record: { mode: enforce, outcome: deny, enforced: true, reason: policy_denied, status: 403, host: a }
vectors:
`
const GOOD = '  - { name: a, answer: refused }\n'

/** What files have in common: the policy and the answer of HEAD, under other names. */
const COMMON = HEAD.replace('everyone:', 'all:')
  .replace('policy: everyone', 'policy: all')
  .replace('refused:', 'common:')
  .replace('vectors:\n', '')
const SHARING = '# What this file is about.\ncommon: common.yaml\nvectors:\n'

function share(text = COMMON): void {
  mkdirSync(join(folder, 'common'), { recursive: true })
  writeFileSync(join(folder, 'common/common.yaml'), text)
}

function read(text: string): Vector[] {
  const file = join(folder, 'vectors.yaml')
  writeFileSync(file, text)
  return readVectors(file)
}

const one = (vector: string) => read(`${HEAD}  - ${vector}\n`)[0] as Vector

describe('a vector', () => {
  it('goes over its answer key by key', () => {
    const { reply, record } = one(
      '{ name: a, answer: refused, reply: { headers: { x-a: c, x-c: null } }, record: { host: null } }',
    )
    expect(reply).toMatchObject({ status: 403, headers: { 'x-a': 'c' }, metadata: { a: 1 } })
    expect(reply.headers).not.toHaveProperty('x-c')
    expect(record).toEqual({
      mode: 'enforce',
      outcome: 'deny',
      enforced: true,
      reason: 'policy_denied',
      status: 403,
    })
  })

  it('replaces the metadata of policy as a whole', () => {
    expect(one('{ name: a, answer: refused, reply: { metadata: { b: null } } }').reply.metadata).toEqual({
      b: null,
    })
  })

  it('goes over the good token claim by claim', () => {
    const { token } = one('{ name: a, answer: refused, token: { claims: { exp: $NOW-1.5, act: { a: 1 } } } }')
    expect(token?.claims).toMatchObject({ sub: 'alice@example.com', exp: NOW - 1.5, act: { a: 1 } })
    expect(one('{ name: a, answer: refused, token: null }').token).toBeNull()
  })

  it('repeats text that would be too long to write', () => {
    expect(one("{ name: a, answer: refused, request: { path: '/$(ab*3)$(c*2)' } }").request.path).toBe(
      '/abababcc',
    )
  })

  it('may have a result of its own in place of a policy', () => {
    const vectors = read(`${HEAD}${GOOD}  - { name: b, answer: refused, result: null }\n`)
    expect(vectors.map(({ policy }) => policy)).toEqual([{ rego: 'result := true' }, { result: null }])
  })
})

describe('what files have in common', () => {
  it('is there for each of them', () => {
    share()
    const [vector] = read(`${SHARING}  - { name: a, answer: common, record: { host: b } }\n`)
    expect(vector).toMatchObject({ policy: { rego: 'result := true' }, record: { host: 'b' } })
  })

  it('need not be used', () => {
    share()
    const vectors = read(`${HEAD.replace('policies:', 'common: common.yaml\npolicies:')}${GOOD}`)
    expect(vectors).toHaveLength(1)
  })

  it('gives way to what a file says itself', () => {
    share()
    const own = SHARING.replace('vectors:', 'policies: { all: mine }\nvectors:')
    const [vector] = read(`${own}  - { name: a, policy: all, answer: common }\n`)
    expect(vector?.policy).toEqual({ rego: 'mine' })
  })

  it.each([
    ['without a line that says what it is about', COMMON.replace(/^#.*\n/, '')],
    ['with vectors', `${COMMON}vectors: []\n`],
    ['with an unknown key', `${COMMON}answer: {}\n`],
  ])('is an error %s', (_, common) => {
    share(common)
    expect(() => read(`${SHARING}  - { name: a, answer: common }\n`)).toThrow()
  })

  it('is an error where it is not there', () => {
    expect(() => read(SHARING.replace('common.yaml', 'absent.yaml') + GOOD)).toThrow('absent.yaml')
  })
})

describe('a mistake in a file is an error:', () => {
  it.each<[string, string]>([
    ['no line that says what it is about', `${HEAD}${GOOD}`.replace(/^#.*\n/, '')],
    ['two such lines', `${HEAD}${GOOD}`.replace('.\n', '.\n# And that.\n')],
    ['no vectors', HEAD],
    ['a key that comes twice', `${HEAD}  - { name: a, answer: refused, answer: refused }\n`],
    ['an unknown key of the file', `${HEAD}${GOOD}vector: []\n`],
    ['an unknown key of the defaults', `${HEAD}${GOOD}`.replace('  policy:', '  polici:')],
    ['an incomplete answer', `${HEAD}${GOOD}`.replace(', body: $STANDARD', '')],
    ['an incomplete record', `${HEAD}${GOOD}`.replace('enforced: true, ', '')],
    [
      'an answer that no vector uses',
      `${HEAD}${GOOD}`
        .replace('  refused:', '  refused: &one')
        .replace('vectors:', '  allowed: *one\nvectors:'),
    ],
    ['a policy that no vector uses', `${HEAD}${GOOD}`.replace('policies:', 'policies:\n  nobody: a')],
    ['two vectors of one name', `${HEAD}${GOOD}${GOOD}`],
    ...[
      'answer: refused, replies: {}',
      'answer: refused, request: { paths: / }',
      'answer: refused, request: { header: {} }',
      'answer: refused, token: { claim: {} }',
      'answer: refused, token: { key: somebody }',
      'answer: refused, config: { issuer: {} }',
      'answer: refused, when: never',
      'answer: refused, policy: nobody',
      'answer: refused, policy: everyone, result: true',
      'answer: nothing',
      'answer: refused, record: { reasons: a }',
      'answer: refused, record: { agent: null }',
      'answer: refused, record: { reason: null }',
      'answer: refused, reply: { stat: 403 }',
      'answer: refused, reply: { body: null }',
      'answer: refused, reply: { headers: { x-b: null } }',
      'answer: refused, reply: { removed: [] }',
      'answer: refused, reply: { kind: allow }',
      'answer: refused, token: { claims: { azp: null } }',
      'answer: refused, request: { body: null }',
      "answer: refused, request: { message: { base64: '' }, path: / }",
    ].map((rest): [string, string] => [rest, `${HEAD}  - { name: a, ${rest} }\n`]),
  ])('%s', (_, text) => {
    expect(() => read(text)).toThrow()
  })
})
