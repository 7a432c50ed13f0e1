import { describe, expect, it } from 'vitest'
import { Denied, REASONS, type Reason, refusal } from '../../../src/denied.ts'
import { respond } from '../../../src/respond/respond.ts'
import { type AllowReply, type DenyReply, TRUSTED_HEADERS, type Trail } from '../../../src/types.ts'
import { allow, deny, heldRequest, identity, trail } from '../trail.ts'

const observe = { mode: 'observe', identity: 'required', authorization: 'remove', source: 'token' } as const

function allowed(changes: Partial<Trail>): AllowReply {
  const reply = respond(trail({ decision: allow, ...changes }))
  if (reply.kind !== 'allow') throw new Error('not an allow')
  return reply
}

function denied(changes: Partial<Trail>): DenyReply {
  const reply = respond(trail({ decision: deny, ...changes }))
  if (reply.kind !== 'deny') throw new Error('not a refusal')
  return reply
}

describe('an allow', () => {
  it.each([
    ['a full identity', identity],
    ['no identity', undefined],
    ['an identity without a chain', { ...identity, headers: identity.headers.slice(0, 4) }],
    ['a user without an agent', { ...identity, headers: identity.headers.slice(0, 2) }],
  ])('sets or removes each trusted header, never both, for %s', (_, who) => {
    const reply = allowed(who ? { identity: who } : {})
    const set = reply.headers.map(([name]) => name)
    for (const name of TRUSTED_HEADERS)
      expect(set.includes(name)).not.toBe(reply.headersToRemove.includes(name))
    expect(reply.headers).toEqual([...(who?.headers ?? []), ['x-authz-decision-id', 'd-1']])
  })

  it('removes inbound twins of trusted headers, and the exact name only where it is not set', () => {
    const headers = {
      x_agent_id: ['root'],
      'x-delegator_id': ['root'],
      'x-agent-id': ['root'],
      'x.agent~id': ['root'],
      x_other: ['1'],
      'x-agent-id-': ['1'],
    }
    const reply = allowed({ identity, request: heldRequest({ headers }) })
    const removed = ['x-delegator_id', 'x.agent~id', 'x_agent_id']
    expect(reply.headersToRemove.toSorted()).toEqual(removed)
  })

  it('keeps the Authorization header without a verified token, where the route keeps it, and where policy replaces it', () => {
    const bearing = (authorization: string) => heldRequest({ headers: { authorization: [authorization] } })
    const request = bearing('Bearer token')
    for (const each of ['Bearer token', 'bearer token'])
      expect(allowed({ identity, request: bearing(each) }).headersToRemove).toContain('authorization')
    expect(allowed({ request }).headersToRemove).not.toContain('authorization')
    // Envoy's jwt_authn may have found the token elsewhere.
    expect(allowed({ identity, request: bearing('Basic YTpi') }).headersToRemove).not.toContain(
      'authorization',
    )
    const route = { mode: 'enforce', identity: 'required', authorization: 'keep', source: 'token' } as const
    expect(allowed({ identity, request, route }).headersToRemove).not.toContain('authorization')
    const replacing = { ...allow, headers: [['authorization', 'Bearer other']] as const }
    const reply = allowed({ identity, request, decision: replacing })
    expect(reply.headersToRemove).not.toContain('authorization')
    expect(reply.headers).toContainEqual(['authorization', 'Bearer other'])
  })

  it('never sets what it also removes', () => {
    const decision = { ...allow, headers: [['x-a', '1']] as const, requestHeadersToRemove: ['x-a', 'x-b'] }
    const reply = allowed({ decision })
    expect(reply.headersToRemove).toEqual(expect.arrayContaining(['x-a', 'x-b']))
    expect(reply.headers.map(([name]) => name)).not.toContain('x-a')
  })

  it('lets no metadata of policy stand in for ours', () => {
    const decision = { ...allow, metadata: { decision_id: 'forged', agent: 'root', tier: 'gold' } }
    expect(allowed({ identity, decision }).metadata).toEqual({
      tier: 'gold',
      decision_id: 'd-1',
      outcome: 'allow',
      reason: 'policy_allowed',
      issuer: 'corp',
      delegator: 'alice@example.com',
      agent: 'mail-summary',
    })
  })
})

