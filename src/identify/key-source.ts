import { readFileSync } from 'node:fs'
import type { Clock, Log } from '../types.ts'
import { Unusable } from '../unusable.ts'
import { type WatchedFile, watchedFile } from '../watched-file.ts'
import { createKeyFetch, FetchFailed } from './key-fetch.ts'
import { readKeySet, type VerificationKey } from './keys.ts'
import type { IssuerSettings } from './settings.ts'

const REFRESH_MS = 5 * 60_000
const FIRST_RETRY_MS = 1_000
const LAST_RETRY_MS = 30_000
const UNKNOWN_KEY_PAUSE_MS = 10_000
/** After this long without a good answer, the last good keys serve no more. */
const OLDEST_MS = 24 * 60 * 60_000

/** What an operator counts. */
export interface KeyEvents {
  keysFetched(issuer: string, outcome: 'ok' | 'error'): void
  keysLoaded(issuer: string, count: number, at: number): void
}

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
  status(): { fetchedAt: number | undefined; error: string | null }
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
  let keys = new Map<string, VerificationKey>()
  let fetchedAt: number | undefined
  let error: string | null = null
  let running: Promise<void> | undefined
  let refetchedAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  let watched: WatchedFile | undefined
  let retry = FIRST_RETRY_MS
  let owners = 1
  let started = false

  const current = () =>
    fetchedAt !== undefined && (file !== undefined || clock() - fetchedAt < OLDEST_MS)
      ? keys
      : new Map<string, never>()

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
    status: () => ({ fetchedAt, error }),
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
      accept(await remote?.fetch())
      retry = FIRST_RETRY_MS
      next = REFRESH_MS * (0.9 + Math.random() * 0.2)
    } catch (failure) {
      if (owners === 0) return
      failed(failure instanceof FetchFailed ? failure.message : 'the keys cannot be read')
      next = retry
      retry = Math.min(retry * 2, LAST_RETRY_MS)
    }
    if (owners > 0) timer = setTimeout(() => void fetchNow(), next).unref()
  }

  /** A key that was there before stays the same object: tokens that it verified stay verified. */
  function accept(document: unknown): void {
    const read = readKeySet(document)
    if (!read) throw new FetchFailed('it is not a JWK Set')
    if (read.length === 0) throw new FetchFailed('there is no usable key in the JWK Set')
    keys = new Map(read.map(key => [key.text, keys.get(key.text) ?? key]))
    fetchedAt = clock()
    if (error !== null) log.info({ issuer: name, keys: keys.size }, 'the keys of an issuer are there again')
    error = null
    events.keysFetched(name, 'ok')
    events.keysLoaded(name, keys.size, fetchedAt)
  }

  function failed(phrase: string): void {
    if (error !== phrase)
      log.warn({ issuer: name, keys: keys.size }, `the keys of an issuer could not be read: ${phrase}`)
    error = phrase
    events.keysFetched(name, 'error')
    events.keysLoaded(name, current().size, fetchedAt ?? 0)
  }

  function load(path: string): void {
    try {
      accept(JSON.parse(readFileSync(path, 'utf8')))
    } catch (failure) {
      const { code, message } = failure as NodeJS.ErrnoException
      const what = failure instanceof FetchFailed ? message : code
      const why = failure instanceof SyntaxError ? 'it is not JSON' : what
      throw new Unusable(`issuer ${name}: cannot use jwks_file ${path} (${why})`)
    }
  }

  function reread(path: string): void {
    try {
      load(path)
    } catch (failure) {
      failed((failure as Error).message)
    }
  }
}
