import { isDeepStrictEqual } from 'node:util'
import type { Clock, Log } from '../../types.ts'
import { Unusable } from '../../unusable.ts'
import { type WatchedFile, watchedFile } from '../../watched-file.ts'
import type { IssuerSettings } from '../settings.ts'
import { createKeyFetch } from './key-fetch.ts'
import { readKeyFile } from './key-file.ts'
import { type Ignored, readKeySet, type VerificationKey } from './key-set.ts'
import { asUnreadable, type KeyFault, KeysUnreadable } from './keys-unreadable.ts'

/** For as long a key that the issuer has withdrawn may still be believed. */
const REFRESH_MS = 5 * 60_000
/** Doubled from failure to failure: soon after a short one, and no burden in a long one. */
const FIRST_RETRY_MS = 1_000
const LAST_RETRY_MS = 30_000
/** Whoever sends tokens causes no more fetches than this. */
const UNKNOWN_KEY_PAUSE_MS = 10_000
/** After this long without a good answer, the last good keys serve no more. */
const OLDEST_MS = 24 * 60 * 60_000

/** What an operator counts. */
export interface KeyEvents {
  keysFetched(issuer: string, outcome: 'ok' | KeyFault): void
  keysLoaded(issuer: string, count: number, at: number): void
  /** Of the keys that are published, those that are not used. */
  keysIgnored(issuer: string, count: number): void
}

type Counts = { [why in Ignored]?: number }

export interface KeySource {
  /** The keys that may be believed now; empty when there are none, or none that are young enough. */
  keys(): readonly VerificationKey[]
  /** Whether a key with this text is still among them. */
  has(text: string): boolean
  /**
   * A fetch for the sake of a token: the one that runs, or a new one where one is allowed; undefined within
   * the pause.
   */
  refetch(): Promise<void> | undefined
  status(): { readAt: number | undefined; error: string | null }
  /** Reads the file (Unusable when that fails), or begins to fetch without waiting. */
  start(): void
  /** One more owner; each closes once, the last one ends it. */
  retain(): KeySource
  close(): void
}

/**
 * The keys of one issuer, kept fresh in the background: every 5 minutes, after failures sooner. What cannot
 * be read leaves the last good keys, for at most 24 hours. Tokens with unknown keys cause at most one fetch
 * in 10 s, so that nobody can make us flood an issuer.
 */
export function createKeySource(
  issuer: IssuerSettings,
  { clock, log, events }: { clock: Clock; log: Log; events: KeyEvents },
): KeySource {
  const { name, jwks_file: file } = issuer
  const remote = file === undefined ? createKeyFetch(issuer) : undefined
  let keys: ReadonlyMap<string, VerificationKey> = new Map()
  let ignored: Counts = {}
  let readAt: number | undefined
  let error: string | null = null
  let running: Promise<void> | undefined
  let refetchedAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  let watched: WatchedFile | undefined
  let retry = FIRST_RETRY_MS
  let owners = 1
  let started = false

  const source: KeySource = {
    keys: () => [...current().values()],
    has: text => current().has(text),
    refetch() {
      if (running !== undefined) return running
      const since = clock() - refetchedAt
      // Negative: the clock was set back, which must not make the pause longer.
      if (!remote || (since >= 0 && since < UNKNOWN_KEY_PAUSE_MS)) return undefined
      refetchedAt = clock()
      return fetchNow()
    },
    status: () => ({ readAt, error }),
    start() {
      if (started) return
      started = true
      if (file === undefined) {
        void fetchNow()
        return
      }
      watched = watchedFile(file)
      load(file)
      watched.onChange(() => reread(file))
    },
    retain() {
      owners++
      return source
    },
    close() {
      if (--owners > 0) return
      clearTimeout(timer)
      watched?.close()
      remote?.close()
    },
  }
  return source

  function fetchNow(): Promise<void> {
    running ??= fetchOnce().finally(() => {
      running = undefined
    })
    return running
  }

  async function fetchOnce(): Promise<void> {
    clearTimeout(timer)
    let next: number
    try {
      const document = await remote?.fetch()
      if (owners === 0) return
      accept(document)
      retry = FIRST_RETRY_MS
      next = REFRESH_MS * (0.9 + Math.random() * 0.2)
    } catch (failure) {
      if (owners === 0) return
      failed(asUnreadable(failure))
      next = retry
      retry = Math.min(retry * 2, LAST_RETRY_MS)
    }
    timer = setTimeout(() => void fetchNow(), next).unref()
  }

  /** A key that was there before has the same text again: tokens that it verified stay verified. */
  function accept(document: unknown): void {
    const counts: Counts = {}
    const read = readKeySet(document, why => {
      counts[why] = (counts[why] ?? 0) + 1
    })
    tellIgnored(counts)
    if (read.length === 0) throw new KeysUnreadable('no_usable_key', 'there is no usable key in the JWK Set')
    keys = new Map(read.map(key => [key.text, key]))
    readAt = clock()
    if (error !== null) log.info({ issuer: name, keys: keys.size }, 'the keys of an issuer are there again')
    error = null
    events.keysFetched(name, 'ok')
    events.keysLoaded(name, keys.size, readAt)
  }

  function tellIgnored(counts: Counts): void {
    const count = Object.values(counts).reduce((sum, each) => sum + each, 0)
    events.keysIgnored(name, count)
    if (!isDeepStrictEqual(counts, ignored))
      log.info({ issuer: name, ignored: counts }, 'which published keys of an issuer are ignored has changed')
    ignored = counts
  }

  function failed({ fault, message, code }: KeysUnreadable): void {
    const held = current().size
    if (error !== message)
      log.warn(
        { issuer: name, keys: held, outcome: fault, code },
        `the keys of an issuer could not be read: ${message}`,
      )
    error = message
    events.keysFetched(name, fault)
    events.keysLoaded(name, held, readAt ?? 0)
  }

  /** A file that is still there says what it said; of an issuer that is not heard nobody knows. */
  function current(): ReadonlyMap<string, VerificationKey> {
    if (file !== undefined || readAt === undefined) return keys
    const now = clock()
    // The clock was set back: the day counts from there, or these keys would serve until it catches up.
    readAt = Math.min(readAt, now)
    if (keys.size > 0 && now - readAt >= OLDEST_MS) {
      keys = new Map()
      log.error({ issuer: name }, 'the last good keys of an issuer are a day old, and serve no more')
      events.keysLoaded(name, 0, readAt)
    }
    return keys
  }

  function load(path: string): void {
    try {
      accept(readKeyFile(path))
    } catch (failure) {
      const { message, code = message } = asUnreadable(failure)
      throw new Unusable(`issuer ${name}: cannot use jwks_file ${path} (${code})`)
    }
  }

  function reread(path: string): void {
    try {
      accept(readKeyFile(path))
    } catch (failure) {
      failed(asUnreadable(failure))
    }
  }
}
