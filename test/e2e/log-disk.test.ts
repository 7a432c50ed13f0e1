import { execFileSync } from 'node:child_process'
import {
  existsSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
} from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import type { Answer } from '../../deploy/demo/client.ts'
import { createProcesses, type Processes, until } from '../../deploy/demo/processes.ts'
import { type Service, startService } from '../../deploy/demo/service.ts'
import { type Configured, configured, reading } from '../unit/configured.ts'
import { type Caller, caller } from '../unit/listen/callers.ts'
import { encodeHttp } from '../unit/listen/wire/oracle.ts'
import { replaceFile } from '../unit/replace-file.ts'
import { records } from '../unit/whole-lines.ts'
import { metric } from './metrics.ts'
import { ALICE, echo, patient, type Stack, startStack } from './stack.ts'

const CLIENTS = 8
const TURNS = 10
const PRLIMIT = '/usr/bin/prlimit'
/** Of lines that wait, by README. */
const BOUND = 16 * 1024 * 1024

const idsIn = (...files: string[]) => files.flatMap(records).map(line => String(line.decision_id))
const sample = ({ adminUrl }: Service, name: string) => metric(adminUrl, `agent_authz_decision_log_${name}`)
const written = (service: Service) =>
  until('all to be written', async () => (await sample(service, 'pending_bytes')) === 0)

/** A request without a token whose line is as long as a client can make one. */
const LONG = '\u0001'.repeat(2048)
const FAT = encodeHttp({ method: LONG, host: LONG, path: LONG, headers: { 'x-request-id': LONG } })

/** Refusals until no more lines are kept; gives their decision ids. */
async function fill(service: Service, client: Caller): Promise<string[]> {
  const ids: string[] = []
  await until('the log to be full', async () => {
    const answers = await Promise.all(Array.from({ length: CLIENTS }, () => client.check(FAT)))
    for (const { body } of answers) ids.push(JSON.parse(body ?? '').decision_id)
    return (await sample(service, 'pending_bytes')) >= BOUND
  })
  return ids
}

