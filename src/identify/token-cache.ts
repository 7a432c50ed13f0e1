import { hash } from 'node:crypto'
import type { Clock, Identity } from '../types.ts'
import type { KeySource } from './key-source.ts'

const MOST_SEEN_ONCE = 2_000
const MOST_SEEN_AGAIN = 8_000

interface Entry {
  readonly identity: Identity
  readonly source: KeySource
  /** Of the key that verified it. */
  readonly keyText: string
}

export interface TokenCache {
  /**
   * The identity of a token that was verified before, is not past its `exp`, and whose key the issuer still
   * has.
   */
  get(token: string): Identity | undefined
  set(token: string, entry: Entry): void
}

/**
 * Verified tokens by a digest of their whole text, bounded, oldest out first. Those that came again have a
 * place of their own, which no number of tokens that come once can take. Failures are not kept.
 */
export function createTokenCache(clock: Clock): TokenCache {
  const once = new Map<string, Entry & { readonly verifiedAt: number }>()
  const again: typeof once = new Map()
  return {
    get(token) {
      const id = digest(token)
      const entry = again.get(id) ?? once.get(id)
      if (!entry) return undefined
      const now = clock()
      // Before its verification: the clock was set back, and `nbf` may be ahead again.
      const valid = now >= entry.verifiedAt && now < entry.identity.expiresAt * 1000
      if (valid && entry.source.has(entry.keyText)) {
        if (once.delete(id)) put(again, MOST_SEEN_AGAIN, id, entry)
        return entry.identity
      }
      once.delete(id)
      again.delete(id)
      return undefined
    },
    set(token, entry) {
      const id = digest(token)
      again.delete(id)
      put(once, MOST_SEEN_ONCE, id, { ...entry, verifiedAt: clock() })
    },
  }
}

function put<Kept>(entries: Map<string, Kept>, most: number, id: string, entry: Kept): void {
  if (entries.size >= most) entries.delete(entries.keys().next().value as string)
  entries.set(id, entry)
}

/** A digest is cheaper than the token as a key, and keeps no token in memory. */
function digest(token: string): string {
  return hash('sha256', token, 'base64')
}
