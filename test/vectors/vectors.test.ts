import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { REASONS } from '../../src/denied.ts'
import type { AuditRecord } from '../../src/record/audit.ts'
import { type AllowReply, type Field, type Reply, TRUSTED_HEADERS } from '../../src/types.ts'
import { compile, pack, unpack } from '../unit/decide/compile.ts'
import { jwks, type KeyName } from './keys.ts'
import { sent } from './sent.ts'
import { createWorld, SAMPLES, type Service } from './service.ts'
import { ISSUER, NOW } from './token.ts'
import { readVectors, type Vector } from './vector.ts'

/** Reasons that no vector can have, each with where else it is tested. */
const WITHOUT_VECTOR: Readonly<Record<string, string>> = {
  cancelled: 'Envoy has to go away while a check waits for keys: test/unit/identify/identify.test.ts',
  overloaded: 'takes many requests at once: test/unit/identify/turns.test.ts',
  internal_error: 'takes a fault of ours: test/unit/check.test.ts and oracle.test.ts',
}

const ISSUERS: Readonly<Record<string, Record<string, unknown>>> = {
  corp: {
    issuer: ISSUER,
    audiences: ['mail', 'sql', 'git', 'calendar', 'crm'].map(api => `https://${api}.example.com`),
  },
  partner: { issuer: 'https://idp.partner.example', audiences: ['https://mail.example.com'] },
}

/** Its entry point has whatever value the bundle's data give it. */
const RESULT_FROM_DATA = 'package envoy.authz\n\nimport rego.v1\n\nresult := data.result\n'

const world = createWorld()
const services = new Map<string, Promise<Service>>()
afterAll(() => world.close())

const files = readdirSync(import.meta.dirname)
  .filter(name => name.endsWith('.yaml'))
  .map(name => [name, readVectors(join(import.meta.dirname, name))] as const)

describe.each(files)('%s', (_, vectors) => {
  it.each(vectors.map(vector => [vector.name, vector] as const))('%s', async (_, vector) => {
    const service = await serviceFor(vector)
    const { bytes, secrets } = sent(vector)
    const circumstances = { now: NOW * 1000, late: vector.when === 'late', full: vector.when === 'full' }
    // Twice, since the second answer may come from what the first one left behind.
    for (const _ of ['first', 'again']) {
      const { reply, records, logged } = await service.ask(bytes, circumstances)
      const [record, ...more] = records as [AuditRecord, ...AuditRecord[]]
      expect(more).toEqual([])
      expect({ record: comparable(record, service.revision), reply: plain(reply) }).toEqual(
        wanted(vector, record.decision_id),
      )
      if (reply.kind === 'allow') expectTrustedHeadersSetOrRemoved(reply)
      const told = JSON.stringify({ reply, record, logged })
      for (const secret of secrets) expect(told).not.toContain(secret)
    }
  })
})

it('every reason that one request can cause has a vector', () => {
  const seen = new Set(files.flatMap(([, vectors]) => vectors.map(({ record }) => record.reason)))
  const missing = Object.keys(REASONS).filter(reason => !seen.has(reason))
  expect(missing.toSorted()).toEqual(Object.keys(WITHOUT_VECTOR).toSorted())
})

async function serviceFor({ config, policy }: Vector): Promise<Service> {
  const key = JSON.stringify([config, policy])
  const known = services.get(key) ?? start(config, policy)
  services.set(key, known)
  return known
}

async function start(
  { issuers = {}, policy: settings, ...rest }: Vector['config'],
  policy: Vector['policy'],
) {
  return world.start({
    ...rest,
    issuers: Object.entries({ corp: {}, ...issuers }).map(([name, changes]) => {
      const { jwks: keys = [name], ...issuer } = { ...ISSUERS[name], ...changes }
      const file = { jwks_file: world.write(JSON.stringify(jwks(keys as KeyName[]))) }
      return { name, ...(Object.hasOwn(issuer, 'jwks_uri') ? {} : file), ...issuer }
    }),
    policy: { bundle: await bundleOf(policy), ...settings },
  })
}

async function bundleOf(policy: Vector['policy']): Promise<string> {
  if (policy === 'samples') return SAMPLES
  if ('rego' in policy) return world.write(compile(policy.rego))
  const bundle = await unpack(compile(RESULT_FROM_DATA))
  return world.write(await pack({ ...bundle, '/data.json': JSON.stringify({ result: policy.result }) }))
}

/** What is wanted with this decision id. */
function wanted({ reply, record }: Vector, id: string): object {
  const { outcome, reason, issuer = '', delegator = '', agent = '' } = record
  const metadata = { issuer, delegator, agent, ...reply.metadata, decision_id: '$ID', outcome, reason }
  const complete =
    reply.kind === 'allow'
      ? { ...reply, removed: reply.removed.toSorted(), metadata }
      : {
          ...reply,
          body: reply.body.replace('$STANDARD', `{"error":"${reason}","decision_id":"$ID"}`),
          metadata,
        }
  return JSON.parse(JSON.stringify({ record, reply: complete }).replaceAll('$ID', id))
}

/** The record without the fields that are looked at here. */
function comparable(record: AuditRecord, revision: string): object {
  const { decision_id, time, policy_revision, durations_us, ...rest } = record
  expect(decision_id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(time).toBe('2026-09-21T14:13:20.000000Z')
  expect(policy_revision).toBe(record.entrypoint === undefined ? undefined : revision)
  expect(durations_us).toMatchObject({ respond: 0, total: 0 })
  return rest
}

function plain(reply: Reply): object {
  const { kind, metadata } = reply
  const headers = grouped(reply.headers)
  if (reply.kind === 'deny') return { kind, status: reply.status, headers, body: reply.body, metadata }
  return {
    kind,
    headers,
    removed: reply.headersToRemove.toSorted(),
    response_headers: grouped(reply.responseHeaders),
    query_set: grouped(reply.queryToSet),
    query_removed: reply.queryToRemove,
    metadata,
  }
}

/** A name with its value, or with its values where there are several. */
function grouped(fields: readonly Field[]): Record<string, string | string[]> {
  const lists = Map.groupBy(fields, ([name]) => name)
  return Object.fromEntries(
    [...lists].map(([name, list]) => {
      const values = list.map(([, value]) => value)
      return [name, values.length === 1 ? (values[0] as string) : values]
    }),
  )
}

function expectTrustedHeadersSetOrRemoved({ headers, headersToRemove }: AllowReply): void {
  const set = headers.map(([name]) => name)
  for (const name of TRUSTED_HEADERS)
    expect([name, set.filter(one => one === name).length]).toEqual([
      name,
      headersToRemove.includes(name) ? 0 : 1,
    ])
}