describe('the decision log of a service behind Envoy', () => {
  let stack: Stack
  let token: string
  let file: string
  beforeAll(async () => {
    // What is late here is late because two cores are few: none of these tests is about it.
    stack = await startStack({
      service: config => Object.assign(config.listen, { check_timeout: '5s' }),
      envoy: config => patient(config),
    })
    token = await stack.issuer.mint({ ...ALICE, ttl: 600 })
    file = stack.decisionLog
  }, 60_000)
  afterAll(() => stack?.stop())

  const idOf = (answer: Answer) =>
    String(answer.headers['x-authz-decision-id'] ?? echo(answer).headers['x-authz-decision-id'])
  const allowed = async () => idOf(await stack.call('/allowed', { token }))
  const many = (requests: number) => Promise.all(Array.from({ length: requests }, allowed))
  const reopen = async () => {
    stack.service.process.signal('SIGUSR2')
    await until('the new file', () => existsSync(file))
  }
  const away = (name: string) => {
    renameSync(file, `${file}.${name}`)
    return `${file}.${name}`
  }

  /** Clients that ask on and on; the act is done meanwhile. Gives the decision ids of all answers. */
  async function underLoad(act: () => Promise<void>): Promise<string[]> {
    const ids: string[] = []
    let over = false
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (!over) ids.push(await allowed())
    })
    try {
      await act()
    } finally {
      over = true
      await Promise.allSettled(clients)
    }
    await Promise.all(clients)
    await written(stack.service)
    return ids
  }

  it('has every line once and whole when it is moved away ten times under load', async () => {
    const files = [file]
    const ids = await underLoad(async () => {
      for (let turn = 1; turn <= TURNS; turn++) {
        await until('lines', () => statSync(file).size > 0)
        files.push(away(`${turn}`))
        await reopen()
      }
    })
    expect(idsIn(...files).toSorted()).toEqual(ids.toSorted())
    for (const name of files) expect(readFileSync(name, 'utf8')).toMatch(/(^|\n)$/)
    expect(await sample(stack.service, 'errors_total')).toBe(0)
  })

  it('goes on at the beginning when it is emptied in its place, and every line is whole', async () => {
    const ids = await underLoad(async () => {
      for (let turn = 1; turn <= TURNS; turn++) {
        await until('lines', () => statSync(file).size > 0)
        truncateSync(file)
      }
    })
    const last = await many(20)
    await written(stack.service)
    const content = readFileSync(file, 'utf8')
    expect(content).not.toContain('\0')
    const kept = idsIn(file)
    expect(kept).toHaveLength(new Set(kept).size)
    expect(kept.filter(id => ![...ids, ...last].includes(id))).toEqual([])
    expect(kept).toEqual(expect.arrayContaining(last))
  })

  // A real limit of the kernel, on the size of any file that the service writes; it can be taken away again.
  describe.skipIf(!existsSync(PRLIMIT))(`under a limit on its size (${PRLIMIT}, of util-linux)`, () => {
    const limit = (bytes: number | 'unlimited') =>
      execFileSync(PRLIMIT, ['--pid', `${stack.service.process.pid}`, `--fsize=${bytes}:unlimited`])
    const failing = (times: number) =>
      until('the log to fail', async () => (await sample(stack.service, 'errors_total')) === times)

    const loads = () => metric(stack.service.adminUrl, 'agent_authz_configuration_loads_total{outcome="ok"}')
    const whenFull = async (on_full: 'refuse' | 'drop') => {
      const before = await loads()
      const config = parse(readFileSync(stack.config, 'utf8'))
      config.decision_log.on_full = on_full
      replaceFile(stack.config, stringify(config))
      stack.service.process.signal('SIGHUP')
      await until('the configuration', async () => (await loads()) > before)
    }

    it('has the line that was cut whole in the new file, once the full one is moved away', async () => {
      const ids = idsIn(file)
      // As much room again in the new file.
      limit(statSync(file).size + 100)
      ids.push(...(await many(5)))
      await failing(1)
      const full = away('full')
      await reopen()
      await written(stack.service)
      ids.push(...(await many(5)))
      await written(stack.service)
      expect(readFileSync(full, 'utf8')).not.toMatch(/\n$/)
      expect(idsIn(full, file).toSorted()).toEqual(ids.toSorted())
      expect(stack.service.process.output()).toContain('"msg":"the decision log is written again"')
      limit('unlimited')
    })

    it('refuses where an allow would leave no line, and allows again when there is room', async () => {
      const client = caller(stack.service.grpc)
      const ids = idsIn(file)
      limit(statSync(file).size + 100)
      const first = await allowed()
      ids.push(first)
      await failing(2)
      ids.push(...(await fill(stack.service, client)))

      const refused = await stack.call('/allowed', { token })
      expect(refused).toMatchObject({
        status: 503,
        headers: { 'retry-after': expect.stringMatching(/^\d+$/) },
      })
      expect(JSON.parse(refused.body)).toEqual({ error: 'log_full', decision_id: idOf(refused) })
      const others = [await stack.call('/not-today', { token }), await stack.call('/allowed')]
      expect(others.map(({ status, body }) => [status, JSON.parse(body).error])).toEqual([
        [403, 'not_today'],
        [401, 'token_missing'],
      ])
      ids.push(idOf(refused), ...others.map(idOf))
      // What is to happen then can be changed while it is so.
      await whenFull('drop')
      const dropped = await stack.call('/allowed', { token })
      expect(dropped.status).toBe(200)
      ids.push(idOf(dropped))
      await whenFull('refuse')
      const again = await stack.call('/allowed', { token })
      expect(JSON.parse(again.body).error).toBe('log_full')
      ids.push(idOf(again))
      expect((await fetch(`${stack.service.adminUrl}/healthz`)).status).toBe(200)

      limit('unlimited')
      await written(stack.service)
      const last = await allowed()
      ids.push(last)
      await written(stack.service)
      const kept = idsIn(file)
      expect(new Set(kept).size).toBe(kept.length)
      expect(kept.filter(id => !ids.includes(id))).toEqual([])
      expect(kept).toEqual(ids.filter(id => kept.includes(id)))
      expect(await sample(stack.service, 'dropped_total')).toBe(ids.length - kept.length)
      expect(kept).toEqual(expect.arrayContaining([first, last]))
      expect(kept).not.toContain(idOf(refused))
      expect(kept).not.toContain(idOf(again))
      expect(await sample(stack.service, 'errors_total')).toBe(2)
      client.close()
    })
  })
})

describe('the decision log of a service that may drop lines', () => {
  let at: Configured
  let processes: Processes
  let service: Service
  let client: Caller
  beforeAll(async () => {
    at = await configured()
    processes = createProcesses(at.folder)
    symlinkSync('/dev/full', at.path('decisions.jsonl'))
    service = await startService(
      processes,
      at.configure(config => Object.assign(config.decision_log, { on_full: 'drop' })),
    )
    client = caller(service.grpc)
  }, 60_000)
  afterAll(async () => {
    client?.close()
    await processes?.stop()
    at?.remove()
  })

  it('is full without a refusal, counts what is missing, and goes on in the file that it is given', async () => {
    const request = encodeHttp(reading(await at.mint()))
    const ask = async () => {
      const { code, metadata } = await client.check(request)
      expect(code).toBe(0)
      return (metadata as { decision_id: string }).decision_id
    }
    const ids = [await ask(), ...(await fill(service, client))]
    const more = await Promise.all(Array.from({ length: 20 }, ask))
    const dropped = await sample(service, 'dropped_total')
    expect(dropped).toBeGreaterThanOrEqual(more.length)
    expect(await sample(service, 'errors_total')).toBe(1)

    unlinkSync(at.path('decisions.jsonl'))
    service.process.signal('SIGUSR2')
    await written(service)
    const after = await ask()
    await written(service)
    const kept = idsIn(at.path('decisions.jsonl'))
    expect(kept).toEqual([...ids.slice(0, ids.length + more.length - dropped), after])
    expect(await sample(service, 'dropped_total')).toBe(dropped)
    expect(service.process.output()).toContain('"msg":"the decision log is full; answers leave no line"')
  })
})