describe('a refusal', () => {
  it.each(Object.entries(REASONS))(
    '%s is answered %i with its code and nothing internal',
    (reason, status) => {
      const decision = refusal(
        new Denied(reason as Reason, 'a detail for the log', { cause: new Error('secret') }),
      )
      const reply = denied({ decision })
      expect(reply.status).toBe(status)
      expect(JSON.parse(reply.body)).toEqual({ error: reason, decision_id: 'd-1' })
      const headers = Object.fromEntries(reply.headers)
      expect(headers['x-authz-decision-id']).toBe('d-1')
      expect(headers['content-type']).toBe('application/json')
      expect(headers['retry-after'] !== undefined).toBe(status === 503)
      expect(headers['www-authenticate'] !== undefined).toBe(
        status === 401 || reason === 'insufficient_scope',
      )
      expect(JSON.stringify(reply)).not.toMatch(/secret|a detail/)
    },
  )

  it('challenges a request without a token without an error code, a bad token with one', () => {
    const challenge = (reason: Reason) =>
      Object.fromEntries(denied({ decision: refusal(new Denied(reason)) }).headers)['www-authenticate']
    expect(challenge('token_missing')).toBe('Bearer')
    expect(challenge('token_expired')).toBe('Bearer error="invalid_token"')
  })

  it('says nothing against a good token in a 401 of policy, whatever its reason', () => {
    for (const reason of ['policy_denied', 'step_up', 'constructor']) {
      const reply = denied({ decision: { ...deny, reason, status: 401 } })
      expect(reply.headers).toContainEqual(['www-authenticate', 'Bearer'])
    }
  })

  it('names the scope that would help', () => {
    const reply = denied({ decision: { ...deny, challengeScope: 'a b' } })
    expect(reply.headers).toContainEqual([
      'www-authenticate',
      'Bearer error="insufficient_scope", scope="a b"',
    ])
  })

  it('takes body, status and headers from policy, and its challenge in place of ours', () => {
    const headers = [
      ['www-authenticate', 'Basic'],
      ['x-why', '1'],
    ] as const
    const reply = denied({ decision: { ...deny, status: 401, body: 'no', headers } })
    expect(reply).toMatchObject({ status: 401, body: 'no' })
    expect(reply.headers).toEqual([
      ['x-authz-decision-id', 'd-1'],
      ['www-authenticate', 'Basic'],
      ['x-why', '1'],
    ])
  })

  it('has no body on HEAD', () => {
    expect(denied({ request: heldRequest({ method: 'HEAD' }) }).body).toBe('')
  })
})

describe('observe mode', () => {
  it('lets a refusal pass with the trusted headers of a verified token, and nothing of policy', () => {
    const decision = { ...deny, headers: [['x-why', '1']] as const, metadata: { tier: 'gold' } }
    const reply = respond(trail({ route: observe, identity, decision }))
    expect(reply).toMatchObject({ kind: 'allow', responseHeaders: [], metadata: { outcome: 'deny' } })
    expect((reply as AllowReply).headers.map(([name]) => name)).toEqual([...TRUSTED_HEADERS])
    expect(reply.metadata).not.toHaveProperty('tier')
    expect((reply as AllowReply).headersToRemove).toEqual([])
  })

  it('removes the trusted headers where no token was verified', () => {
    const reply = respond(
      trail({ route: observe, decision: refusal(new Denied('token_expired')) }),
    ) as AllowReply
    expect(reply.headers).toEqual([['x-authz-decision-id', 'd-1']])
    expect(reply.headersToRemove).toEqual(TRUSTED_HEADERS.filter(name => name !== 'x-authz-decision-id'))
  })

  it('still refuses what is no request at all: nobody knows the settings of its route', () => {
    const { request: _, ...unread } = trail({
      route: observe,
      decision: refusal(new Denied('request_malformed')),
    })
    expect(respond(unread)).toMatchObject({ kind: 'deny', status: 400 })
  })

  it('still refuses a route that cannot be read', () => {
    expect(respond(trail({ route: observe, decision: refusal(new Denied('route_invalid')) })).kind).toBe(
      'deny',
    )
  })
})
