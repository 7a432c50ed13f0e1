import type { Sent } from './client.ts'
import type { Wanted } from './issuer.ts'

/** One request through Envoy, and the answer it must get. */
export interface Scenario {
  /** What this one and its neighbours show. */
  readonly group: string
  /** Shown beside who acts for whom. */
  readonly note?: string
  readonly request: Omit<Sent, 'headers'> & { readonly headers?: Sent['headers'] }
  /** Minted by the issuer and sent as Bearer; a text is sent as it stands. */
  readonly token?: Wanted | string
  readonly status: number
  /** Of the decision; absent: Envoy answered without asking. */
  readonly reason?: string
  /** The trusted headers as the upstream saw them, but for the issuers and the decision id, which follow from these. */
  readonly trusted?: { readonly delegator?: string; readonly agent?: string; readonly chain?: string }
  /** The token may reach the upstream: in observe mode nothing is taken from a request. */
  readonly keepsToken?: boolean
}

type Case = Omit<Scenario, 'group'>

const INBOX = '/v1/folders/inbox/messages'
const ALICE = 'alice'

/** A token for the API at this host, in which an agent acts for alice. */
const acts = (agent: string, host: string, more: Partial<Wanted> = {}): Wanted => ({
  sub: ALICE,
  act: [agent],
  aud: `https://${host}`,
  ...more,
})
const mail = (more: Partial<Wanted> = {}): Wanted =>
  acts('mail-summary', 'mail.example.com', { scope: 'read:mail:inbox', ...more })

const to = (method: string, place: string, more: Partial<Scenario['request']> = {}): Scenario['request'] => {
  const slash = place.indexOf('/')
  return { method, host: place.slice(0, slash), path: place.slice(slash), ...more }
}
const getInbox = to('GET', `mail.example.com${INBOX}`)
const postJson = (place: string, body: object): Scenario['request'] =>
  to('POST', place, { headers: [['content-type', 'application/json']], body: JSON.stringify(body) })

const allowed = (agent: string, chain?: string) => ({
  status: 200,
  reason: 'policy_allowed',
  trusted: { delegator: ALICE, agent, ...(chain !== undefined && { chain }) },
})
const denied = (reason: string) => ({ status: 403, reason })
const refused = (reason: string) => ({ status: 401, reason })

const MAIL: readonly Case[] = [
  { request: getInbox, token: mail(), ...allowed('mail-summary') },
  {
    request: getInbox,
    token: mail({ act: ['mail-summary', 'planner'] }),
    ...allowed('mail-summary', 'planner'),
  },
  {
    request: to('GET', 'mail.example.com/v1/folders/archive/messages'),
    token: mail({ scope: 'read:mail:inbox read:mail:archive' }),
    ...denied('folder_not_allowed'),
  },
  { request: getInbox, token: mail({ scope: '' }), note: 'no scope', ...denied('insufficient_scope') },
  {
    request: to('DELETE', 'mail.example.com/v1/folders/inbox/messages'),
    token: mail(),
    ...denied('operation_not_allowed'),
  },
  { request: getInbox, token: mail({ act: ['newcomer'] }), ...denied('agent_unknown') },
]

const SQL_TOKEN = acts('sql-analytics', 'sql.example.com')
const SQL: readonly Case[] = [
  {
    request: to('GET', 'sql.example.com/v1/datasets/sales/rows'),
    token: SQL_TOKEN,
    ...allowed('sql-analytics'),
  },
  {
    request: postJson('sql.example.com/v1/queries', { name: 'revenue_by_month' }),
    token: SQL_TOKEN,
    note: 'revenue_by_month',
    ...allowed('sql-analytics'),
  },
  {
    request: postJson('sql.example.com/v1/queries', { name: 'drop_everything' }),
    token: SQL_TOKEN,
    note: 'drop_everything',
    ...denied('query_not_allowed'),
  },
  {
    request: postJson('sql.example.com/v1/datasets/sales/rows', { amount: 0 }),
    token: SQL_TOKEN,
    ...denied('operation_not_allowed'),
  },
]

