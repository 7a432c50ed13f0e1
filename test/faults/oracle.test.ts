import { expect, it } from 'vitest'
import type { Line } from './decision-log.ts'
import { type Evidence, type Exchange, judge } from './oracle.ts'
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
  answer: { status: 200, headers: { 'x-upstream': 'reached' }, body: '' },
  arrivals: [{ headers: { ...token.headers, [ID]: 'one' } }],
}
const refused: Exchange = {
  mark: 2,
  kind: kind('nobody'),
  asked: { path: 'allowed' },
  good: false,
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
const whole: Evidence = {
  exchanges: [allowed, refused],
  earlier: [],
  lines: [allow, deny],
  damaged: [],
  seen: new Set(),
  revisions: ['first'],
  leave: {},
  onFull: 'refuse',
  counted: { decisions: 2, dropped: 0 },
}
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
  ['a line that is not counted', { counted: { decisions: 1, dropped: 0 } }, /1 decisions counted/],
  ['two lines for one answer', { lines: [allow, deny, deny] }, /two lines for one decision/],
  ['a line of nobody', { lines: [allow, deny, lineOf('three', {})] }, /nobody asked/],
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
      counted: { decisions: 3, dropped: 0 },
    },
    /policy first decides/,
  ],
])('sees %s', (_, changed, what) => {
  expect(judge({ ...whole, ...changed }).violations.join('\n')).toMatch(what)
})
