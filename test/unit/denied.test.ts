import { describe, expect, it } from 'vitest'
import { asDenied, Denied, REASONS, type Reason, refusal } from '../../src/denied.ts'

const reasons = Object.entries(REASONS) as [Reason, number][]

describe('a refusal', () => {
  it.each([
    ['body_invalid', 400],
    ['token_expired', 401],
    ['policy_undefined', 403],
    ['route_invalid', 500],
    ['log_full', 503],
  ] as const)('for %s is a complete deny with status %i', (reason, status) => {
    const complete = { outcome: 'deny', reason, status, headers: [], metadata: {} }
    expect(refusal(new Denied(reason))).toEqual(complete)
  })

  it('keeps the detail for the log, and the policy that was asked', () => {
    const policy = { entrypoint: 'envoy/authz/result', revision: 'r1' }
    expect(refusal(new Denied('policy_error', 'the policy threw'), policy)).toMatchObject({
      note: 'the policy threw',
      policy,
    })
  })

  it('says no more than its reason in its message', () => {
    const { message, name, reason, detail } = new Denied('token_malformed', 'two dots')
    expect({ message, name, reason, detail }).toEqual({
      message: 'token_malformed',
      name: 'Denied',
      reason: 'token_malformed',
      detail: 'two dots',
    })
  })
})

describe('the reasons', () => {
  // What a client may conclude from a status: whose fault it is, and whether to come again.
  it.each([
    [400, /^(request|authorization|path|body)_/],
    [401, /^(token|issuer|key|signature|audience|claim|client|sender|actor|agent|delegator|header)_/],
    [403, /^(policy_denied|policy_undefined|insufficient_scope)$/],
    [500, /^(policy_error|route_invalid|internal_error)$/],
    [503, /^(keys_unavailable|overloaded|deadline|cancelled|log_full)$/],
  ])('with status %i are of one kind', (status, kind) => {
    const named = reasons.filter(([, of]) => of === status).map(([reason]) => reason)
    expect(named.length).toBeGreaterThan(0)
    expect(named.filter(reason => !kind.test(reason))).toEqual([])
  })

  it('are codes that a metric label and a JSON text can hold as they are', () => {
    expect(reasons.filter(([reason]) => !/^[a-z][a-z0-9_]{0,63}$/.test(reason))).toEqual([])
  })

  it('are none that an allow has', () => {
    expect(Object.keys(REASONS)).not.toContain('policy_allowed')
  })
})

describe('whatever was thrown', () => {
  it('stays the refusal that it is', () => {
    const denied = new Denied('token_expired')
    expect(asDenied(denied)).toBe(denied)
  })

  it.each([
    ['an error', new TypeError('x is not a function')],
    ['a text', 'text'],
    ['an object that looks like a refusal', { name: 'Denied', reason: 'policy_allowed', message: 'x' }],
    ['undefined', undefined],
    ['null', null],
    ['zero', 0],
  ])('is our own failure when it is %s, and kept only as the cause', (_, thrown) => {
    const denied = asDenied(thrown)
    expect(denied).toBeInstanceOf(Denied)
    expect(denied).toMatchObject({ reason: 'internal_error', message: 'internal_error', detail: undefined })
    expect(denied.cause).toBe(thrown)
    expect(refusal(denied)).toEqual({
      outcome: 'deny',
      reason: 'internal_error',
      status: 500,
      headers: [],
      metadata: {},
    })
  })
})
