import fc from 'fast-check'

/* Results of policies: right ones, and what comes close. As text, since so they come out of a policy. */

const GOOD = [
  true,
  false,
  { allowed: true },
  { allowed: false },
  { allowed: true, headers: { 'X-Tier': ['gold', 'silver'] }, request_headers_to_remove: ['X-Debug'] },
  {
    allowed: true,
    headers: [{ authorization: 'Basic YTpi' }, { 'x-tier': 'gold' }],
    reason: 'read_by_owner',
  },
  { allowed: true, query_parameters_to_set: { a: 'b%20c' }, query_parameters_to_remove: ['d'] },
  {
    allowed: true,
    response_headers_to_add: { 'x-seen': 'a' },
    dynamic_metadata: { tier: ['gold', null, { a: 1 }] },
  },
  { allowed: false, http_status: 404, body: 'Not here.', headers: { 'content-type': 'text/plain' } },
  { allowed: false, reason: 'folder_not_allowed', challenge: { scope: 'read:mail write:mail' } },
]

const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) })
const NAMES = [
  ...[
    'x-a',
    'X-A',
    'x_a',
    'authorization',
    'cookie',
    'content-type',
    'www-authenticate',
    'retry-after',
    '__proto__',
  ],
  ...['constructor', 'hosts', 'x-agent-ids', 'x-agent', 'te', "!#$%&'*+.^_`|~"],
]
const BAD_NAMES = [
  ...['x-agent-id', 'X-Agent-Id', 'x_agent_id', 'x.agent.id', 'x-delegator_id', 'x-delegator-issuer'],
  ...[
    'x-agent-issuer',
    'x-agent-chain',
    'X-AUTHZ-DECISION-ID',
    'host',
    'Host',
    ':path',
    ':authority',
    '',
    'x a',
  ],
  ...['x\u212a', 'é', 'x-a:', 'x-a\r\nx-agent-id'],
]
const VALUES = ['', 'a', 'a b\tc', 'é', '\u{1f600}', 'a,b', '%0d', ' a ', 'Bearer a', '\u0085', '\u2028', '"']
const BAD_VALUES = ['\r\nx-agent-id: root', '\0', '\x7f', '\ud800', '\x1b[0m', null, 1, true, {}, [[]]]

const usually = <T>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<unknown>) =>
  fc.oneof({ arbitrary: good as fc.Arbitrary<unknown>, weight: 24 }, { arbitrary: bad, weight: 1 })
const anything = fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' })
const value = usually(fc.constantFrom<unknown>(...VALUES), fc.constantFrom<unknown>(...BAD_VALUES))
const name = usually(fc.constantFrom(...NAMES), fc.constantFrom(...BAD_NAMES)) as fc.Arbitrary<string>
const values = fc.oneof(
  { arbitrary: value, weight: 3 },
  { arbitrary: fc.array(value, { maxLength: 3 }), weight: 1 },
)
const group = fc.array(fc.tuple(name, values), { maxLength: 3 }).map(pairs => Object.fromEntries(pairs))
const headers = fc.oneof(
  { arbitrary: group, weight: 3 },
  { arbitrary: fc.array(group, { maxLength: 3 }), weight: 1 },
)
const query = fc
  .array(
    fc.tuple(
      usually(
        fc.constantFrom('a', 'b%3d', '', 'é'.normalize('NFD').slice(0, 1)),
        fc.constantFrom('a&b', 'a=b', 'a#', 'é', ' '),
      ),
      usually(
        fc.constantFrom<unknown>('', 'c', 'c=d', '%26', ['e', 'f']),
        fc.constantFrom<unknown>('&x=1', '#', '\r\n', 'é', 1),
      ),
    ),
    { maxLength: 3 },
  )
  .map(pairs => Object.fromEntries(pairs))

const MEMBERS: readonly (readonly [key: string, values: fc.Arbitrary<unknown>])[] = [
  ['allowed', usually(fc.boolean(), fc.constantFrom<unknown>('true', 1, null, [true], {}, undefined))],
  ['headers', headers],
  ['response_headers_to_add', headers],
  ['request_headers_to_remove', fc.array(name, { maxLength: 3 })],
  ['query_parameters_to_set', query],
  [
    'query_parameters_to_remove',
    fc.array(usually(fc.constantFrom('a', 'é', '&', ''), fc.constantFrom<unknown>('\ud800', 1, null))),
  ],
  [
    'dynamic_metadata',
    usually(
      fc.dictionary(fc.constantFrom('tier', 'agent', 'outcome', '__proto__', ''), anything),
      fc.constantFrom<unknown>(nested(31), nested(32), nested(33), [], { a: '\udc00' }, { '\ud800': 1 }),
    ),
  ],
  [
    'reason',
    usually(
      fc.constantFrom('read_by_owner', 'folder_not_allowed', 'é'.repeat(200), '', 'token_expired'),
      fc.constantFrom<unknown>('\ud800', 1, null),
    ),
  ],
  ['body', usually(fc.constantFrom('no', '', '\0'), fc.constantFrom<unknown>('\ud800', 1, null, {}))],
  [
    'http_status',
    usually(
      fc.constantFrom(200, 204, 302, 304, 401, 403, 418, 451, 503, 511),
      fc.oneof(fc.integer({ min: -1, max: 600 }), fc.double()),
    ),
  ],
  [
    'challenge',
    usually(
      fc.constantFrom({ scope: 'a' }, { scope: 'a b', more: 1 }),
      fc.constantFrom<unknown>(
        {},
        null,
        { scope: '' },
        { scope: 'a  b' },
        { scope: 'a"' },
        { scope: ['a'] },
        'a',
      ),
    ),
  ],
  ['result', fc.boolean()],
  ['allow', anything],
  ['__proto__', fc.constant({ allowed: true })],
]
const OBLIGATIONS = fc.tuple(
  fc.constantFrom('approval', 'credential', 'limits'),
  fc.constantFrom<unknown>(null, {}, false),
)

const member = fc.oneof(
  {
    arbitrary: fc.constantFrom(...MEMBERS).chain(([key, values]) => fc.tuple(fc.constant(key), values)),
    weight: 40,
  },
  { arbitrary: OBLIGATIONS, weight: 1 },
)
const changed = fc
  .tuple(fc.constantFrom(...GOOD), fc.array(member, { maxLength: 4 }))
  .map(([good, members]) => {
    if (typeof good === 'boolean' && members.length === 0) return good
    const base = typeof good === 'boolean' ? { allowed: good } : good
    return Object.fromEntries([...Object.entries(base), ...members])
  })
const sets = fc.oneof(
  { arbitrary: changed.map(result => [{ result }]), weight: 60 },
  { arbitrary: anything.map(result => [{ result }]), weight: 4 },
  {
    arbitrary: fc.array(
      changed.map(result => ({ result })),
      { maxLength: 2 },
    ),
    weight: 2,
  },
  {
    arbitrary: fc.oneof(anything, changed, fc.constantFrom(null, [true], [{}], [[{ result: true }]])),
    weight: 1,
  },
)

/** Result sets as the policy engine writes them, as text. */
export const resultSets: fc.Arbitrary<string> = sets.map(set => JSON.stringify(set))
