import { expect, it } from 'vitest'
import type { Line } from './decision-log.ts'
import { type Evidence, type Exchange, judge, labelsOf } from './oracle.ts'
import { KINDS, type Kind } from './requests.ts'

const ID = 'x-authz-decision-id'
const token = {
  jwt: 'a.b.c',
  delegator: 'alice@example.com',
  headers: {
    'x-delegator-id': 'alice@example.com',
    'x-delegator-issuer': 'demo',
    'x-agent-id': 'mail-summary',
    'x-agent-issuer': 'demo',
  },
  good: () => true,
}
const kind = (name: string) => KINDS.find(kind => kind.name === name) as Kind

const allowed: Exchange = {
  mark: 1,
  kind: kind('good, known'),
  asked: { path: 'allowed', token },
  good: true,
  ...{ leaves: false, took: 5 },
  answer: { status: 200, headers: { 'x-upstream': 'reached' }, body: '' },
  arrivals: [{ headers: { ...token.headers, [ID]: 'one' } }],
}
const refused: Exchange = {
  mark: 2,
  kind: kind('nobody'),
  asked: { path: 'allowed' },
  good: false,
  ...{ leaves: false, took: 5 },
  answer: { status: 401, headers: { [ID]: 'two' }, body: '{"error":"token_missing","decision_id":"two"}' },
  arrivals: [],
}
const lineOf = (decision_id: string, more: Partial<Line>): Line => ({
  ...{ decision_id, mode: 'enforce', outcome: 'deny', enforced: true, reason: 'token_missing', status: 401 },
  ...more,
})
const allow = lineOf('one', {
  ...{ outcome: 'allow', reason: 'policy_allowed', status: 200, path: '/allowed/1' },
  ...{ delegator: token.delegator, policy_revision: 'first' },
})
const deny = lineOf('two', { path: '/allowed/2' })
const answered = (error: string, more: object = {}): Exchange => ({
  ...refused,
  answer: {
    status: 503,
    headers: { [ID]: 'two' },
    body: `{"error":"${error}","decision_id":"two"}`,
    ...more,
  },
})
const countedAs = (...lines: readonly Line[]) => ({
  decisions: new Map(
    lines.map(line => [labelsOf(line), lines.filter(other => labelsOf(other) === labelsOf(line)).length]),
  ),
  dropped: 0,
})
const whole: Evidence = {
  exchanges: [allowed, refused],
  earlier: [],
  lines: [allow, deny],
  damaged: [],
  seen: new Set(),
  revisions: ['first'],
  excuse: {},
  onFull: 'refuse',
  counted: countedAs(allow, deny),
}
const lost = { ...countedAs(allow, deny), dropped: 1 }
const full: Partial<Evidence> = { lines: [allow], counted: lost, excuse: { full: true } }
const nothing = { answer: undefined, arrivals: [] } as unknown as Partial<Exchange>
const arrived = (headers: object): Exchange => ({
  ...allowed,
  arrivals: [{ headers: { ...token.headers, [ID]: 'one', ...headers } }],
})

it('finds nothing wrong where nothing is', () => {
  expect(judge(whole).violations).toEqual([])
})

