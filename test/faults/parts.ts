import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Envoy, startEnvoy } from '../../deploy/demo/envoy.ts'
import {
  comeUp,
  createProcesses,
  ok,
  type Processes,
  type Started,
  until,
} from '../../deploy/demo/processes.ts'
import { writeConfig } from '../../deploy/demo/service.ts'
import { metrics } from '../e2e/metrics.ts'
import { compile } from '../unit/decide/compile.ts'
import { CHECK_TIMEOUT_MS } from './cells.ts'
import { type DecisionLog, decisionLog } from './decision-log.ts'
import { type FaultyIssuer, startFaultyIssuer } from './faulty-issuer.ts'
import { type DirectCaller, directCaller } from './sending.ts'
import { type Going, shownBy } from './shifted-clock.ts'
import { type RecordingUpstream, startRecordingUpstream } from './upstream.ts'

const HERE = import.meta.dirname
const MAIN = join(HERE, '../../src/main.ts')
const REGO = readFileSync(join(HERE, 'policy.rego'), 'utf8')
const MISSPELT = `
                        - match: { path_separated_prefix: /misspelt }
                          route: { cluster: upstream }
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: { context_extensions: { agent_authz_mod: enforce } }`
const STRIPS = 'name: strip-trusted-headers'
const LAST_ROUTE = '\n                        - match: { prefix: / }'

/** Real parts, as the demo has them, that can be broken. */
export interface Parts {
  readonly folder: string
  readonly issuers: ReadonlyMap<string, FaultyIssuer>
  readonly silent: FaultyIssuer
  readonly upstream: RecordingUpstream
  readonly service: Started
  readonly grpcPort: number
  readonly adminUrl: string
  readonly direct: DirectCaller
  readonly log: DecisionLog
  readonly bundle: string
  readonly envoy: { readonly current: Envoy; readonly process: Started }
  /** In the place of the one before, on another port; waits for a check as long as it is told. */
  newEnvoy(timeout?: string): Promise<void>
  readonly clock: ServiceClock
  samples(): Promise<ReadonlyMap<string, number>>
  stop(): Promise<void>
}

/** The clock of the service. */
export interface ServiceClock {
  /** In milliseconds. */
  now(): number
  /** What it may show: while it is being set, the service may not have looked yet. */
  maybe(): readonly number[]
  /** Shows another time, or goes on at another rate, and is seen to. */
  set(going: { readonly shown?: number; readonly rate?: number }): Promise<void>
}

export type Revision = 'first' | 'second' | 'third'

/** The policy of these tests as the real `opa` compiles it; the second turns two answers round. */
export function bundleOf(revision: Revision): Buffer {
  const turned = REGO.replace('in {"allowed", "before"}', 'in {"allowed", "after"}').replace(
    '"after": {"allowed": false}',
    '"before": {"allowed": false}',
  )
  return compile(revision === 'second' ? turned : REGO, { revision })
}