const GIT_TOKEN = acts('git-bot', 'git.example.com')
const GIT: readonly Case[] = [
  {
    request: postJson('git.example.com/v1/repos/acme-web/pulls', { title: 'A change' }),
    token: GIT_TOKEN,
    ...allowed('git-bot'),
  },
  {
    request: to('POST', 'git.example.com/v1/repos/acme-web/pulls/7/merge'),
    token: GIT_TOKEN,
    ...denied('operation_not_allowed'),
  },
  {
    request: to('GET', 'git.example.com/v1/repos/payroll/contents'),
    token: GIT_TOKEN,
    ...denied('repository_not_allowed'),
  },
]

const ASSISTANT: readonly Case[] = [
  {
    request: to('GET', 'calendar.example.com/v1/events'),
    token: acts('assistant', 'calendar.example.com'),
    ...allowed('assistant'),
  },
  {
    request: to('GET', 'crm.example.com/v1/contacts'),
    token: acts('assistant', 'crm.example.com'),
    ...allowed('assistant'),
  },
  {
    request: to('GET', 'crm.example.com/v1/contacts'),
    token: acts('assistant', 'calendar.example.com'),
    note: "the calendar's token",
    ...denied('token_for_another_api'),
  },
]

const forged = (names: readonly string[]): Scenario['request'] => ({
  ...getInbox,
  headers: names.map(name => [name, 'admin']),
})
const SPOOFED: readonly Case[] = [
  {
    request: forged(['X-Agent-Id', 'x-agent-id', 'X-DELEGATOR-ID', 'X-Agent-Chain', 'X-Authz-Decision-Id']),
    token: mail(),
    note: 'forged headers',
    ...allowed('mail-summary'),
  },
  { request: forged(['X_Agent_Id']), token: mail(), note: 'underscores', status: 400 },
]

const TOKENS: readonly Case[] = [
  { request: getInbox, ...refused('token_missing') },
  { request: getInbox, token: 'garbage', ...refused('token_malformed') },
  { request: getInbox, token: mail({ ttl: -120 }), note: 'expired', ...refused('token_expired') },
  {
    request: getInbox,
    token: mail({ aud: 'https://elsewhere.example.com' }),
    note: 'for elsewhere',
    ...refused('audience_mismatch'),
  },
  {
    request: getInbox,
    token: mail({ iss: 'https://stranger.example.com' }),
    note: 'of a stranger',
    ...refused('issuer_unknown'),
  },
  {
    request: getInbox,
    token: mail({ signedBy: 'stranger' }),
    note: 'forged signature',
    ...refused('signature_invalid'),
  },
  { request: getInbox, token: mail({ act: [] }), ...refused('agent_missing') },
  { request: getInbox, token: mail({ act: [ALICE] }), ...refused('actor_is_delegator') },
  {
    request: { ...getInbox, headers: [['Authorization', 'Bearer another']] },
    token: mail(),
    note: 'Authorization twice',
    status: 400,
    reason: 'authorization_repeated',
  },
]

const ROUTES: readonly Case[] = [
  {
    request: to('GET', 'mail.example.com/observe/v1/folders'),
    token: mail(),
    ...allowed('mail-summary'),
    reason: 'operation_not_allowed',
    keepsToken: true,
  },
  {
    request: to('GET', 'mail.example.com/observe/v1/folders', { headers: [['X-Agent-Id', 'admin']] }),
    token: mail({ ttl: -120 }),
    note: 'expired, forged',
    status: 200,
    reason: 'token_expired',
    keepsToken: true,
  },
  { request: to('GET', 'mail.example.com/public/terms'), status: 200, reason: 'policy_allowed' },
  {
    request: to('GET', 'mail.example.com/healthz', { headers: [['X-Agent-Id', 'admin']] }),
    note: 'forged headers',
    status: 200,
  },
]

const GROUPS: { readonly [group: string]: readonly Case[] } = {
  'An agent that summarises the mail of one folder': MAIL,
  'An agent that runs reviewed queries': SQL,
  'An agent with a list of Git operations': GIT,
  'An agent that calls two APIs, with a token for each': ASSISTANT,
  'Clients that write the trusted headers themselves': SPOOFED,
  'Tokens that prove nothing': TOKENS,
  'Routes with settings of their own: observed, open to all, never checked': ROUTES,
}

export const scenarios: readonly Scenario[] = Object.entries(GROUPS).flatMap(([group, cases]) =>
  cases.map(one => ({ group, ...one })),
)
