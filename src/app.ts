import { randomUUID } from 'node:crypto'
import { unwatchFile, watchFile } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import packageJson from '../package.json' with { type: 'json' }
import { createCheck } from './check.ts'
import { createClock } from './clock.ts'
import { type Config, readConfig } from './config.ts'
import { createDecide, type DecideRoom } from './decide/decide.ts'
import { gather } from './gather/gather.ts'
import { createIdentify, type IdentifyRoom } from './identify/identify.ts'
import { createListen } from './listen/listen.ts'
import { createMetrics, createRecord, type Metrics, type RecordRoom } from './record/record.ts'
import { respond } from './respond/respond.ts'
import type { Check, Clock, Log } from './types.ts'
import { Unusable } from './unusable.ts'

export const VERSION = packageJson.version

/** How long the last lines of the decision log may take at the end. */
const LOG_PATIENCE_MS = 5_000
const CONFIG_POLL_MS = 500
const READINESS_POLL_MS = 250

export interface Service {
  readonly grpc: string
  readonly admin: string
  /** Reads the configuration again; all valid, then swapped whole, otherwise the old one stays. */
  reload(): Promise<void>
  /** Opens the decision log again, after it was moved away. */
  reopen(): void
  /** Health first, then connections, then the log's last lines. */
  stop(): Promise<void>
}

/** The whole service by its configuration file. Unusable when something local cannot be loaded. */
export async function startService(file: string, log: Log): Promise<Service> {
  const clock = createClock()
  const metrics = createMetrics(VERSION)
  let config = readConfig(file)
  let record = createRecord(config.decision_log, { clock, log, metrics })
  // In-flight checks of a configuration that was replaced write to the log that is open now.
  const currentRecord: Pick<RecordRoom, 'hasRoom' | 'record'> = {
    hasRoom: () => record.hasRoom(),
    record: (trail, reply) => record.record(trail, reply),
  }
  let engine = await createEngine(config, { clock, log, metrics, record: currentRecord })
  let configurationError: string | undefined
  metrics.configurationLoaded('ok')

  let stopping = false
  const readiness = () => {
    const issuers = engine.identify.status()
    const ready =
      !stopping &&
      issuers.some(({ keys }) => keys > 0) &&
      issuers.every(({ keys, required }) => keys > 0 || !required)
    const configuration = configurationError ?? null
    return { ready, detail: { ready, stopping, configuration, policy: engine.decide.status(), issuers } }
  }
  const listen = await createListen(config.listen, {
    check: (read, deadline) => engine.check(read, deadline),
    log,
    clock,
    metrics: metrics.page,
    readiness,
  })
  const health = setInterval(() => listen.serving(readiness().ready), READINESS_POLL_MS)
  listen.serving(readiness().ready)

  let reloading = Promise.resolve()
  const reload = () => {
    reloading = reloading.then(replaceConfiguration).catch((error: unknown) => {
      if (!(error instanceof Unusable)) throw error
      configurationError = 'the configuration file is not usable; the one before stays in force'
      metrics.configurationLoaded('error')
      log.error({ file }, `${error.message}\nthe configuration before stays in force`)
    })
    return reloading
  }
  watchFile(file, { interval: CONFIG_POLL_MS }, () => void reload())

  return {
    grpc: listen.grpc,
    admin: listen.admin,
    reload,
    reopen: () => record.reopen(),
    async stop() {
      stopping = true
      unwatchFile(file)
      clearInterval(health)
      await reloading
      await listen.drain()
      engine.close()
      await record.close(LOG_PATIENCE_MS)
    },
  }

  async function replaceConfiguration(): Promise<void> {
    const next = readConfig(file)
    const nextRecord = isDeepStrictEqual(next.decision_log, config.decision_log)
      ? record
      : createRecord(next.decision_log, { clock, log, metrics })
    const previous = { engine, record }
    engine = await createEngine(
      next,
      { clock, log, metrics, record: currentRecord },
      { config, ...engine },
    ).catch(async (error: unknown) => {
      if (nextRecord !== record) await nextRecord.close(LOG_PATIENCE_MS)
      throw error
    })
    record = nextRecord
    if (!isDeepStrictEqual(next.listen, config.listen))
      log.warn({ file }, 'listen has changed: this part needs a restart, all others are in force')
    config = next
    configurationError = undefined
    metrics.configurationLoaded('ok')
    log.info({ file }, 'the configuration was read again and is in force')
    previous.engine.identify.close()
    if (previous.engine.decide !== engine.decide) previous.engine.decide.close()
    if (previous.record !== record) await previous.record.close(LOG_PATIENCE_MS)
  }
}

export interface Engine {
  readonly check: Check
  readonly identify: IdentifyRoom
  readonly decide: DecideRoom
  close(): void
}

/** The rooms of one configuration. What a previous configuration has loaded and this one wants too is taken over. */
export async function createEngine(
  config: Config,
  deps: { clock: Clock; log: Log; metrics: Metrics; record: Pick<RecordRoom, 'hasRoom' | 'record'> },
  previous?: { config: Config; identify: IdentifyRoom; decide: DecideRoom },
): Promise<Engine> {
  const { clock, log, metrics, record } = deps
  const identify = createIdentify(config.issuers, {
    clock,
    log,
    events: metrics,
    ...(previous && { previous: previous.identify }),
  })
  const decide =
    previous && isDeepStrictEqual(previous.config.policy, config.policy)
      ? previous.decide
      : await createDecide(config.policy, { clock, log, events: metrics })
  await identify.start().catch((error: unknown) => {
    identify.close()
    if (decide !== previous?.decide) decide.close()
    throw error
  })
  const { mode, identity, authorization } = config
  const rooms = { identify: identify.identify, gather, decide: decide.decide, respond, record }
  return {
    check: createCheck(rooms, { mode, identity, authorization }, { clock, newId: randomUUID, log }),
    identify,
    decide,
    close() {
      identify.close()
      decide.close()
    },
  }
}
