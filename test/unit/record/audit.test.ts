import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Denied, refusal } from '../../../src/denied.ts'
import { auditRecord } from '../../../src/record/audit.ts'
import { respond } from '../../../src/respond/respond.ts'
import type { Trail } from '../../../src/types.ts'
import { allow, deny, heldRequest, identity, trail } from '../trail.ts'

const record = (changes: Partial<Trail>) => {
  const of = trail(changes)
  return auditRecord(of, respond(of), of.startedAt + 0.2)
}

describe('the record of a check', () => {
  it('says who acted for whom, what was asked, what was decided and by which policy', () => {
    const request = heldRequest({
      path: '/v1/folders/inbox/messages?q=secret',
      attributes: {
        source: {
          address: { socketAddress: { address: '10.0.0.7', portValue: 48910 } },
          principal: 'spiffe://corp/agent',
        },
      },
      headers: {
        traceparent: ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
        'x-request-id': ['r-1'],
        authorization: ['Bearer secret'],
      },
    })
    expect(record({ request, identity, decision: allow })).toEqual({
      decision_id: 'd-1',
      trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
      request_id: 'r-1',
      time: '2026-09-21T14:13:20.123456Z',
      mode: 'enforce',
      outcome: 'allow',
      enforced: true,
      reason: 'policy_allowed',
      status: 200,
      issuer: 'corp',
      delegator: 'alice@example.com',
      agent: 'mail-summary',
      agent_iss: 'https://idp.example.com',
      actor_source: 'act',
      prior_actors: [{ sub: 'planner', iss: 'https://idp.example.com' }],
      client_id: 'console',
      token_id: 'token-1',
      source: { address: '10.0.0.7', principal: 'spiffe://corp/agent' },
      method: 'GET',
      host: 'mail.example.com',
      path: '/v1/folders/inbox/messages',
      entrypoint: 'envoy/authz/result',
      policy_revision: 'r1',
      durations_us: { identify: 12, total: 200 },
    })
  })

  it('is complete where the request could not even be read', () => {
    const { request: _, ...unread } = trail({ decision: refusal(new Denied('request_malformed')) })
    expect(auditRecord(unread, respond(unread), unread.startedAt)).toMatchObject({
      outcome: 'deny',
      enforced: true,
      reason: 'request_malformed',
      status: 400,
    })
  })

  it('tells a refusal that was only observed from one that held', () => {
    const route = { mode: 'observe', identity: 'required', authorization: 'remove', source: 'token' } as const
    expect(record({ route, decision: deny })).toMatchObject({ outcome: 'deny', enforced: false, status: 403 })
    expect(record({ decision: deny })).toMatchObject({ outcome: 'deny', enforced: true, status: 403 })
  })

  it('has the status that was decided, of policy too', () => {
    expect(record({ decision: { ...deny, status: 418 } }).status).toBe(418)
  })

  it('leaves out what is not known', () => {
    const { request: _, ...unread } = trail({
      decision: refusal(new Denied('request_malformed')),
      durations: {},
    })
    expect(Object.keys(auditRecord(unread, respond(unread), unread.startedAt))).toEqual([
      ...['decision_id', 'time', 'mode', 'outcome', 'enforced', 'reason', 'status', 'durations_us'],
    ])
    expect(record({ decision: deny })).not.toHaveProperty('issuer')
    const { delegator, agent, clientId, tokenId, ...known } = identity
    const alone = record({ decision: deny, identity: { ...known, actorSource: 'none', priorActors: [] } })
    expect(alone).toMatchObject({ issuer: 'corp', actor_source: 'none', prior_actors: [] })
    for (const absent of ['delegator', 'agent', 'agent_iss', 'client_id', 'token_id', 'note', 'trace_id'])
      expect(alone).not.toHaveProperty(absent)
  })

  it('says whose token was refused, as far as that could be read, and at no length', () => {
    const refused = record({ decision: deny, refused: { issuer: 'corp', tokenId: 'token-1' } })
    expect(refused).toMatchObject({ issuer: 'corp', token_id: 'token-1' })
    for (const absent of ['delegator', 'agent', 'agent_iss', 'actor_source', 'prior_actors', 'client_id'])
      expect(refused).not.toHaveProperty(absent)
    const long = 'x'.repeat(5_000)
    const { iss, headers, claims, scopes, ...parties } = identity
    const known = record({ decision: deny, refused: { ...parties, delegator: long, clientId: long } })
    expect(known).toMatchObject({ agent: 'mail-summary', actor_source: 'act' })
    for (const name of [known.delegator, known.client_id]) expect(name).toHaveLength(2_049)
  })

  it('holds nothing of a token but what it names', () => {
    const told = { ...identity, claims: { secret: 'hidden' }, scopes: ['hidden'], headers: [['x', 'hidden']] }
    const request = heldRequest({
      path: '/x?token=hidden',
      attributes: {
        source: { certificate: 'hidden', labels: { a: 'hidden' } },
        request: { http: { body: 'hidden' } },
      },
      headers: { authorization: ['Bearer hidden'], cookie: ['hidden'], traceparent: ['hidden'] },
      contextExtensions: { x: 'hidden' },
      body: () => ({ text: 'hidden', bytes: 6 }),
    })
    const decision = { ...allow, headers: [['x', 'hidden']], metadata: { x: 'hidden' } }
    expect(
      JSON.stringify(record({ request, identity: told, decision } as unknown as Partial<Trail>)),
    ).not.toContain('hidden')
  })

  it.each([
    ['2026-09-21T14:13:20.123456Z', 1_790_000_000_123.456],
    ['2026-09-21T14:13:20.000000Z', 1_790_000_000_000],
    ['2026-09-21T14:13:20.999999Z', 1_790_000_000_999.999],
    ['2026-09-21T14:13:20.007008Z', 1_790_000_000_007.0085],
    ['1970-01-01T00:00:00.000000Z', 0],
  ])('is timed %s, in microseconds', (time, startedAt) => {
    expect(record({ startedAt, decision: deny }).time).toBe(time)
  })

  it.each([
    ['nothing', {}, undefined],
    ['a Unix socket', { address: { pipe: { path: '/run/x' } } }, undefined],
    ['an address', { address: { socketAddress: { address: '::1' } } }, { address: '::1' }],
    ['a principal', { principal: 'spiffe://corp/agent' }, { principal: 'spiffe://corp/agent' }],
    ['what is neither', { address: ['x'], principal: 7 }, undefined],
    ['an address that is no text', { address: { socketAddress: { address: 7 } } }, undefined],
  ])('has of the source %s', (_, source, wanted) => {
    expect(record({ request: heldRequest({ attributes: { source } }), decision: deny }).source).toEqual(
      wanted,
    )
  })

  it('has the first of several request ids', () => {
    const request = heldRequest({ headers: { 'x-request-id': ['first', 'second'] } })
    expect(record({ request, decision: deny }).request_id).toBe('first')
  })

  it('is one line of JSON, whatever a request says', () => {
    const any = fc.string({ unit: 'binary', maxLength: 40 })
    fc.assert(
      fc.property(any, any, any, any, any, (method, host, path, id, note) => {
        const request = heldRequest({ method, host, path, headers: { 'x-request-id': [id] } })
        const line = JSON.stringify(record({ request, decision: { ...deny, note } }))
        expect(line).not.toMatch(/[\n\r]/)
        const read = JSON.parse(line)
        const known = [read.method ?? '', read.host ?? '', read.request_id, read.note]
        expect(known).toEqual([method, host, id, note])
        expect(read.path ?? '').toBe(path.split('?')[0])
      }),
      { numRuns: 200 },
    )
  })

  it('leaves out what a request does not say', () => {
    const line = record({ request: heldRequest({ method: '', host: '', path: '' }), decision: deny })
    for (const name of ['method', 'host', 'path', 'source']) expect(line).not.toHaveProperty(name)
  })

  it('keeps policy’s own words', () => {
    expect(record({ decision: { ...deny, note: 'only on weekdays' } }).note).toBe('only on weekdays')
  })

  it.each([
    ['as Trace Context writes it', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
    ['of a later version, with more behind', 'cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more'],
  ])('has the trace id of a traceparent %s', (_, traceparent) => {
    const request = heldRequest({ headers: { traceparent: [traceparent] } })
    expect(record({ request, decision: deny }).trace_id).toBe('4bf92f3577b34da6a3ce929d0e0e4736')
  })

  it.each(['', 'x', '00-00000000000000000000000000000000-00f067aa0ba902b7-01', '00-XYZ-00-01'])(
    'has no trace id for the traceparent %j',
    traceparent => {
      const request = heldRequest({ headers: { traceparent: [traceparent] } })
      expect(record({ request, decision: deny })).not.toHaveProperty('trace_id')
    },
  )

  it('lets no request choose how long its line is', () => {
    const long = 'a'.repeat(100_000)
    const request = heldRequest({
      path: long,
      host: long,
      method: long,
      attributes: { source: { principal: long } },
      headers: { 'x-request-id': [long] },
    })
    expect(JSON.stringify(record({ request, decision: deny })).length).toBeLessThan(11_000)
  })
})
