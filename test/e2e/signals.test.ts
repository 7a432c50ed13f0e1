import { type StdioOptions, spawn } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { type Configured, configured, reading } from '../unit/configured.ts'
import { json, type Key, newKey, type Server, startServer } from '../unit/identify/issuer.ts'
import { type Answer, type Caller, caller } from '../unit/listen/callers.ts'
import { encodeHttp } from '../unit/listen/wire/oracle.ts'
import { MAIN, set } from './command-line.ts'
import { metric } from './metrics.ts'
import { AGAIN, type Serving, serviceOf } from './serving.ts'

const CLIENTS = 8
const FEW_CLIENTS = 2
/** Of gRPC: what a client is told that meets a connection which ends, or a closed door. */
const UNAVAILABLE = 14
/** What a crash may lose, by README. */
const LOST_BYTES = 64 * 1024

let at: Configured
let running: Kept[]
beforeEach(async () => {
  at = await configured()
  running = []
})
afterEach(async () => {
  for (const { child, close, ended } of running) {
    close()
    child.kill('SIGKILL')
    await ended()
  }
  at.remove()
})

interface Kept extends Serving {
  /** One connection, kept. */
  client(): Caller
  close(): void
}

function launch(file = at.configure()): Kept {
  const stdio: StdioOptions = ['ignore', 'ignore', 'pipe']
  const launched = serviceOf(spawn(process.execPath, [MAIN, 'serve', '--config', file], { stdio }))
  let client: Caller | undefined
  const kept = {
    ...launched,
    client: () => (client ??= caller(launched.grpc())),
    close: () => client?.close(),
  }
  running.push(kept)
  return kept
}

async function serve(file?: string): Promise<Kept> {
  const launched = launch(file)
  await launched.told('listening')
  return launched
}

const request = (token?: string) => encodeHttp(reading(token))
const idOf = ({ metadata }: Answer) => (metadata as { decision_id: string }).decision_id
const idsIn = (log: string) => at.decisions(log).map(line => line.decision_id as string)

/** Clients that ask again and again, until each is told that the door is closed; any other failure is one. */
function asking({ client }: Kept, token: string, clients = CLIENTS) {
  const answers: Answer[] = []
  const over = Promise.all(
    Array.from({ length: clients }, async () => {
      for (;;) {
        const answer = await client()
          .check(request(token))
          .catch((error: { code: number }) => {
            if (error.code !== UNAVAILABLE) throw error
          })
        if (!answer) return
        answers.push(answer)
      }
    }),
  )
  over.catch(() => undefined)
  return {
    answers,
    over,
    some: (many: number) => until('answers', () => answers.length >= many),
  }
}

