import { afterEach, beforeEach, vi } from 'vitest'
import { Denied } from '../../../../src/denied.ts'
import { createMetrics } from '../../../../src/record/record.ts'
import type { Deadline } from '../../../../src/types.ts'
import { type Server, startRoom, until } from '../issuer.ts'

/** What an operator sees of the keys of one issuer. */
export interface Scrape {
  /** How many attempts to read them ended in which way. */
  readonly fetches: { readonly [outcome: string]: number }
  readonly keys: number | undefined
  readonly ignored: number | undefined
  /** When they were last read, in seconds. */
  readonly loaded: number | undefined
  readonly unknown: number | undefined
}

export type KeyRoom = ReturnType<typeof startRoom> & {
  /** From the page that Prometheus reads. */
  scrape(issuer?: string): Promise<Scrape>
  /** Waits until this many attempts to read keys have ended, and scrapes. */
  fetched(times?: number): Promise<Scrape>
}

/**
 * Rooms that are closed after each test, each with metrics of its own. Only the timers between fetches stand
 * still; sockets and limits keep real time.
 */
export function keyRooms() {
  const open: { close(): unknown }[] = []
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    vi.spyOn(Math, 'random').mockReturnValue(0.5)
  })
  afterEach(async () => {
    vi.useRealTimers()
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
    for (const each of open.splice(0)) await each.close()
  })

  function make(issuers: readonly object[], options: Parameters<typeof startRoom>[1] = {}): KeyRoom {
    const metrics = createMetrics('0')
    const made = startRoom(issuers, { ...options, metrics })
    const scrape = async (issuer = 'corp') => scraped((await metrics.page()).text, issuer)
    const ended = () => made.seen.events.filter(event => event.startsWith('fetched')).length
    return {
      ...made,
      scrape,
      async fetched(times = 1) {
        await until(`fetch ${times}`, () => ended() >= times)
        return scrape()
      },
    }
  }

  return {
    /** To be closed after the test. */
    keep<Kept extends { close(): unknown }>(kept: Kept): Kept {
      open.push(kept)
      return kept
    },
    /** Closed already by the test itself. */
    forget(closed: { close(): unknown }): void {
      open.splice(open.indexOf(closed), 1)
    },
    make,
    started(...args: Parameters<typeof make>): KeyRoom {
      const made = make(...args)
      open.push(made.room)
      made.room.start()
      return made
    },
  }
}

/** Until keys that were read are read again; no time is left for more. */
export async function refresh(): Promise<void> {
  await vi.advanceTimersByTimeAsync(300_000)
}

/** What was asked for up to now: a request that was sent before this one has arrived when this one is answered. */
export async function asked(server: Server): Promise<string[]> {
  await fetch(`${server.url}/marker`)
  return server.asked.filter(path => path !== '/marker')
}

/** A deadline that a test lets pass. */
export function deadline(): Deadline & { pass(reason?: 'deadline' | 'cancelled'): void; waiting: boolean } {
  const controller = new AbortController()
  const made = {
    at: Number.POSITIVE_INFINITY,
    waiting: false,
    cancelled: () => controller.signal.aborted,
    signal: () => {
      made.waiting = true
      return controller.signal
    },
    pass: (reason: 'deadline' | 'cancelled' = 'deadline') => controller.abort(new Denied(reason)),
  }
  return made
}

function scraped(page: string, issuer: string): Scrape {
  const samples = new Map(
    [...page.matchAll(/^(agent_authz_\w+)\{issuer="([^"]+)"(?:,outcome="(\w+)")?\} (\S+)$/gm)]
      .filter(([, , of]) => of === issuer)
      .map(([, name, , outcome = '', value]) => [`${name} ${outcome}`, Number(value)]),
  )
  const counted = 'agent_authz_key_fetches_total '
  const sample = (name: string) => samples.get(`${name} `)
  return {
    fetches: Object.fromEntries(
      [...samples]
        .filter(([name]) => name.startsWith(counted))
        .map(([name, value]) => [name.slice(counted.length), value]),
    ),
    keys: sample('agent_authz_keys'),
    ignored: sample('agent_authz_keys_ignored'),
    loaded: sample('agent_authz_keys_loaded_timestamp_seconds'),
    unknown: sample('agent_authz_unknown_keys_total'),
  }
}
