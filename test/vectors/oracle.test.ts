import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { encodeCheckResponse } from '../../src/listen/wire/check-response.ts'
import type { AuditRecord } from '../../src/record/audit.ts'
import { type AllowReply, TRUSTED_HEADERS } from '../../src/types.ts'
import { compile } from '../unit/decide/compile.ts'
import { responseOf } from '../unit/listen/wire/oracle.ts'
import { checkRequest } from './envoy.ts'
import { jwks } from './keys.ts'
import { type Answer, createWorld, type Service } from './service.ts'
import { compact, GOOD_CLAIMS, GOOD_HEADER, ISSUER, NOW, type Signer, signed } from './token.ts'

/*
 * No allow without a complete positive decision. Requests are made from a good one by changes of every kind, each
 * alone and several at once; what the answer must be is said by `specified`, which knows the rules and not the code.
 */

const TWINS = ['x_agent_id', 'x-delegator_id', 'x_authz_decision_id']
const INBOX = '/v1/folders/inbox/messages'
const MAIL = 'https://mail.example.com'

/** The policy of a route is picked by its `policy` key. */
const REGO = `
package envoy.authz

import rego.v1

policy := input.attributes.contextExtensions.policy

default reads_inbox := false

reads_inbox if {
	input.identity.agent == "mail-summary"
	input.attributes.request.http.method == "GET"
	input.attributes.request.http.host == "mail.example.com"
	input.parsed_path == ["v1", "folders", "inbox", "messages"]
	"read:mail:inbox" in input.identity.scopes
}

result := {"allowed": reads_inbox} if policy == "task"

result := data.results[policy]

result := true if policy == "throws"

result := false if policy == "throws"
`
const RESULTS = {
  open: true,
  generous: {
    allowed: true,
    headers: { 'x-tier': 'gold' },
    request_headers_to_remove: ['x-debug'],
    dynamic_metadata: { agent: 'root' },
  },
  shut: false,
  refusing: { allowed: false, headers: { 'x-agent': 'a' }, http_status: 404, body: 'no' },
  text: 'true',
  one: 1,
  none: null,
  list: [true],
  empty: {},
  unclear: { allowed: 'true' },
  forging: { allowed: true, headers: { 'x-agent-id': 'root' } },
  obliging: { allowed: true, approval: { by: 'manager' } },
}

/** What the services of these tests are configured with. */
const SERVICES = [
  { mode: 'enforce', identity: 'required', authorization: 'remove', requireAgent: true },
  { mode: 'enforce', identity: 'optional', authorization: 'keep', requireAgent: false },
  { mode: 'observe', identity: 'optional', authorization: 'remove', requireAgent: true },
  { mode: 'observe', identity: 'required', authorization: 'keep', requireAgent: false },
] as const

const world = createWorld()
const running = new Map<object, Promise<Service>>()
afterAll(() => world.close())

function serviceOf(settings: (typeof SERVICES)[number]): Promise<Service> {
  const { requireAgent, ...rest } = settings
  const service =
    running.get(settings) ??
    world.start({
      ...rest,
      issuers: [
        {
          name: 'corp',
          issuer: ISSUER,
          audiences: [MAIL],
          jwks_file: world.write(JSON.stringify(jwks(['corp']))),
          require_agent: requireAgent,
        },
      ],
      policy: {
        bundle: world.write(compile(REGO, { data: JSON.stringify({ results: RESULTS }) })),
      },
    })
  running.set(settings, service)
  return service
}

/** How the Authorization header is sent, `T` standing for the token, and what that is. */
const AUTHORIZATIONS = [
  { values: ['Bearer T'], is: 'token' },
  { values: ['bearer  T'], is: 'token' },
  { values: [], is: 'none' },
  { values: [''], is: 'none' },
  { values: ['Basic YTpi'], is: 'none' },
  { values: ['T'], is: 'none' },
  { values: ['Bearer'], is: 'wrong' },
  { values: ['Bearer T T'], is: 'wrong' },
  { values: ['Bearer T,Bearer T'], is: 'wrong' },
  { values: ['Basic YTpi, Bearer T'], is: 'wrong' },
  { values: ['Bearer T', 'Bearer T'], is: 'wrong' },
  { values: ['Bearer T', 'Basic YTpi'], is: 'wrong' },
] as const