it.each<[string, Partial<Evidence>, RegExp]>([
  ['an allow without a line', { lines: [deny] }, /let through without a line/],
  ['a refusal without a line', { lines: [allow] }, /1 answers without a line/],
  ['half a line', { damaged: ['{"decision_id":"th'] }, /no line: .*th/],
  ['a line that is not counted', { counted: countedAs(allow) }, /1 lines .*more than were counted/],
  ['two lines for one answer', { lines: [allow, deny, deny] }, /two lines for one decision/],
  ['a line of nobody', { lines: [allow, deny, lineOf('three', {})] }, /1 lines that nobody asked for/],
  ['an allow that is counted as another', { counted: countedAs(deny, deny) }, /1 lines .*allow.* more than/],
  ['a decision that left nothing', { counted: countedAs(allow, deny, deny) }, /1 decisions counted/],
  ['a loss of what there was room for', { lines: [allow], counted: lost }, /1 dropped lines counted/],
  [
    'a refusal of its own where lines may be dropped',
    { ...full, onFull: 'drop', exchanges: [allowed, answered('log_full')] },
    /refused as log_full/,
  ],
  [
    'a wrong refusal without a line',
    { ...full, exchanges: [allowed, answered('policy_denied')] },
    /refused as policy_denied, without/,
  ],
  ['no answer', { exchanges: [{ ...allowed, ...nothing }, refused] }, /no answer/],
  [
    'no answer of ours',
    { exchanges: [allowed, { ...refused, answer: { status: 503, headers: {}, body: '' } }] },
    /answered by Envoy: 503/,
  ],
  [
    'a refusal as late that comes early',
    { exchanges: [allowed, answered('deadline')], lines: [allow, { ...deny, reason: 'deadline' }] },
    /late after 5 ms/,
  ],
  [
    'an answer for a late check that leaves no line',
    {
      exchanges: [allowed, answered('', { headers: { 'retry-after': '1' }, body: '{"error":"deadline"}' })],
      lines: [allow],
      counted: countedAs(allow),
    },
    /1 answers without a line/,
  ],
  [
    'another id in the body',
    { exchanges: [allowed, answered('', { body: '{"error":"token_missing","decision_id":"three"}' })] },
    /its body says three/,
  ],
  ['a call that left no line', { excuse: { unread: 1 } }, /0 lines that nobody asked for, and 1 calls/],
  [
    'a second line, as of a check that was given up',
    {
      lines: [allow, deny, { ...deny, decision_id: 'three', reason: 'deadline' }],
      counted: countedAs(allow, deny, { ...deny, reason: 'deadline' }),
    },
    /a second line for one answer/,
  ],
  ['another reason', { lines: [allow, { ...deny, reason: 'policy_denied' }] }, /with a line policy_denied/],
  ['another status', { lines: [allow, { ...deny, status: 403 }] }, /with a line 403/],
  [
    'an allow that was decided as deny',
    { lines: [{ ...allow, outcome: 'deny' }, deny] },
    /let through with a line/,
  ],
  [
    'an allow of no policy',
    { lines: [{ ...allow, policy_revision: 'other' }, deny] },
    /policy other decides/,
  ],
  ['a bad token', { exchanges: [{ ...allowed, good: false }, refused] }, /a token that is not good/],
  [
    'an agent of the client',
    { exchanges: [arrived({ 'x-agent-id': 'admin' }), refused] },
    /x-agent-id is admin/,
  ],
  [
    'what may pass for an agent',
    { exchanges: [arrived({ 'x.agent.id': 'admin' }), refused] },
    /x.agent.id may be taken/,
  ],
  ['a token that went on', { exchanges: [arrived({ authorization: 'Bearer x' }), refused] }, /went on/],
  [
    'a request that went on twice',
    { exchanges: [{ ...allowed, arrivals: [...allowed.arrivals, ...allowed.arrivals] }, refused] },
    /more than once/,
  ],
  [
    'a request that went on although it was refused',
    { exchanges: [allowed, { ...refused, arrivals: [{ headers: { [ID]: 'two' } }] }] },
    /let through with a line token_missing/,
  ],
  [
    'a policy that came back',
    {
      revisions: ['first', 'second'],
      exchanges: [allowed, refused, { ...allowed, mark: 3, arrivals: arrived({ [ID]: 'three' }).arrivals }],
      lines: [
        { ...allow, policy_revision: 'second' },
        deny,
        { ...allow, decision_id: 'three', path: '/allowed/3' },
      ],
      counted: countedAs(allow, allow, deny),
    },
    /policy first decides/,
  ],
])('sees %s', (_, changed, what) => {
  expect(judge({ ...whole, ...changed }).violations.join('\n')).toMatch(what)
})
