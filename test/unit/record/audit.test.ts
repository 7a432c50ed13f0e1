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
    const route = { mode: 'observe', identity: 'required', authorization: 'remove' } as const
    expect(record({ route, decision: deny })).toMatchObject({ outcome: 'deny', enforced: false, status: 403 })
    expect(record({ decision: deny })).toMatchObject({ outcome: 'deny', enforced: true, status: 403 })
  })

  it('keeps policy’s own words', () => {
    expect(record({ decision: { ...deny, note: 'only on weekdays' } }).note).toBe('only on weekdays')
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
    const request = heldRequest({ path: long, host: long, method: long, headers: { 'x-request-id': [long] } })
    expect(JSON.stringify(record({ request, decision: deny })).length).toBeLessThan(10_000)
  })
})
