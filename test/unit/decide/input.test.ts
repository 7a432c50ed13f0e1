import { describe, expect, it } from 'vitest'
import { policyInput } from '../../../src/decide/input.ts'
import type { CallContext } from '../../../src/types.ts'
import { heldRequest, identity } from '../trail.ts'

const attributes = {
  source: { principal: 'spiffe://example.org/planner' },
  request: {
    time: { seconds: 1 },
    http: {
      method: 'GET',
      headers: { authorization: 'Bearer t', Cookie: 'c', 'x-a': '1', 'x-authorization': '2' },
      headerMap: {
        headers: [
          { key: 'Authorization', rawValue: 'dA==' },
          { key: 'cookie', value: 'c' },
          { key: 'x-a', rawValue: 'MQ==' },
        ],
      },
    },
  },
}
const context: CallContext = {
  request: heldRequest({ attributes }),
  identity,
  parsedPath: ['v1', 'é'],
  parsedQuery: { a: ['1', '2'] },
  parsedBody: '{"n":12345678901234567890}',
  truncatedBody: false,
  now: 1_790_000_000_999,
}

function text(changes: Partial<CallContext> = {}, credentials = false): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(
    policyInput({ ...context, ...changes }, { credentials }),
  )
}
const input = (...args: Parameters<typeof text>) => JSON.parse(text(...args))

describe('the input of policy', () => {
  it('has these keys and no others', () => {
    expect(Object.keys(input()).toSorted()).toEqual([
      'attributes',
      'identity',
      'now',
      'parsed_body',
      'parsed_path',
      'parsed_query',
      'source_principal',
      'truncated_body',
      'version',
    ])
  })

  it('is what opa-envoy-plugin hands over, with a mark of ours in version', () => {
    expect(input()).toMatchObject({
      version: { ext_authz: 'v3', encoding: 'protojson', agent_authz: 1 },
      parsed_path: ['v1', 'é'],
      parsed_query: { a: ['1', '2'] },
      truncated_body: false,
      source_principal: 'spiffe://example.org/planner',
    })
  })

  it('has the body with every digit', () => {
    expect(text()).toContain('"parsed_body":{"n":12345678901234567890}')
    expect(input({ parsedBody: 'null' })).toHaveProperty('parsed_body', null)
  })

  it('has the time in whole seconds', () => {
    expect(input().now).toBe(1_790_000_000)
  })

  it('says who acts for whom, without prior actors, token id or headers', () => {
    expect(input().identity).toEqual({
      issuer: 'corp',
      iss: 'https://idp.example.com',
      delegator: 'alice@example.com',
      agent: 'mail-summary',
      agent_iss: 'https://idp.example.com',
      actor_source: 'act',
      scopes: ['read:mail:inbox'],
      client_id: 'console',
      depth: 2,
      claims: { sub: 'alice@example.com' },
    })
  })

  it('leaves out what an identity has not', () => {
    const { delegator: _, agent: __, clientId: ___, ...rest } = identity
    expect(
      Object.keys(input({ identity: { ...rest, actorSource: 'none', priorActors: [] } }).identity).toSorted(),
    ).toEqual(['actor_source', 'claims', 'depth', 'iss', 'issuer', 'scopes'])
  })

  it('has no identity without a token, and no principal or attributes where there are none', () => {
    expect(input({ identity: undefined })).not.toHaveProperty('identity')
    const bare = input({ request: heldRequest() })
    expect(bare).not.toHaveProperty('source_principal')
    expect(bare).not.toHaveProperty('attributes')
    expect(input({ request: heldRequest({ attributes: { source: {} } }) }).attributes).toEqual({ source: {} })
  })

  it('has no authorization and no cookie, in either form of headers and any spelling', () => {
    const { http } = input().attributes.request
    expect(http.headers).toEqual({ 'x-a': '1', 'x-authorization': '2' })
    expect(http.headerMap).toEqual({ headers: [{ key: 'x-a', rawValue: 'MQ==' }] })
    expect(http.method).toBe('GET')
    expect(input().attributes.request.time).toEqual({ seconds: 1 })
  })

  it('has them where the operator says so', () => {
    expect(input({}, true).attributes).toEqual(attributes)
  })
})
