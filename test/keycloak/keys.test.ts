import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Processes, until } from '../../deploy/demo/processes.ts'
import { metrics } from '../e2e/metrics.ts'
import { type Keycloak, startKeycloak } from './keycloak.ts'
import { type Protected, protectBy, startIssuers } from './protected.ts'
import { createRealm, header, type Realm } from './realm.ts'

/** How long a new key may take to be known. */
const KNOWN_WITHIN_MS = 15_000
const LAST_RETRY_MS = 30_000

let stop: (() => Promise<void>)[] = []
let processes: Processes
let keycloak: Keycloak
let realm: Realm
let stack: Protected

beforeAll(async () => {
  const issuers = await startIssuers()
  stop = [issuers.stop]
  processes = issuers.processes
  keycloak = issuers.keycloak
  realm = await createRealm(keycloak, 'agents')
  stack = await protectBy(issuers.folder, [{ realm }])
  stop.unshift(stack.stop)
})
afterAll(async () => {
  for (const end of stop) await end()
})

const mint = async () => (await realm.login('console')).access_token

async function rotate(priority: number): Promise<void> {
  await keycloak.admin('POST', '/agents/components', {
    name: `key ${priority}`,
    providerId: 'rsa-generated',
    providerType: 'org.keycloak.keys.KeyProvider',
    config: { priority: [`${priority}`], algorithm: ['RS256'], keySize: ['2048'] },
  })
}

/** Attempts to read the keys, and what they led to. */
async function reads() {
  const samples = [...(await metrics(stack.service.adminUrl))]
  const sum = (pattern: RegExp) =>
    samples.filter(([name]) => pattern.test(name)).reduce((total, [, value]) => total + value, 0)
  return {
    good: sum(/^agent_authz_key_fetches_total\{.*outcome="ok"/),
    bad: sum(/^agent_authz_key_fetches_total\{.*outcome="(?!ok")/),
    keys: sum(/^agent_authz_keys\{/),
  }
}

/** Asks with a new token until it is accepted; `meanwhile` is asked each time. */
function accepted(token: string | undefined, capMs: number, meanwhile?: string): Promise<number> {
  return until(
    'the new key to be known',
    async () => {
      if (meanwhile !== undefined) expect(await stack.ask(meanwhile)).toMatchObject({ status: 200 })
      const { status, error } = await stack.ask(token)
      if (status !== 200) expect(error).toMatch(/^(key_unknown|keys_unavailable|deadline)$/)
      return status === 200 ? status : undefined
    },
    capMs,
  )
}

describe('the keys of a realm', () => {
  it('that are new are known in time, twice in a row, and old ones go on', async () => {
    const before = await mint()
    expect((await stack.ask(before)).status).toBe(200)
    const read = await reads()
    expect(read).toMatchObject({ bad: 0, keys: 1 })

    let last = before
    for (const priority of [200, 300]) {
      await rotate(priority)
      const next = await mint()
      expect(header(next).kid).not.toBe(header(last).kid)
      await accepted(next, KNOWN_WITHIN_MS, last)
      last = next
    }
    expect((await stack.ask(before)).status).toBe(200)
    // One read for each, however often the second was asked with in vain.
    expect(await reads()).toEqual({ good: read.good + 2, bad: 0, keys: 3 })
  })

  it('serve on while Keycloak is gone, and those of a Keycloak that begins anew replace them', async () => {
    const known = await mint()
    const unseen = await mint()
    const stale = await mint()
    expect((await stack.ask(known)).status).toBe(200)
    const { good, keys } = await reads()

    keycloak.process.signal('SIGKILL')
    await until('Keycloak to be gone', () => !keycloak.process.running())
    expect((await stack.ask(known)).status).toBe(200)
    expect((await stack.ask(unseen)).status).toBe(200)

    // A key that is not known is asked for, in vain.
    const failed = await until('a failure to be counted', async () => {
      const { error, reached } = await stack.ask(withKid(unseen, 'another'))
      expect({ error, reached }).toEqual({ error: 'key_unknown', reached: 0 })
      const read = await reads()
      return read.bad > 0 ? read : undefined
    })
    expect(failed).toMatchObject({ good, keys })
    expect((await stack.ask(unseen)).status).toBe(200)

    keycloak = await startKeycloak(processes, keycloak.port)
    realm = await createRealm(keycloak, 'agents')
    await accepted(await mint(), LAST_RETRY_MS + KNOWN_WITHIN_MS)
    for (const old of [known, unseen, stale])
      expect(await stack.ask(old)).toMatchObject({ status: 401, error: 'key_unknown', reached: 0 })
    expect(await reads()).toMatchObject({ keys: 1 })
  })
})

function withKid(token: string | undefined, kid: string): string {
  const [, ...rest] = token?.split('.') ?? []
  const first = Buffer.from(JSON.stringify({ ...header(token), kid })).toString('base64url')
  return [first, ...rest].join('.')
}