const TARGETS = [
  { path: INBOX, is: 'inbox' },
  { path: `${INBOX}?page=2`, is: 'inbox' },
  { path: `/${INBOX}`, is: 'inbox' },
  { path: '/v1%2Ffolders/inbox/messages', is: 'inbox' },
  { path: `${INBOX}/`, is: 'other' },
  { path: '/v1/folders/drafts/messages', is: 'other' },
  { path: '/%zz', is: 'wrong' },
  { path: '/%ff', is: 'wrong' },
  { path: `${INBOX}?a=1;b`, is: 'wrong' },
  { path: `${INBOX}?a=%c0`, is: 'wrong' },
] as const

const CONTENTS = [
  { type: undefined, body: undefined, is: 'right' },
  { type: 'application/json', body: '{"a":1}', is: 'right' },
  { type: 'text/plain', body: '{', is: 'right' },
  { type: 'application/json', body: '{"a":1', is: 'wrong' },
  { type: 'application/json', body: '{"a":1} {}', is: 'wrong' },
  { type: 'application/x-www-form-urlencoded', body: 'a=%', is: 'wrong' },
  { type: 'multipart/form-data; boundary=x', body: 'a', is: 'wrong' },
] as const

interface Plan {
  readonly service: (typeof SERVICES)[number]
  readonly header: { readonly [name: string]: unknown }
  readonly claims: { readonly [name: string]: unknown }
  readonly signer: Signer
  /** What becomes of the token on its way. */
  readonly damage: (token: string) => string
  readonly authorization: (typeof AUTHORIZATIONS)[number]
  readonly method: string
  readonly host: string
  readonly target: (typeof TARGETS)[number]
  readonly content: (typeof CONTENTS)[number]
  /** Headers that the client sends with the value `root`. */
  readonly forged: readonly string[]
  /** Headers are sent as a list. */
  readonly raw: boolean
  /** Why the message cannot be judged; cut, it is none. */
  readonly garbled: 'no' | 'path' | 'headers' | 'cut'
  /** Envoy's `context_extensions`. */
  readonly route: { readonly [key: string]: string }
  readonly late: boolean
  readonly full: boolean
  /** When it is asked, and how much later once more, in seconds. */
  readonly asked: number
  readonly later: number
}

const GOOD: Plan = {
  service: SERVICES[0],
  header: GOOD_HEADER,
  claims: GOOD_CLAIMS,
  signer: 'corp',
  damage: token => token,
  authorization: AUTHORIZATIONS[0],
  method: 'GET',
  host: 'mail.example.com',
  target: TARGETS[0],
  content: CONTENTS[0],
  forged: [...TRUSTED_HEADERS, ...TWINS],
  raw: true,
  garbled: 'no',
  route: { policy: 'task' },
  late: false,
  full: false,
  asked: 0,
  later: 0,
}

interface Change {
  readonly what: string
  /** Without a token it changes nothing. */
  readonly ofToken: boolean
  readonly made: (plan: Plan) => Plan
}

const ABSENT = Symbol('absent')

/** Each of these values alone, at its place in a part of the plan. */
function within(
  part: 'header' | 'claims' | 'route',
  values: { readonly [name: string]: readonly unknown[] },
): Change[] {
  return Object.entries(values).flatMap(([name, others]) =>
    others.map(value => ({
      what: `${part}.${name} ${value === ABSENT ? 'absent' : `as ${shown(value)}`}`,
      ofToken: part !== 'route',
      made: plan => {
        const { [name]: _, ...rest } = plan[part]
        return { ...plan, [part]: value === ABSENT ? rest : { ...rest, [name]: value } }
      },
    })),
  )
}

