import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { type Envoy, startEnvoy } from '../../deploy/demo/envoy.ts'
import { type Issuer, startIssuer } from '../../deploy/demo/issuer.ts'
import { createProcesses, ok, type Processes, until } from '../../deploy/demo/processes.ts'
import { type Service, type ServiceConfig, startService, writeConfig } from '../../deploy/demo/service.ts'
import { startUpstream, type Upstream } from '../../deploy/demo/upstream.ts'
import { replaceFile } from '../unit/replace-file.ts'
import { records } from '../unit/whole-lines.ts'
import { edited, leaveFirst } from './edited-envoy.ts'
import { type Answered, LOAD, type Load, load, refused } from './load.ts'
import { metric } from './metrics.ts'
import { ALICE, buildBundle, patient } from './stack.ts'

const RELOADS = 10
const POLICY = readFileSync(join(import.meta.dirname, 'policy.rego'), 'utf8')

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-deploy-'))
let processes: Processes
let issuer: Issuer
let upstream: Upstream
let envoy: Envoy
let token: string
const replicas: Replica[] = []

beforeAll(async () => {
  processes = createProcesses(folder)
  issuer = await startIssuer(0)
  upstream = await startUpstream(0)
  token = await issuer.mint({ ...ALICE, ttl: 600 })
  buildBundle(POLICY, join(folder, 'bundle.tar.gz'))
  replicas.push(await startReplica('a'), await startReplica('b'))
  const [a, b] = replicas as [Replica, Replica]
  const ports = { listener: 0, admin: 0, authz: a.service.grpcPort, upstream: upstream.port }
  envoy = await startEnvoy(processes, folder, ports, config => withEndpoint(b)(patient(config)))
  await Promise.all(replicas.map(heardHealthy))
}, 60_000)
afterAll(async () => {
  await Promise.all([processes, ...replicas.map(replica => replica.processes)].map(each => each?.stop()))
  await upstream?.close()
  await issuer?.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Replica {
  readonly processes: Processes
  readonly config: string
  service: Service
  /** Its configuration with changes, put into its place at once. */
  configure(change: (config: ServiceConfig) => void): void
  /** At the place that Envoy knows. */
  startAgain(): Promise<void>
  /** Of all its lives, from every file that it was told to write. */
  lines(): Record<string, unknown>[]
}

async function startReplica(name: string): Promise<Replica> {
  const own = join(folder, name)
  mkdirSync(own)
  const parts = createProcesses(own)
  const logs = new Set<string>()
  const config = writeConfig(own, settings => {
    settings.listen = { grpc: '127.0.0.1:0', admin: '127.0.0.1:0', check_timeout: '5s' }
    for (const trusted of settings.issuers) trusted.issuer = issuer.url
    settings.policy = { bundle: join(folder, 'bundle.tar.gz'), entrypoint: 'envoy/authz/result' }
    logs.add((settings.decision_log as { file: string }).file)
  })
  const replica: Replica = {
    processes: parts,
    config,
    service: await startService(parts, config),
    configure(change) {
      const settings = parse(readFileSync(config, 'utf8'))
      change(settings)
      logs.add(settings.decision_log.file)
      replaceFile(config, stringify(settings))
    },
    async startAgain() {
      const { grpc } = replica.service
      replica.configure(({ listen }) => Object.assign(listen, { grpc }))
      replica.service = await startService(parts, config)
    },
    lines: () => [...logs].flatMap(records),
  }
  return replica
}

const sample = ({ service }: Replica, name: string) => metric(service.adminUrl, `agent_authz_${name}`)
const retries = () => envoy.stat('cluster.agent-authz.upstream_rq_retry')
const lines = () => replicas.flatMap(replica => replica.lines())

/** The lines that a load left, once all are written. */
async function linesOf(running: Load, act: () => Promise<void>): Promise<Record<string, unknown>[]> {
  const before = new Set(lines().map(line => line.decision_id))
  await act()
  await running.stop()
  for (const replica of replicas)
    await until('its last lines', async () => (await sample(replica, 'decision_log_pending_bytes')) === 0)
  return lines().filter(line => !before.has(line.decision_id))
}

/** Each answer has one line in one log. What lines there are beyond are of checks that Envoy asked twice. */
function expectOneLineEach(answers: readonly Answered[], written: Record<string, unknown>[], asked: number) {
  const ids = written.map(line => line.decision_id)
  expect(new Set(ids).size).toBe(ids.length)
  const answered = new Set<unknown>(answers.map(({ decisionId }) => decisionId))
  expect(answered.size).toBe(answers.length)
  expect(ids.filter(id => answered.has(id))).toHaveLength(answers.length)
  const requests = new Set<unknown>(answers.map(({ requestId }) => requestId))
  const beyond = written.filter(line => !answered.has(line.decision_id))
  expect(beyond.filter(line => !requests.has(line.request_id))).toEqual([])
  expect(beyond.length).toBeLessThanOrEqual(asked)
}

/** Whether Envoy, as it has last heard, asks this replica. */
async function asked({ service }: Replica): Promise<boolean> {
  const page = JSON.parse((await ok(`${envoy.adminUrl}/clusters?format=json`)) ?? '{}')
  const cluster = page.cluster_statuses.find(({ name }: { name: string }) => name === 'agent-authz')
  const host = cluster.host_statuses.find(
    ({ address }: { address: { socket_address: { port_value: number } } }) =>
      address.socket_address.port_value === service.grpcPort,
  )
  return host.health_status.failed_active_health_check !== true
}
const heardHealthy = (replica: Replica) => until('Envoy to ask it again', async () => await asked(replica))
const heardGone = (replica: Replica) => until('Envoy to ask it no more', async () => !(await asked(replica)))

/** Once it is there, known to Envoy and asked. */
async function backAgain(replica: Replica): Promise<void> {
  await replica.startAgain()
  await heardHealthy(replica)
  await until('a check', async () => (await sample(replica, 'check_duration_seconds_count')) > 0)
}

describe('two instances under load', () => {
  it('are restarted one after the other, twice, and no request is refused', async () => {
    const asked = await retries()
    const running = load(envoy.port, token)
    const written = await linesOf(running, async () => {
      await running.more(100)
      for (const replica of [...replicas, ...replicas]) {
        replica.service.process.signal('SIGTERM')
        await heardGone(replica)
        await until('it to end', () => !replica.service.process.running())
        await running.more(100)
        await backAgain(replica)
        await running.more(100)
      }
    })
    expect(refused(running.answers)).toEqual([])
    expect(running.answers.filter(({ agent }) => agent !== 'mail-summary')).toEqual([])
    expect(running.keptConnections()).toBe(LOAD / 2)
    expectOneLineEach(running.answers, written, (await retries()) - asked)
  }, 120_000)

  it('read everything anew ten times, and no request is refused', async () => {
    const asked = await retries()
    const running = load(envoy.port, token)
    const loads = 'configuration_loads_total{outcome="ok"}'
    const written = await linesOf(running, async () => {
      for (let turn = 0; turn < RELOADS; turn++)
        for (const replica of replicas) {
          const before = await sample(replica, loads)
          replica.configure(settings => {
            settings.policy.reasons = [`turn_${turn}`]
            settings.decision_log = { file: join(dirname(replica.config), `decisions-${turn % 2}.jsonl`) }
          })
          replica.service.process.signal('SIGHUP')
          await until('a reload', async () => (await sample(replica, loads)) > before)
          await running.more(20)
        }
    })
    expect(refused(running.answers)).toEqual([])
    expectOneLineEach(running.answers, written, (await retries()) - asked)
  }, 60_000)

  it('lose one to SIGKILL, and with it no more than the requests that were on their way', async () => {
    const [killed] = replicas as [Replica]
    const running = load(envoy.port, token)
    await running.more(200)
    const before = running.answers.length
    killed.service.process.signal('SIGKILL')
    await until('it to end', () => !killed.service.process.running())
    const begun = running.begun()
    await heardGone(killed)
    await running.more(200)
    await backAgain(killed)
    await running.more(200)
    await running.stop()

    const failed = refused(running.answers)
    expect(refused(running.answers.slice(0, before))).toEqual([])
    // Envoy's own refusal.
    for (const { status, body } of failed) expect({ status, body }).toEqual({ status: 503, body: '' })
    expect(failed.filter(({ turn }) => turn >= begun)).toEqual([])
    const allowed = running.answers.filter(({ status }) => status === 200)
    expect(allowed.filter(({ agent, decisionId }) => agent !== 'mail-summary' || !decisionId)).toEqual([])
  }, 60_000)
})

const withEndpoint = ({ service }: Replica) =>
  edited(({ authz, upstream }) => {
    const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: service.grpcPort } } }
    authz.load_assignment.endpoints[0]?.lb_endpoints.push({ endpoint })
    leaveFirst(upstream)
  })