/** Everything up; each issuer is one that the service has the keys of. */
export async function startParts(issuerNames: readonly string[], onFull: 'refuse' | 'drop'): Promise<Parts> {
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-faults-'))
  const processes = createProcesses(folder)
  const closers: (() => unknown)[] = [() => processes.stop()]
  const stop = async () => {
    for (const close of closers) await close()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const issuers = new Map<string, FaultyIssuer>()
    for (const name of issuerNames) {
      const issuer = await startFaultyIssuer(name)
      closers.push(issuer.gone)
      issuers.set(name, issuer)
    }
    const silent = await startFaultyIssuer('silent')
    await silent.gone()
    const upstream = await startRecordingUpstream()
    closers.push(upstream.close)

    const bundle = join(folder, 'bundle.tar.gz')
    writeFileSync(bundle, bundleOf('first'))
    mkdirSync(join(folder, 'log'))
    const log = decisionLog(join(folder, 'log/decisions.jsonl'))
    const config = configFor(folder, [...issuers.values(), silent], { bundle, log, onFull })
    const clock = serviceClock(join(folder, 'clock'))
    const { service, grpcPort, adminUrl } = await startService(processes, config, clock.preload, [
      ...issuers.keys(),
    ])
    const direct = directCaller(`127.0.0.1:${grpcPort}`)
    closers.unshift(direct.close)

    let running = await anEnvoy()
    return {
      ...{ folder, issuers, silent, upstream, service, grpcPort, adminUrl, direct, log, bundle, clock, stop },
      get envoy() {
        return running
      },
      async newEnvoy(timeout) {
        await running.process.stop()
        running = await anEnvoy(timeout)
      },
      // A connection that is kept may be closed as the next request goes out; where we are slow, it often is.
      samples: () => until('the metrics', () => metrics(adminUrl).catch(() => undefined)),
    }

    async function anEnvoy(timeout = '10s') {
      let process: Started | undefined
      const current = await startEnvoy(
        { ...processes, start: (...how) => (process = processes.start(...how)) },
        folder,
        { listener: 0, admin: 0, authz: grpcPort, upstream: upstream.port },
        // What is late here is late because two cores are few: the deadlines are many times as long, and Envoy's is so
        // far from ours that each check is answered by us. Nobody but us takes away what clients claim to be.
        written =>
          written
            .replace('timeout: 0.25s', `timeout: ${timeout}`)
            .replace('max_interval: 0.25s', 'max_interval: 10s')
            .replace('timeout: 0.5s', 'timeout: 5s')
            .replace(STRIPS, `${STRIPS}\n                    disabled: true`)
            .replace(LAST_ROUTE, MISSPELT + LAST_ROUTE),
      )
      return { current, process: process as Started }
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function configFor(
  folder: string,
  issuers: readonly FaultyIssuer[],
  { bundle, log, onFull }: { bundle: string; log: DecisionLog; onFull: string },
): string {
  return writeConfig(folder, config => {
    Object.assign(config.listen, {
      grpc: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      check_timeout: `${CHECK_TIMEOUT_MS}ms`,
    })
    config.issuers = issuers.map(({ name, url }) => ({ ...config.issuers[0], name, issuer: url }))
    config.policy = { bundle, reasons: ['not_today'] }
    config.decision_log = { file: log.file, on_full: onFull }
  })
}

async function startService(
  processes: Processes,
  config: string,
  preload: string,
  issuers: readonly string[],
): Promise<{ service: Started; grpcPort: number; adminUrl: string }> {
  const service = processes.start('agent-authz', process.execPath, [
    ...['--import', preload, MAIN],
    ...['serve', '--config', config],
  ])
  return comeUp('agent-authz', service, async () => {
    const line = /^\{.*"msg":"listening"\}$/m.exec(service.output())
    if (!line) return undefined
    const { grpc, admin } = JSON.parse(line[0])
    const adminUrl = `http://${admin}`
    if ((await ok(`${adminUrl}/readyz`)) === undefined) return undefined
    const samples = await metrics(adminUrl)
    const all = issuers.every(name => samples.get(`agent_authz_keys{issuer="${name}"}`))
    return all ? { service, grpcPort: Number(grpc.split(':').at(-1)), adminUrl } : undefined
  })
}

function serviceClock(file: string): ServiceClock & { readonly preload: string } {
  const real = Date.now()
  let going: Going = { real, shown: real, rate: 1 }
  writeFileSync(file, JSON.stringify(going))
  let before = going
  const now = () => shownBy(going, Date.now())
  return {
    preload: `${pathToFileURL(join(HERE, 'shifted-clock.ts')).href}?file=${encodeURIComponent(file)}`,
    now,
    maybe: () => [before, going].map(each => shownBy(each, Date.now())),
    async set({ shown = now(), rate = 1 }) {
      going = { real: Date.now(), shown, rate }
      const says = JSON.stringify(going)
      writeFileSync(`${file}.said`, says)
      renameSync(`${file}.said`, file)
      await until('the clock to be set', () => readFileSync(`${file}.shown`, 'utf8') === says)
      before = going
    },
  }
}