/** Each of these values alone, in place of the plan's. */
function instead<Key extends keyof Plan>(key: Key, values: readonly Plan[Key][]): Change[] {
  return values.map(value => ({
    what: `${key} as ${shown(value)}`,
    ofToken: key === 'signer' || key === 'damage',
    made: plan => ({ ...plan, [key]: value }),
  }))
}

function shown(value: unknown): string {
  const text = typeof value === 'function' ? String(value) : JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)])
const TOO_DEEP = deep(40)

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

const CHANGES: readonly Change[] = [
  ...within('header', {
    alg: ['none', 'HS256', 'RS256', 'es256', ABSENT],
    typ: ['JWT', 'dpop+jwt', 7, ABSENT],
    kid: ['k2', '', 7, ABSENT],
    crit: [[], ['exp']],
    b64: [true],
    jku: ['https://evil.example/keys'],
  }),
  ...within('claims', {
    iss: [`${ISSUER}/`, 'https://evil.example', 'corp', 7, ABSENT],
    sub: ['bob', '', 7, 'mail-summary', 'a'.repeat(513), 'a,\r\n%', ABSENT],
    aud: [[MAIL], ['https://pay.example.com', MAIL], 'https://pay.example.com', [], [MAIL, 7], ABSENT],
    exp: [NOW, NOW - 29, NOW - 30, NOW + 891, NOW + 2_000, String(NOW + 300), -1, ABSENT],
    iat: [NOW + 30, NOW + 31, NOW - 700, String(NOW), ABSENT],
    nbf: [NOW - 5, NOW + 30, NOW + 31, 'soon'],
    jti: [7],
    client_id: ['other', 7, ABSENT],
    scope: ['', 'read:mail', ['read:mail:inbox'], 7, ABSENT],
    act: [
      { sub: 'other' },
      { sub: 'mail-summary', act: { sub: 'planner' } },
      { sub: 'mail-summary', act: { sub: 'b', act: { sub: 'c', act: { sub: 'd', act: { sub: 'e' } } } } },
      { sub: 'mail-summary', act: {} },
      { sub: '' },
      { iss: ISSUER },
      [{ sub: 'mail-summary' }],
      'mail-summary',
      ABSENT,
    ],
    cnf: [{ jkt: 'a' }, 7],
    nonce: ['n'],
    x: [deep(5), TOO_DEEP],
  }),
  ...within('route', {
    policy: ['open', 'throws', 'undefined', ...Object.keys(RESULTS)],
    agent_authz_mode: ['observe', 'enforce', 'Observe', ''],
    agent_authz_identity: ['optional', 'required', 'none'],
    agent_authz_require_agent: ['true', 'false', 'yes'],
    agent_authz_authorization: ['keep', 'remove', 'toString'],
    agent_authz_moed: ['observe'],
  }),
  ...instead('signer', ['stranger', 'partner', 'rsa', 'public_pem', 'none']),
  ...instead('damage', [
    token => `${token}=`,
    token => `${token}.`,
    token => `${token} `,
    token => `${token}.${token}`,
    token => token.replace(/[^.]*$/, ''),
    token => token.replace(/[^.]*$/, 'A'.repeat(86)),
    token => token.replace(/\.[^.]*\./, '.e30.'),
    token => token.replace(/.$/, last => ALPHABET[ALPHABET.indexOf(last) + 1] as string),
  ]),
  ...instead('authorization', AUTHORIZATIONS.slice(1)),
  ...instead('method', ['HEAD', 'POST']),
  ...instead('host', ['sql.example.com', '']),
  ...instead('target', TARGETS.slice(1)),
  ...instead('content', CONTENTS.slice(1)),
  ...instead('garbled', ['path', 'headers', 'cut']),
  ...instead('late', [true]),
  ...instead('full', [true]),
  ...instead('asked', [-30, -41, 5, 290, 330, 100_000]),
  ...instead('later', [1, 295, 300, 329, 330]),
]

