import { expect } from 'vitest'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import type { Headers } from './http1.ts'
import type { Asked } from './matrix.ts'
import type { Answer } from './raw-client.ts'
import { BODY, type Seen } from './upstream.ts'

export const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** What the upstream may trust where alice's agent acts for her. */
export const AS_ALICE = {
  'x-delegator-id': 'alice@example.com',
  'x-delegator-issuer': 'demo',
  'x-agent-id': 'mail-summary',
  'x-agent-issuer': 'demo',
}

/** The same as lists, with the decision id. */
export const TRUSTED_AS_ALICE = {
  ...lists(AS_ALICE),
  'x-authz-decision-id': [expect.stringMatching(ID)],
}

/** What of a refusal's headers is ours to say. */
const OURS = ['content-type', 'www-authenticate', 'retry-after']

export const INVALID_TOKEN = 'Bearer error="invalid_token"'

/** An explicit refusal of ours, whole; nothing reached the upstream, and Envoy counted a denial. */
export function expectRefusal(
  { client, upstream, counted }: Asked<Answer>,
  status: number,
  reason: string,
  also: { [header: string]: string } = {},
): void {
  expectRefused(client, status, reason, also)
  expect(upstream).toEqual([])
  expect(counted).toEqual({ denied: 1 })
}

/** What the client sees of an explicit refusal of ours, whole. */
export function expectRefused(
  client: Answer,
  status: number,
  reason: string,
  also: { [header: string]: string } = {},
): void {
  const [id] = client.headers['x-authz-decision-id'] ?? []
  expect({ status: client.status, body: client.body, headers: only(client.headers, OURS) }).toEqual({
    status,
    body: JSON.stringify({ error: reason, decision_id: id }),
    headers: { 'content-type': ['application/json'], ...lists(also) },
  })
  expect(client.headers['x-authz-decision-id']).toEqual([expect.stringMatching(ID)])
}

/** Envoy refused by itself, before or after us: nothing of ours is in its answer, nothing reached the upstream. */
export function expectEnvoysRefusal(
  { client, upstream, counted }: Asked<Answer>,
  status: number,
  counter: Asked<Answer>['counted'] = {},
): void {
  expect({ status: client.status, upstream, counted }).toEqual({ status, upstream: [], counted: counter })
  expect(client.headers).not.toHaveProperty('x-authz-decision-id')
}

/** One request went through with exactly these trusted headers and a decision id, and its answer came back. */
export function expectAllowed(asked: Asked<Answer>, wanted: { [header: string]: string } = {}): Seen {
  expect(asked.client).toMatchObject({ status: 200, body: BODY })
  expect(asked.upstream).toHaveLength(1)
  expect(asked.counted).toEqual({ ok: 1 })
  const [seen] = asked.upstream as [Seen]
  expect(trusted(seen)).toEqual({ ...lists(wanted), 'x-authz-decision-id': [expect.stringMatching(ID)] })
  return seen
}

/** What a request carries that any upstream could take for a trusted header. */
export function trusted({ headers }: Seen): Headers {
  const names = new Set<string>(TRUSTED_HEADERS)
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => names.has(name.replace(/[^a-z0-9]/g, '-'))),
  )
}

/** What policy saw of a request, by what it told the upstream. */
export function seenByPolicy({ headers }: Seen): unknown {
  return JSON.parse(Buffer.from(headers['x-policy-saw']?.[0] ?? '', 'base64').toString())
}

function only(headers: Headers, names: readonly string[]): Headers {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => names.includes(name)))
}

function lists(headers: { [name: string]: string }): { [name: string]: string[] } {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]))
}
