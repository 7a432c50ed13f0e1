import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { asDenied, Denied } from '../../../src/denied.ts'
import { type Finding, insistOnAgent } from '../../../src/identify/identify.ts'
import type { Identity } from '../../../src/types.ts'
import { claims, ISSUER, type Key, NOW, newKey, patient, ROUTE, startRoom } from './issuer.ts'

const folder = mkdtempSync(join(tmpdir(), 'inspect-'))
const file = join(folder, 'jwks.json')
let key: Key
let rsa: Key
let twin: Key
let otherTwin: Key
let stranger: Key
beforeAll(async () => {
  ;[key, rsa, twin, otherTwin, stranger] = await Promise.all([
    newKey('k1'),
    newKey('r1', 'RS256'),
    newKey('twin'),
    newKey('twin'),
    newKey('k1'),
  ])
  writeFileSync(file, JSON.stringify({ keys: [key, rsa, twin, otherTwin].map(({ jwk }) => jwk) }))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What a new room says with `ask`. */
async function inRoom<Said>(
  settings: object,
  ask: (made: ReturnType<typeof startRoom>) => Promise<Said>,
): Promise<Said> {
  const made = startRoom([{ jwks_file: file, ...settings }])
  try {
    made.room.start()
    return await ask(made)
  } finally {
    made.room.close()
  }
}

const inspected = (token: string, settings: object = {}, route = ROUTE) =>
  inRoom(settings, ({ room }) => room.inspect(token, route, patient))

/** What a request with this token comes to. */
const asked = (token: string, settings: object = {}, route = ROUTE): Promise<Identity | Denied> =>
  inRoom(settings, async ({ raw }) => {
    try {
      const identity = (await raw(token, { route })) as Identity
      insistOnAgent(identity, route)
      return identity
    } catch (thrown) {
      return asDenied(thrown)
    }
  })

const plain = (verdict: Identity | Denied) =>
  verdict instanceof Denied
    ? { reason: verdict.reason, detail: verdict.detail, parties: verdict.parties }
    : verdict

const refusals = (findings: readonly Finding[]) =>
  findings.flatMap(({ rule, found }) => (found instanceof Denied ? [`${rule}: ${found.reason}`] : []))
const named = (findings: readonly Finding[], wanted: string) =>
  findings.flatMap(({ rule, found }) => (found === wanted ? [rule] : []))

/** The verdict is that of a request, and the first finding that refuses is the verdict. */
async function expectAgreement(token: string, settings: object = {}, route = ROUTE) {
  const { findings, verdict } = await inspected(token, settings, route)
  expect(plain(verdict)).toEqual(plain(await asked(token, settings, route)))
  const first = findings.map(({ found }) => found).find(found => found instanceof Denied)
  if (verdict instanceof Denied)
    expect(first).toMatchObject({ reason: verdict.reason, detail: verdict.detail })
  else expect(findings.every(({ found }) => found === 'holds')).toBe(true)
  return { findings, verdict }
}

const part = (text: string | Buffer) => Buffer.from(text).toString('base64url')
/** A token of these very texts, with a signature that nobody made. */
const unsigned = (header: string, payload: string | Buffer) => `${part(header)}.${part(payload)}.${part('x')}`
const HEADER = '{"alg":"ES256","typ":"at+jwt","kid":"k1"}'
const PAYLOAD = JSON.stringify({ iss: ISSUER, sub: 'a' })

const good = (changes: object = {}, header: object = {}) => key.sign(claims(changes), header)

const KEYCLOAK = { profile: 'keycloak', types: ['JWT'] }
const fromKeycloak = (changes: object) =>
  good(
    { typ: 'Bearer', sid: 's', azp: 'agent', act: undefined, client_id: undefined, ...changes },
    { typ: 'JWT' },
  )

describe('an inspected token', () => {
  type Row = [what: string, token: () => string | Promise<string>, refused: string[], settings?: object]

  it.each<Row>([
    ['is right', () => good(), []],
    ['is right, with prior actors', () => good({ act: { sub: 'a', act: { sub: 'b' } } }), []],
    ['is right, signed with RS256', () => rsa.sign(claims()), []],
    ['is right, without a kid', () => rsa.sign(claims(), { kid: undefined }), []],
    ['is past its exp, within the skew', () => good({ exp: NOW - 10 }), []],
    ['has nobody act, where nobody must', () => good({ act: undefined }), [], { require_agent: false }],
    [
      'has no delegator, where none must be',
      () => good({ sub: undefined }),
      [],
      { require_delegator: false },
    ],
    ['is Keycloak’s', () => fromKeycloak({}), [], KEYCLOAK],
    ['carries a key', async () => good({}, { jwk: (await newKey('k1')).jwk }), []],

    ['is a word', () => 'secret', ['form and JSON: token_malformed']],
    ['is long', () => 'x'.repeat(16 * 1024 + 1), ['size: token_too_large']],
    [
      'has no signature',
      async () => (await good()).replace(/[^.]*$/, ''),
      ['form and JSON: token_malformed'],
    ],
    ['has padding', async () => `${await good()}==`, ['form and JSON: token_malformed']],
    ['has stray bits', () => `${part(HEADER)}.${part(PAYLOAD)}.AB`, ['form and JSON: token_malformed']],
    ['has a header that is a list', () => unsigned('[]', PAYLOAD), ['form and JSON: token_malformed']],
    ['has claims that are no JSON', () => unsigned(HEADER, '{'), ['form and JSON: token_malformed']],
    [
      'has a claim twice',
      () => unsigned(HEADER, '{"sub":"a","sub":"b"}'),
      ['form and JSON: token_malformed'],
    ],
    ['is not UTF-8', () => unsigned(HEADER, Buffer.from([0xff])), ['form and JSON: token_malformed']],

    ['is of another issuer', () => good({ iss: 'https://x.example.com' }), ['issuer: issuer_unknown']],
    ['has no issuer', () => good({ iss: undefined }), ['issuer: issuer_unknown']],

    ['is critical', () => good({}, { crit: ['b64'], b64: true }), ['critical: token_critical_header']],
    [
      'has no algorithm',
      () => unsigned('{"alg":"none"}', PAYLOAD),
      [
        'algorithm: token_algorithm',
        'type: token_type',
        'expiry: claim_missing',
        'audience: audience_mismatch',
        'agent: agent_missing',
      ],
    ],
    ['has another algorithm', () => good(), ['algorithm: token_algorithm'], { algorithms: ['RS256'] }],
    ['has another type', () => good({}, { typ: 'dpop+jwt' }), ['type: token_type']],
    ['has no type', () => good({}, { typ: undefined }), ['type: token_type']],
    ['has a kid that is a number', () => good({}, { kid: 1 }), ['kid: token_malformed']],

    ['has an unknown kid', () => good({}, { kid: 'k9' }), ['key: key_unknown']],
    ['has a kid of two keys', () => twin.sign(claims()), ['key: key_ambiguous']],
    ['has no kid where several keys fit', () => good({}, { kid: undefined }), ['key: key_ambiguous']],
    ['has the kid of another kind of key', () => good({}, { kid: 'r1' }), ['key: key_unknown']],
    ['is forged', () => stranger.sign(claims()), ['signature: signature_invalid']],
    [
      'has claims that were changed',
      async () => (await good()).replace(/\.[^.]*\./, `.${part(JSON.stringify(claims({ sub: 'bob' })))}.`),
      ['signature: signature_invalid'],
    ],

    ['is expired', () => good({ exp: NOW - 60 }), ['expiry: token_expired']],
    ['has no exp', () => good({ exp: undefined }), ['expiry: claim_missing']],
    [
      'has an exp that is text',
      () => good({ exp: '1' }),
      ['expiry: claim_invalid', 'lifetime: claim_invalid'],
    ],
    ['is not valid yet', () => good({ nbf: NOW + 60 }), ['not before: token_not_yet_valid']],
    ['was issued tomorrow', () => good({ iat: NOW + 60 }), ['issued at: token_not_yet_valid']],
    ['lives for long', () => good({ exp: NOW + 3600 }), ['lifetime: token_lifetime']],
    ['is for others', () => good({ aud: 'https://x.example.com' }), ['audience: audience_mismatch']],
    ['has an audience that is a number', () => good({ aud: 1 }), ['audience: claim_invalid']],
    ['lacks a claim', () => good(), ['required claims: claim_missing'], { required_claims: ['tenant'] }],
    ['has a jti that is a number', () => good({ jti: 1 }), ['token id: claim_invalid']],
    [
      'has a client that is a number',
      () => fromKeycloak({ azp: 5 }),
      ['client: claim_invalid', 'agent: agent_missing'],
      KEYCLOAK,
    ],
    ['is of another client', () => good(), ['client: client_not_allowed'], { clients: ['web'] }],
    ['is bound to a key', () => good({ cnf: {} }), ['not bound to a key: sender_constrained']],
    ['is an ID token', () => good({ nonce: 'n' }), ['an access token: token_type']],
    [
      'is Keycloak’s, for a refresh',
      () => fromKeycloak({ typ: 'Refresh' }),
      ['a Bearer token: token_type'],
      KEYCLOAK,
    ],

    ['has an actor that is text', () => good({ act: 'a' }), ['delegation: actor_invalid']],
    [
      'has an agent that is the delegator',
      () => good({ act: { sub: 'alice@example.com' } }),
      ['delegation: actor_is_delegator'],
    ],
    [
      'has a deep chain',
      () => good({ act: { sub: 'a', act: { sub: 'b' } } }),
      ['delegation: actor_chain_too_deep'],
      { max_depth: 1 },
    ],
    ['has no delegator', () => good({ sub: undefined }), ['delegation: delegator_missing']],
    ['has a scope that is a number', () => good({ scope: 1 }), ['scopes: claim_invalid']],
    [
      'has a subject too long for a header',
      () => good({ sub: 'é'.repeat(100) }),
      ['trusted headers: header_too_large'],
    ],
    [
      'has an actor of an issuer that is a word',
      () => good({ act: { sub: 'a', iss: 'corp' } }),
      ['trusted headers: actor_invalid'],
    ],
    ['has nobody act', () => good({ act: undefined }), ['agent: agent_missing']],
  ])('that %s comes to the same as in a request', async (_, token, refused, settings) => {
    const { findings } = await expectAgreement(await token(), settings)
    expect(refusals(findings)).toEqual(refused)
  })

  it('comes to the same as in a request, whatever is wrong with it together', async () => {
    const changes = [
      { exp: NOW - 60 },
      { exp: 'soon' },
      { exp: undefined },
      { iat: NOW + 60 },
      { iat: NOW - 3600 },
      { nbf: NOW + 60 },
      { nbf: -1 },
      { aud: [] },
      { aud: ['https://api.example.com', 'x'] },
      { jti: {} },
      { client_id: 5 },
      { client_id: undefined },
      { azp: ['a'] },
      { cnf: {} },
      { nonce: 'n' },
      { events: {} },
      { act: undefined },
      { act: null },
      { act: { sub: 'alice@example.com' } },
      { act: { sub: 5 } },
      { sub: undefined },
      { sub: 5 },
      { sub: 'console' },
      { scope: 1 },
      { scope: ['a'] },
      { scp: 'a' },
      { sub: 'x'.repeat(600) },
      { act: { sub: 'a', iss: 'word' } },
      { typ: 'Bearer' },
      { sid: 's' },
      { oid: 'o' },
      { iss: `${ISSUER}/` },
    ]
    const headers = [
      { typ: undefined },
      { typ: 'JWT' },
      { typ: 1 },
      { kid: undefined },
      { kid: 'k9' },
      { crit: ['b64'], b64: true },
    ]
    const settings = [
      {},
      { clients: ['console'] },
      { require_agent: false },
      { require_delegator: false },
      { types: ['at+jwt'] },
    ]
    await fc.assert(
      fc.asyncProperty(
        fc.subarray(changes, { maxLength: 4 }),
        fc.subarray(headers, { maxLength: 2 }),
        fc.subarray(settings, { maxLength: 2 }),
        fc.constantFrom('rfc8693', 'keycloak', 'okta', 'auth0', 'entra'),
        fc.boolean(),
        async (claimed, header, set, profile, forged) => {
          const signer = forged ? stranger : key
          const token = await signer.sign(claims(Object.assign({}, ...claimed)), Object.assign({}, ...header))
          await expectAgreement(token, Object.assign({ profile }, ...set))
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('the rules', () => {
  it('are told in the order in which a token is checked, each with where it is written', async () => {
    const { findings } = await inspected(await good())
    expect(findings.map(({ rule }) => rule)).toEqual([
      ...['size', 'form and JSON', 'issuer', 'critical', 'algorithm', 'type', 'kid'],
      ...['not encrypted', 'key', 'signature'],
      'numbers',
      ...[
        'expiry',
        'not before',
        'issued at',
        'lifetime',
        'audience',
        'required claims',
        'token id',
        'client',
      ],
      ...['not bound to a key', 'an access token', 'delegation', 'scopes', 'trusted headers', 'agent'],
    ])
    for (const { section } of findings) expect(section).toMatch(/^(RFC|BCP|README)\b/)
  })

  it('are told behind the first that refuses too, the verdict is that of the first', async () => {
    const token = await stranger.sign(
      claims({ exp: NOW - 60, aud: 'x', act: { sub: 'alice@example.com' } }),
      { typ: 'logout+jwt' },
    )
    const { findings, verdict } = await inspected(token)
    expect(verdict).toMatchObject({ reason: 'token_type' })
    expect(refusals(findings)).toEqual([
      'type: token_type',
      'signature: signature_invalid',
      'expiry: token_expired',
      'audience: audience_mismatch',
      'delegation: actor_is_delegator',
    ])
    expect(named(findings, 'not known')).toEqual(['trusted headers', 'agent'])
  })

  it('are all named for a token of which nothing can be known', async () => {
    const all = (await inspected(await good())).findings.map(({ rule }) => rule)
    for (const [token, known] of [
      ['x'.repeat(20_000), []],
      ['garbage', ['size']],
      [await good({ iss: 'https://x.example.com' }), ['size', 'form and JSON']],
    ] as const) {
      const { findings } = await inspected(token)
      expect(findings.map(({ rule }) => rule)).toEqual(all)
      expect(named(findings, 'holds')).toEqual(known)
      expect(named(findings, 'not known')).toHaveLength(all.length - known.length - 1)
    }
  })

  it.each([
    ['an algorithm that is not accepted', {}, { algorithms: ['RS256'] }],
    ['a kid that is no text', { kid: 1 }, {}],
  ])('look for no key by %s', async (_, header, settings) => {
    const { findings } = await inspected(await good({}, header), settings)
    expect(named(findings, 'not known')).toEqual(['key', 'signature'])
  })

  it('of the claims are told where the keys cannot be had', async () => {
    const settings = { jwks_file: undefined, jwks_uri: 'http://127.0.0.1:1/keys' }
    const { findings } = await expectAgreement(await good({ aud: 'x' }), settings)
    expect(refusals(findings)).toEqual(['key: keys_unavailable', 'audience: audience_mismatch'])
    expect(named(findings, 'not known')).toEqual(['signature'])
  })

  it.each([
    ['wants', true, { require_agent: false }, ['agent: agent_missing']],
    ['does without', false, {}, []],
  ])('of a route count: it %s an agent', async (_, requireAgent, settings, refused) => {
    const token = await good({ act: undefined })
    const { findings } = await expectAgreement(token, settings, { ...ROUTE, requireAgent })
    expect(refusals(findings)).toEqual(refused)
  })

  it('give no verdict where something fails inside', async () => {
    const token = await good()
    const failing = inRoom({}, ({ room, time }) => {
      let asked = 0
      Object.defineProperty(time, 'now', {
        get: () => {
          // The rules have asked once; the verification fails.
          if (asked++ > 0) throw new Error('no clock')
          return NOW * 1000
        },
      })
      return room.inspect(token, ROUTE, patient)
    })
    await expect(failing).rejects.toThrow('no clock')
  })
})