interface Sent {
  readonly bytes: Buffer
  /** The token arrived as it was signed. */
  readonly intact: boolean
  readonly secrets: readonly string[]
}

let tokens = 0

function sent(plan: Plan): Sent {
  const { header, damage, signer, garbled } = plan
  // Tokens are remembered: each plan has its own.
  const unique = typeof plan.claims.jti === 'string' ? { jti: `token-${tokens++}` } : {}
  const parts = signed(JSON.stringify(header), JSON.stringify({ ...plan.claims, ...unique }), signer)
  const whole = compact(parts)
  const token = damage(whole)
  const bytes = checkRequest({
    ...plan,
    path: plan.target.path,
    body: plan.content.body,
    ...headersOf(plan, token),
  })
  return {
    bytes: garbled === 'cut' ? bytes.subarray(0, -1) : bytes,
    intact: token === whole,
    secrets: [token, parts.payload, parts.signature].filter(secret => secret.length >= 16),
  }
}

function headersOf({ authorization, content, forged, raw, garbled }: Plan, token: string) {
  const values = authorization.values.map(value => value.replaceAll('T', () => token))
  const headers: [string, string][] = forged.map(name => [name, 'root'])
  if (content.type !== undefined) headers.push(['content-type', content.type])
  if (!raw && garbled === 'no') {
    const joined = values.length > 0 ? { authorization: values.join(',') } : {}
    return { headers: { ...Object.fromEntries(headers), ...joined } }
  }
  for (const value of values) headers.push(['authorization', value])
  if (garbled === 'headers') for (let i = 0; i <= 1_000; i++) headers.push([`x-${i}`, ''])
  const list = headers.map(([name, value]) => [name, Buffer.from(value)] as const)
  return {
    headers: undefined,
    headerMap: garbled === 'path' ? [...list, [':path', Buffer.from([0x2f, 0xff])] as const] : list,
  }
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const isTime = (value: unknown): value is number => typeof value === 'number' && value >= 0
const isList = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText)

/** What RFC 7515 and RFC 9068 say of the values above: that the issuer wrote the claims, and nobody else. */
function isGenuine({ header, claims, signer }: Plan, intact: boolean): boolean {
  return (
    intact &&
    signer === 'corp' &&
    header.alg === 'ES256' &&
    (header.typ === 'at+jwt' || header.typ === 'JWT') &&
    (header.kid === 'k1' || header.kid === undefined) &&
    !('crit' in header || 'b64' in header) &&
    claims.iss === ISSUER &&
    claims.x !== TOO_DEEP
  )
}

/** What RFC 7519, RFC 9068 and RFC 8693 say of genuine claims. `now` in seconds. */
function isBelieved({ claims }: Plan, now: number): boolean {
  const { sub, aud, exp, iat, nbf, jti, client_id, scope, act } = claims
  return (
    isText(sub) &&
    sub.length <= 512 &&
    (aud === MAIL || (isList(aud) && aud.includes(MAIL))) &&
    isTime(exp) &&
    now < exp + 30 &&
    [iat, nbf].every(time => time === undefined || (isTime(time) && time <= now + 30)) &&
    exp - (isTime(iat) ? iat : now) <= 900 &&
    isText(jti) &&
    (client_id === undefined || isText(client_id)) &&
    (scope === undefined || typeof scope === 'string' || isList(scope)) &&
    !('cnf' in claims || 'nonce' in claims) &&
    (act === undefined || (isChain(act, 4) && act.sub !== sub))
  )
}

function isChain(act: unknown, longest: number): act is { sub: string } {
  if (typeof act !== 'object' || act === null || longest === 0) return false
  const { sub, act: prior } = act as { sub?: unknown; act?: unknown }
  return isText(sub) && (prior === undefined || isChain(prior, longest - 1))
}

