import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Answer } from '../../deploy/demo/client.ts'
import { until } from '../../deploy/demo/processes.ts'
import { claims, json, type Key, newKey, type Server, startServer } from '../unit/identify/issuer.ts'
import { metrics } from './metrics.ts'
import { patient, type Stack, startStack } from './stack.ts'

const ISSUER = 'https://rotating.example.com'
/** What README promises: the pause of 10 s and a fetch. */
const KNOWN_WITHIN_MS = 15_000
const PAUSE_MS = 10_000
const AT_ONCE = 3

let stack: Stack
let server: Server
let keys: Key[]
beforeAll(async () => {
  keys = await Promise.all(['k1', 'k2', 'k3', 'k4', 'k5'].map(kid => newKey(kid)))
  server = await startServer(json({ keys: [keys[0]?.jwk] }))
  stack = await startStack({
    service(config) {
      // What is late here is late because two cores are few: none of these tests is about it.
      config.listen.check_timeout = '2s'
      const rotating = { name: 'rotating', issuer: ISSUER, jwks_uri: `${server.url}/keys` }
      config.issuers.push({ ...config.issuers[0], ...rotating })
    },
    envoy: config => patient(config),
  })
}, 60_000)
afterAll(async () => {
  await stack?.stop()
  await server?.close()
})

const key = (number: number) => keys[number - 1] as Key
const publish = (...published: Key[]) => {
  server.answer = json({ keys: published.map(({ jwk }) => jwk) })
}

/** A token like no other, so that none is known already. */
function token(signer: Key, header = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const fresh = { iss: ISSUER, aud: 'https://mail.example.com', iat: now, exp: now + 300, jti: randomUUID() }
  return signer.sign(claims(fresh), header)
}
const call = async (signer: Key, header = {}): Promise<Answer> =>
  stack.call('/allowed', { token: await token(signer, header) })
/** What became of a call; where Envoy itself refused it, only its status. */
const reason = ({ status, body }: Answer): string =>
  status === 200 ? 'allowed' : body === '' ? `${status}` : JSON.parse(body).error

/** Calls, several at a time and again and again, until it is stopped; gives how often each answer came. */
function calling(by: () => Promise<Answer>): () => Promise<Record<string, number>> {
  const answers: Record<string, number> = {}
  let stopped = false
  const loops = Array.from({ length: AT_ONCE }, async () => {
    while (!stopped) {
      const answer = reason(await by())
      answers[answer] = (answers[answer] ?? 0) + 1
    }
  })
  return async () => {
    stopped = true
    await Promise.all(loops)
    return answers
  }
}

async function scraped() {
  const samples = await metrics(stack.service.adminUrl)
  const of = (name: string, labels = '') => samples.get(`agent_authz_${name}{issuer="rotating"${labels}}`)
  return {
    ok: of('key_fetches_total', ',outcome="ok"'),
    status: of('key_fetches_total', ',outcome="status"'),
    keys: of('keys'),
    ignored: of('keys_ignored'),
    unknown: of('unknown_keys_total') ?? 0,
  }
}

const known = (signer: Key) =>
  until('the new key to be known', async () => (await call(signer)).status === 200, KNOWN_WITHIN_MS)

describe('keys that rotate under load', () => {
  it('are never missed while they are published, and known within 15 s', async () => {
    expect((await call(key(1))).status).toBe(200)
    const published = [key(1)]
    let turn = 0
    const stop = calling(() => call(published[turn++ % published.length] as Key))
    for (const next of [key(2), key(3)]) {
      publish(...published, next)
      await known(next)
      published.push(next)
    }
    expect(Object.keys(await stop())).toEqual(['allowed'])
    expect(await scraped()).toMatchObject({ ok: 3, keys: 3, ignored: 0 })
    expect(server.asked).toHaveLength(3)
  })
})

describe('a flood of keys that nobody has', () => {
  it('asks the issuer once in 10 s, hurts no good token, and keeps no new key out', async () => {
    const before = { ...(await scraped()), asked: server.asked.length }
    const begun = performance.now()
    const stopFlood = calling(() => call(key(5), { kid: randomUUID() }))
    const stopGood = calling(() => call(key(1)))
    await until('the flood to make a fetch', () => server.asked.length > before.asked)

    publish(key(1), key(4))
    await known(key(4))
    const [flood, good] = await Promise.all([stopFlood(), stopGood()])
    const most = Math.floor((performance.now() - begun) / PAUSE_MS) + 1

    expect(Object.keys(good)).toEqual(['allowed'])
    expect(Object.keys(flood)).toEqual(['key_unknown'])
    const after = await scraped()
    expect(server.asked.length - before.asked).toBeLessThanOrEqual(most)
    expect(after).toMatchObject({ ok: server.asked.length, keys: 2 })
    expect(after.unknown - before.unknown).toBeGreaterThanOrEqual(flood.key_unknown as number)
    expect(reason(await call(key(2)))).toBe('key_unknown')
  })
})

describe('an issuer that breaks', () => {
  it('is seen in the metrics and on /readyz, while its last good keys serve', async () => {
    server.answer = (_, response) => response.writeHead(503).end()
    await until('the failure to be seen', async () => {
      expect(reason(await call(key(5)))).toBe('key_unknown')
      return (await scraped()).status
    })
    expect(await scraped()).toMatchObject({ keys: 2 })
    expect((await call(key(4))).status).toBe(200)
    const ready = await fetch(`${stack.service.adminUrl}/readyz`)
    expect(ready.status).toBe(200)
    expect(((await ready.json()) as { issuers: object[] }).issuers).toContainEqual(
      expect.objectContaining({ issuer: 'rotating', keys: 2, error: 'the answer is not 200' }),
    )
    expect(stack.service.process.output()).toMatch(
      /"issuer":"rotating".*could not be read: the answer is not 200/,
    )
  })
})
