import { randomUUID } from 'node:crypto'
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
import { asUnusable } from './unusable.ts'
import { watchedFile } from './watched-file.ts'

export const VERSION = packageJson.version

/** How long the last lines of the decision log may take at the end. */
const LOG_PATIENCE_MS = 5_000
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

/**
 * The whole service by its configuration file. Unusable, with nothing left behind, when something local
 * cannot be loaded.
 */
export async function startService(file: string, log: Log): Promise<Service> {
  const clock = createClock()
  const metrics = createMetrics(VERSION)
  const watched = watchedFile(file)
  let config = readConfig(file)
  const { listen: listening } = config
  let record = createRecord(config.decision_log, { clock, log, metrics })
  /** Logs of configurations before, with lines that a slow disk has not taken yet. */
  const unwritten = new Set<RecordRoom>()
  metrics.pendingLogBytes(() => [record, ...unwritten].reduce((sum, each) => sum + each.pendingBytes(), 0))
  // In-flight checks of a configuration that was replaced write to the log that is open now.
  const currentRecord: Pick<RecordRoom, 'hasRoom' | 'record'> = {
    hasRoom: () => record.hasRoom(),
    record: (trail, reply) => record.record(trail, reply),
  }
  let engine = await createEngine(config, { clock, log, metrics, record: currentRecord }).catch(
    async (error: unknown) => {
      await record.close(0)
      throw error
    },
  )
  let configurationError: string | null = null
  metrics.configurationLoaded('ok')

  let ending: Promise<void> | undefined
  const readiness = () => {
    const stopping = ending !== undefined
    const issuers = engine.identify.status()
    const ready =
      !stopping &&
      issuers.some(({ keys }) => keys > 0) &&
      issuers.every(({ keys, required }) => keys > 0 || !required)
    const policy = engine.decide.status()
    return { ready, detail: { ready, stopping, configuration: configurationError, policy, issuers } }
  }
  const listen = await createListen(listening, {
    check: (read, deadline) => engine.check(read, deadline),
    log,
    clock,
    events: metrics,
    metrics: metrics.page,
    readiness,
  }).catch(async (error: unknown) => {
    engine.close()
    await record.close(0)
    throw error
  })
  const health = setInterval(() => listen.serving(readiness().ready), READINESS_POLL_MS)
  listen.serving(readiness().ready)

  let reloading = Promise.resolve()
  let asked: Promise<void> | undefined
  watched.onChange(() => void reload())
  return {
    grpc: listen.grpc,
    admin: listen.admin,
    reload,
    reopen() {
      for (const each of [record, ...unwritten]) each.reopen()
    },
    stop: () => {
      ending ??= stop()
      return ending
    },
  }

  /** Never rejects. However often it is asked, one reload runs and at most one waits for it. */
  function reload(): Promise<void> {
    asked ??= reloading.then(async () => {
      asked = undefined
      // A log that were opened now would not be waited for.
      if (ending === undefined) await replaceConfiguration().catch(refused)
    })
    reloading = asked
    return reloading
  }

  function refused(thrown: unknown): void {
    configurationError = 'the configuration file is not usable; the one before stays in force'
    metrics.configurationLoaded('error')
    log.error({ file }, `${asUnusable(thrown).message}\nthe configuration before stays in force`)
  }

  async function replaceConfiguration(): Promise<void> {
    watched.reading()
    const next = readConfig(file)
    for (const each of unwritten) if (each.pendingBytes() === 0) unwritten.delete(each)
    const nextRecord =
      [record, ...unwritten].find(each => each.resume(next.decision_log)) ??
      createRecord(next.decision_log, { clock, log, metrics })
    unwritten.delete(nextRecord)
    const previous = { engine, record }
    engine = await createEngine(
      next,
      { clock, log, metrics, record: currentRecord },
      { config, ...engine },
    ).catch((error: unknown) => {
      if (nextRecord !== record) retire(nextRecord)
      throw error
    })
    record = nextRecord
    record.onFull(next.decision_log)
    if (!isDeepStrictEqual(next.listen, listening))
      log.warn({ file }, 'listen has changed: this part needs a restart, all others are in force')
    for (const { name } of config.issuers)
      if (!next.issuers.some(issuer => issuer.name === name)) metrics.issuerRemoved(name)
    config = next
    configurationError = null
    metrics.configurationLoaded('ok')
    log.info({ file }, 'the configuration was read again and is in force')
    previous.engine.identify.close()
    if (previous.engine.decide !== engine.decide) previous.engine.decide.close()
    if (previous.record !== record) retire(previous.record)
  }

  /** Its last lines are written while the new one is in force: a slow disk holds up no reload. */
  function retire(old: RecordRoom): void {
    unwritten.add(old)
    void old.close(LOG_PATIENCE_MS).then(written => written && unwritten.delete(old))
  }

  async function stop(): Promise<void> {
    watched.close()
    clearInterval(health)
    listen.serving(false)
    await reloading
    try {
      await listen.drain()
    } finally {
      engine.close()
      await Promise.all([record, ...unwritten].map(each => each.close(LOG_PATIENCE_MS)))
    }
  }
}

export interface Engine {
  readonly check: Check
  readonly identify: IdentifyRoom
  readonly decide: DecideRoom
  close(): void
}

/** The rooms of one configuration. Takes over what the `previous` one has loaded and this one wants too. */
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
  let decide: DecideRoom | undefined
  try {
    decide =
      previous && isDeepStrictEqual(previous.config.policy, config.policy)
        ? previous.decide
        : await createDecide(config.policy, { clock, log, events: metrics })
    identify.start()
  } catch (error) {
    identify.close()
    if (decide !== previous?.decide) decide?.close()
    throw error
  }
  const { mode, identity, authorization } = config
  const rooms = { identify: identify.identify, gather, decide: decide.decide, respond, record }
  return {
    check: createCheck(
      rooms,
      { mode, identity, authorization, source: 'token' },
      { clock, newId: randomUUID, log },
    ),
    identify,
    decide,
    close() {
      identify.close()
      decide.close()
    },
  }
}