const ROUTE_VALUES: { readonly [key: string]: readonly unknown[] } = {
  agent_authz_mode: ['observe', 'enforce'],
  agent_authz_identity: ['optional', 'required'],
  agent_authz_require_agent: ['true', 'false'],
  agent_authz_authorization: ['keep', 'remove'],
}

const isKnown = ({ policy: _, ...given }: Plan['route']) =>
  Object.entries(given).every(([key, value]) => ROUTE_VALUES[key]?.includes(value))

interface Specified {
  /** The route's settings are known and can be believed. */
  readonly settled: boolean
  readonly observes: boolean
  /** The token's issuer wrote it; it may still be refused. */
  readonly genuine: boolean
  /** The token is verified; policy may still refuse it. */
  readonly verified: boolean
  readonly allows: boolean
  readonly removesToken: boolean
}

/** The specification: what must be so for an allow, and what follows. */
function specified(plan: Plan, intact: boolean, now: number): Specified {
  const { service } = plan
  const { policy, ...given } = plan.route
  const settled = plan.garbled !== 'cut' && isKnown(plan.route)
  const readable = plan.garbled === 'no'
  const mode = settled ? (given.agent_authz_mode ?? service.mode) : service.mode
  const needsAgent = given.agent_authz_require_agent ?? String(service.requireAgent)
  const needsToken =
    given.agent_authz_require_agent === 'true' ||
    (given.agent_authz_identity ?? service.identity) === 'required'
  const { is: sender } = plan.authorization
  const genuine = settled && readable && sender === 'token' && isGenuine(plan, intact)
  const verified = genuine && isBelieved(plan, now)
  const { act, scope } = plan.claims as { act?: { sub: string }; scope?: string | string[] }
  const readsInbox =
    verified &&
    act?.sub === 'mail-summary' &&
    [scope].flat().includes('read:mail:inbox') &&
    plan.method === 'GET' &&
    plan.host === 'mail.example.com' &&
    plan.target.is === 'inbox'
  const allows =
    settled &&
    readable &&
    (verified ? act !== undefined || needsAgent === 'false' : sender === 'none' && !needsToken) &&
    plan.target.is !== 'wrong' &&
    plan.content.is !== 'wrong' &&
    (policy === 'task' ? readsInbox : policy === 'open' || policy === 'generous') &&
    !plan.late &&
    !plan.full
  const keeps = (given.agent_authz_authorization ?? service.authorization) === 'keep'
  return {
    settled,
    observes: mode === 'observe',
    genuine,
    verified,
    allows,
    removesToken: verified && !keeps && mode === 'enforce',
  }
}

/** Asks twice, since the second answer may come from what the first one left behind. */
async function expectWhatIsSpecified(plan: Plan): Promise<void> {
  const service = await serviceOf(plan.service)
  const { bytes, intact, secrets } = sent(plan)
  for (const after of [0, plan.later]) {
    const now = NOW + plan.asked + after
    const answer = await service.ask(bytes, { now: now * 1000, late: plan.late, full: plan.full })
    expectAnswer(answer, plan, specified(plan, intact, now))
    const told = JSON.stringify(answer)
    for (const secret of secrets) expect(told).not.toContain(secret)
  }
}

function expectAnswer({ reply, records, logged }: Answer, plan: Plan, specified: Specified): void {
  const { settled, observes, genuine, verified, allows } = specified
  const [record, ...more] = records as [AuditRecord]
  expect(more).toEqual([])
  expect(logged).toEqual([])
  expect(record.outcome).toBe(allows ? 'allow' : 'deny')
  expect(reply.kind).toBe(allows || (observes && settled) ? 'allow' : 'deny')
  expect(record.enforced).toBe(allows || reply.kind === 'deny')
  expect(record.mode).toBe(observes ? 'observe' : 'enforce')
  expect(record.issuer).toBe(genuine ? 'corp' : undefined)
  expect(reply.metadata.issuer).toBe(verified ? 'corp' : '')
  expect(reply.metadata.decision_id).toBe(record.decision_id)
  expect(reply.headers.filter(([name]) => name === 'x-authz-decision-id')).toEqual([
    ['x-authz-decision-id', record.decision_id],
  ])
  if (reply.kind === 'allow') expectTrustedHeaders(reply, plan, specified)
  else expect(reply.status).toBe(record.status)
  const sent = responseOf(encodeCheckResponse(reply, () => expect.unreachable('it cannot be encoded')))
  expect(sent.status.code ?? 0).toBe(reply.kind === 'allow' ? 0 : 7)
}