describe.each(['SIGTERM', 'SIGINT'] as const)('%s', signal => {
  let issuer: Server
  let ours: Key
  beforeEach(async () => {
    ours = await newKey('ours')
    issuer = await startServer(json({ keys: [ours.jwk] }))
    return () => issuer.close()
  })

  it('is told by health first, and what was begun is answered and recorded', async () => {
    const held = { name: 'held', issuer: 'https://held.example.com', jwks_uri: `${issuer.url}/keys` }
    const serving = await serve(
      at.configure(config => {
        config.listen.check_timeout = '30s'
        config.issuers.push({ ...config.issuers[0], ...held, jwks_file: undefined })
      }),
    )
    const known = `agent_authz_keys{issuer="held"}`
    await until('the keys', async () => (await metric(serving.admin(), known)) > 0)
    const states: string[] = []
    const watch = serving.client().watch('')
    watch.on('data', ({ status }) => states.push(status)).on('error', () => undefined)
    await until('health', () => states.includes('SERVING'))

    // Checks that wait for a key which the issuer does not give yet.
    let release = (): void => undefined
    issuer.answer = (_, response) => {
      release = () => void response.end(readFileSync(at.path('jwks.json')))
    }
    const waiting = await at.mint({ iss: held.issuer })
    const begun = Array.from({ length: CLIENTS }, () => serving.client().check(request(waiting)))
    const token = await at.mint()
    const answers = [await serving.client().check(request(token))]

    serving.child.kill(signal)
    await until('health to say that it leaves', () => states.includes('NOT_SERVING'))
    expect((await fetch(`${serving.admin()}/readyz`)).status).toBe(503)
    answers.push(await serving.client().check(request(token)))
    // None of these brings it off its way; the other configuration is not for it any more.
    at.configure(set({ decision_log: { file: 'other.jsonl' } }))
    for (const next of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2', 'SIGPIPE'] as const)
      serving.child.kill(next)
    await until('the door to be closed', async () => {
      const late = caller(serving.grpc())
      const answered = late.check(request(token)).then(answer => void answers.push(answer))
      return answered.catch(() => true as const).finally(late.close)
    })
    release()
    answers.push(...(await Promise.all(begun)))

    expect(await serving.ended()).toEqual([0, null])
    expect(answers.map(({ code }) => code)).toEqual(answers.map(() => 0))
    expect(idsIn('decisions.jsonl').toSorted()).toEqual(answers.map(idOf).toSorted())
    expect(states).toEqual(['SERVING', 'NOT_SERVING'])
    expect([serving.count('draining'), serving.count('drained'), serving.count(AGAIN)]).toEqual([1, 1, 0])
    expect(existsSync(at.path('other.jsonl'))).toBe(false)
  })
})

describe('SIGTERM', () => {
  it('under load and in the middle of a reload loses no line and makes none up', async () => {
    const serving = await serve()
    const { answers, over, some } = asking(serving, await at.mint())
    await some(200)
    at.configure(config => {
      set({ decision_log: { file: 'second.jsonl' } })(config)
      config.policy.reasons.push('another')
    })
    serving.child.kill('SIGHUP')
    serving.child.kill('SIGTERM')
    await over
    expect(await serving.ended()).toEqual([0, null])
    const second = existsSync(at.path('second.jsonl')) ? idsIn('second.jsonl') : []
    expect([...idsIn('decisions.jsonl'), ...second].toSorted()).toEqual(answers.map(idOf).toSorted())
    expect(answers.filter(({ code }) => code !== 0)).toEqual([])
  })

  it('while it starts ends it with 0, wherever it is', async () => {
    const serving = launch()
    // Looked at all the time, since what comes between this and the first answer is short.
    while (!existsSync(at.path('decisions.jsonl'))) await new Promise(setImmediate)
    serving.child.kill('SIGTERM')
    expect(await serving.ended()).toEqual([0, null])
    expect(at.decisions()).toEqual([])
  })
})

describe('SIGKILL', () => {
  it('loses the last lines only, and what it cut harms no line after it', async () => {
    const serving = await serve()
    const token = await at.mint()
    const lone = idOf(await serving.client().check(request(token)))
    await until('a lone line', () => idsIn('decisions.jsonl').includes(lone))
    // So few that a line waits for its 50 ms, and not for a disk that others keep busy.
    const { answers, over, some } = asking(serving, token, FEW_CLIENTS)
    await some(500)
    serving.child.kill('SIGKILL')
    expect(await serving.ended()).toEqual([null, 'SIGKILL'])
    await over
    const left = readFileSync(at.path('decisions.jsonl'), 'utf8')
    const whole = left.slice(0, left.lastIndexOf('\n') + 1)
    const kept = new Set(idsIn('decisions.jsonl'))
    const lost = answers.flatMap((answer, turn) => (kept.has(idOf(answer)) ? [] : [turn]))
    const bytes = lost.length * (whole.length / kept.size)
    expect(bytes).toBeLessThanOrEqual(LOST_BYTES)
    // Answers may pass one another on their way by as many as there are clients.
    expect(lost.filter(turn => turn < answers.length - lost.length - FEW_CLIENTS)).toEqual([])

    // What a kill in the middle of a write leaves, whether this one did or not.
    const half = '{"decision_id":"half'
    appendFileSync(at.path('decisions.jsonl'), half)
    const next = await serve()
    const after = await next.client().check(request(token))
    next.child.kill('SIGTERM')
    await next.ended()
    const lines = readFileSync(at.path('decisions.jsonl'), 'utf8').slice(whole.length).split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[0]).toBe(`${left.slice(whole.length)}${half}`)
    expect(JSON.parse(lines[1] as string).decision_id).toBe(idOf(after))
    expect(lines[2]).toBe('')
  })
})

describe('SIGHUP', () => {
  it('has what the configuration refers to read again, and a wrong one told once and survived', async () => {
    at.write('audience', 'https://mail.example.com')
    const serving = await serve(
      at.configure(config => set({ audiences: [`\${file:audience}`] })(config.issuers[0])),
    )
    const loads = (outcome: string) =>
      metric(serving.admin(), `agent_authz_configuration_loads_total{outcome="${outcome}"}`)
    const token = await at.mint()
    const body = async () => (await serving.client().check(request(token))).body ?? 'allowed'
    const configuration = async () =>
      ((await (await fetch(`${serving.admin()}/readyz`)).json()) as { configuration: unknown }).configuration
    expect(await body()).toBe('allowed')

    // The configuration itself is not replaced: only the signal has it read.
    at.write('audience', 'https://elsewhere.example.com')
    serving.child.kill('SIGHUP')
    await serving.told(AGAIN)
    expect(await body()).toContain('audience_mismatch')

    rmSync(at.path('audience'))
    serving.child.kill('SIGHUP')
    await until('the failure', async () => (await loads('error')) > 0)
    expect([await loads('error'), serving.count(`${at.path('agent-authz.yaml')} cannot be used`)]).toEqual([
      1, 1,
    ])
    expect(await body()).toContain('audience_mismatch')
    expect(await configuration()).toMatch(/not usable/)
    expect((await fetch(`${serving.admin()}/readyz`)).status).toBe(200)

    at.write('audience', 'https://mail.example.com')
    serving.child.kill('SIGHUP')
    await serving.told(AGAIN, 2)
    expect(await body()).toBe('allowed')
    expect(await configuration()).toBe(null)
  })

  it('for a file that was replaced leaves nothing to read to whoever watches that', async () => {
    const serving = await serve()
    const malformed = 'agent_authz_key_fetches_total{issuer="corp",outcome="malformed"}'
    at.write('agent-authz.yaml', 'listen: []')
    serving.child.kill('SIGHUP')
    const wrong = `${at.path('agent-authz.yaml')} cannot be used`
    await serving.told(wrong)
    // Seen to change twice: whoever else looks at a file has looked at it meanwhile.
    for (const looks of [1, 2]) {
      at.write('jwks.json', 'broken '.repeat(looks))
      await until('a look', async () => (await metric(serving.admin(), malformed)) === looks)
    }
    expect(serving.count(wrong)).toBe(1)
  })
})
