import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { createEngine, type Engine } from '../../src/app.ts'
import { type Config, readConfig } from '../../src/config.ts'
import { heldRequestFromProtojson } from '../../src/listen/listen.ts'
import { auditRecord } from '../../src/record/audit.ts'
import { createMetrics } from '../../src/record/record.ts'
import type { Reply, Trail } from '../../src/types.ts'

/** Seconds since the epoch at which every vector happens. */
const NOW = 1_790_000_000
const ISSUER = 'https://idp.example.com'

interface Vector {
  readonly name: string
  /** Over the configuration of this file. */
  readonly config?: Partial<Config> & { issuer?: object }
  readonly request?: {
    readonly method?: string
    readonly path?: string
    readonly host?: string
    readonly body?: string
    readonly headers?: Record<string, string>
    /** Sent as `header_map` in place of `headers`. */
    readonly header_map?: readonly [string, string][]
    readonly route?: Record<string, string>
  }
  /** Absent: no Authorization header. `claims` and `header` go over those of a good token; null takes one away. */
  readonly token?: {
    readonly claims?: Record<string, unknown>
    readonly header?: Record<string, unknown>
    readonly key?: 'corp' | 'other'
  }
  readonly reply: {
    readonly kind: 'allow' | 'deny'
    readonly status?: number
    readonly body?: string
    readonly headers?: Record<string, string>
    readonly removed?: readonly string[]
  }
  readonly record: Record<string, unknown>
}

const folder = mkdtempSync(join(tmpdir(), 'vectors-'))
const root = join(import.meta.dirname, '../..')
const keys: Record<string, CryptoKey> = {}
const engines = new Map<string, Engine>()
let seen: { trail: Trail; reply: Reply } | undefined

beforeAll(async () => {
  for (const name of ['corp', 'other']) {
    const pair = await generateKeyPair('ES256', { extractable: true })
    keys[name] = pair.privateKey
    if (name === 'corp') {
      const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }
      writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys: [jwk] }))
    }
  }
})

afterAll(() => {
  for (const engine of engines.values()) engine.close()
  rmSync(folder, { recursive: true, force: true })
})

async function engineFor(config: Vector['config'] = {}): Promise<Engine> {
  const key = JSON.stringify(config)
  const known = engines.get(key)
  if (known) return known
  const { issuer = {}, ...rest } = config
  const file = join(folder, `${engines.size}.yaml`)
  const settings = {
    issuers: [
      {
        name: 'corp',
        issuer: ISSUER,
        jwks_file: './jwks.json',
        audiences: ['https://api.example.com', 'https://calendar.example.com', 'https://crm.example.com'],
        ...issuer,
      },
    ],
    decision_log: 'none',
    ...rest,
    policy: {
      bundle: join(root, 'policies/build/bundle.tar.gz'),
      canaries: join(root, 'policies/canaries'),
      reasons: policyReasons,
    },
  }
  writeFileSync(file, JSON.stringify(settings))
  const log = { info() {}, warn() {}, error() {} }
  const record = {
    hasRoom: () => true,
    record: (trail: Trail, reply: Reply) => {
      seen = { trail, reply }
    },
  }
  const engine = await createEngine(readConfig(file), {
    clock: () => NOW * 1000,
    log,
    metrics: createMetrics('test'),
    record,
  })
  engines.set(key, engine)
  return engine
}

async function mint({
  claims = {},
  header = {},
  key = 'corp',
}: NonNullable<Vector['token']>): Promise<string> {
  const good = {
    iss: ISSUER,
    sub: 'alice@example.com',
    aud: 'https://api.example.com',
    exp: NOW + 300,
    iat: NOW - 10,
    jti: 'token-1',
    client_id: 'console',
  }
  const present = (object: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null))
  return new SignJWT(present({ ...good, ...claims }))
    .setProtectedHeader(present({ alg: 'ES256', typ: 'at+jwt', kid: 'k1', ...header }) as { alg: string })
    .sign(keys[key] as CryptoKey)
}

function checkRequest(request: NonNullable<Vector['request']>, token: string | undefined): string {
  const {
    method = 'GET',
    path = '/',
    host = 'mail.example.com',
    body,
    headers = {},
    header_map,
    route,
  } = request
  const bearer = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const list = (header_map ?? []).map(([key, value]) => ({
    key,
    rawValue: Buffer.from(value.replace('$TOKEN', token ?? '')).toString('base64'),
  }))
  return JSON.stringify({
    attributes: {
      source: { address: { socketAddress: { address: '10.0.0.7', portValue: 48910 } } },
      request: {
        time: '2026-09-21T14:13:20Z',
        http: {
          method,
          path,
          host,
          scheme: 'https',
          protocol: 'HTTP/2',
          ...(header_map
            ? { headerMap: { headers: list } }
            : { headers: { ':method': method, ':path': path, ':authority': host, ...bearer, ...headers } }),
          ...(body !== undefined && { body }),
        },
      },
      ...(route && { contextExtensions: route }),
    },
  })
}

const VOLATILE = ['decision_id', 'durations_us', 'policy_revision', 'time']
const policyReasons = [
  ...new Set([
    ...readFileSync(join(root, 'deploy/demo/agent-authz.yaml'), 'utf8').matchAll(/^ {4}- ([a-z_]+)$/gm),
  ]),
].map(([, reason]) => reason as string)

const files = readdirSync(import.meta.dirname).filter(name => name.endsWith('.yaml'))

describe.each(files)('%s', file => {
  const vectors = parse(readFileSync(join(import.meta.dirname, file), 'utf8')) as Vector[]

  it.each(vectors.map(vector => [vector.name, vector] as const))('%s', async (_, vector) => {
    const engine = await engineFor(vector.config)
    await engine.identify.start()
    const token = vector.token && (await mint(vector.token))
    const request = heldRequestFromProtojson(checkRequest(vector.request ?? {}, token))
    seen = undefined
    const deadline = { at: Number.POSITIVE_INFINITY, signal: () => new AbortController().signal }
    const reply = await engine.check(() => request, deadline)

    const { trail } = seen as unknown as { trail: Trail }
    const record = Object.fromEntries(
      Object.entries(auditRecord(trail, reply, NOW * 1000)).filter(([key]) => !VOLATILE.includes(key)),
    )
    expect(record).toEqual(vector.record)

    const { kind, status, body, headers, removed } = vector.reply
    expect(reply.kind).toBe(kind)
    if (reply.kind === 'deny') {
      if (status !== undefined) expect(reply.status).toBe(status)
      if (body !== undefined) expect(reply.body).toBe(body)
    }
    const got = Object.fromEntries(reply.headers.filter(([name]) => name !== 'x-authz-decision-id'))
    if (headers) expect(got).toEqual(headers)
    if (removed)
      expect(reply.kind === 'allow' && reply.headersToRemove.toSorted()).toEqual(removed.toSorted())
    expect(JSON.stringify({ reply, record })).not.toContain(token ?? 'a token')
  })
})