/** Each is set once or removed once, twins are removed, and nothing that a client sent is set. */
function expectTrustedHeaders(reply: AllowReply, plan: Plan, { verified, removesToken }: Specified): void {
  const set = reply.headers.map(([name]) => name)
  const removed = reply.headersToRemove
  const mentions = [...set, ...removed]
  for (const name of TRUSTED_HEADERS) expect(mentions.filter(one => one === name)).toEqual([name])
  expect(set.includes('x-delegator-id')).toBe(verified)
  expect(set.includes('x-agent-id')).toBe(verified && plan.claims.act !== undefined)
  expect(removed).toEqual(expect.arrayContaining(plan.forged.filter(name => TWINS.includes(name))))
  expect(removed.includes('authorization')).toBe(removesToken)
  expect(reply.headers.map(([, value]) => value)).not.toContain('root')
}

describe('a good request', () => {
  const { act: _, ...alone } = GOOD_CLAIMS
  /** An agent with its task, an agent and a user whom policy lets do anything, and nobody; and whether each may. */
  const senders = SERVICES.flatMap((service): [Plan, boolean][] => [
    [{ ...GOOD, service }, true],
    [{ ...GOOD, service, raw: false, route: { policy: 'generous' } }, true],
    [{ ...GOOD, service, claims: alone, route: { policy: 'open' } }, !service.requireAgent],
    [
      { ...GOOD, service, authorization: AUTHORIZATIONS[2], route: { policy: 'open' } },
      service.identity === 'optional',
    ],
  ])
  const bases = senders.map(([plan]) => plan)

  it('is allowed where it may be', async () => {
    for (const [plan, may] of senders) {
      expect(specified(plan, true, NOW).allows).toBe(may)
      await expectWhatIsSpecified(plan)
    }
  })

  it.each(CHANGES.map(change => [change.what, change] as const))(
    'is answered as it must be with %s',
    async (_, { made, ofToken }) => {
      const touched = bases.filter(({ authorization }) => !ofToken || authorization.is === 'token')
      for (const plan of touched.map(made)) await expectWhatIsSpecified(plan)
    },
  )

  it('is answered as it must be with any of several changes', { timeout: 30_000 }, async () => {
    const base = fc.record({
      base: fc.constantFrom(...bases),
      raw: fc.boolean(),
      forged: fc.subarray([...TRUSTED_HEADERS, ...TWINS, 'x-debug']),
    })
    const changes = fc.array(fc.constantFrom(...CHANGES), { minLength: 2, maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(base, changes, async ({ base, ...more }, changes) => {
        const plan = changes.reduce((changed: Plan, { made }) => made(changed), { ...base, ...more })
        await expectWhatIsSpecified(plan)
      }),
      { numRuns: 1_000 },
    )
  })

  it('is refused with any character of its token changed', { timeout: 30_000 }, async () => {
    const at = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    await fc.assert(
      fc.asyncProperty(at, fc.constantFrom(...ALPHABET, '.', '=', ' '), async (at, character) => {
        const damage = (token: string) => {
          const i = Math.floor(at * token.length)
          return `${token.slice(0, i)}${character}${token.slice(i + 1)}`
        }
        await expectWhatIsSpecified({ ...GOOD, damage })
      }),
      { numRuns: 300 },
    )
  })
})
