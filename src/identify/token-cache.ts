import { hash } from 'node:crypto'
import type { Clock, Identity } from '../types.ts'
import type { KeySource } from './keys/key-source.ts'

/** Tokens, and their characters: an identity takes up to seven times as much as the longest of them. */
const SEEN_ONCE = { most: 2_000, characters: 2 * 1024 * 1024 }
const SEEN_AGAIN = { most: 8_000, characters: 8 * 1024 * 1024 }

interface Entry {
  readonly identity: Identity
  readonly source: KeySource
  /** Of the key that verified it. */
  readonly keyText: string
}

interface Kept extends Entry {
  readonly characters: number
  readonly verifiedAt: number
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
  const once = shelf(SEEN_ONCE)
  const again = shelf(SEEN_AGAIN)
  return {
    get(token) {
      const id = digest(token)
      const entry = again.get(id) ?? once.get(id)
      if (!entry) return undefined
      const now = clock()
      // Before its verification: the clock was set back, and `nbf` may be ahead again.
      const valid = now >= entry.verifiedAt && now < entry.identity.expiresAt * 1000
      if (valid && entry.source.has(entry.keyText)) {
        if (once.take(id)) again.put(id, entry)
        return entry.identity
      }
      once.take(id)
      again.take(id)
      return undefined
    },
    set(token, entry) {
      const id = digest(token)
      once.take(id)
      again.take(id)
      once.put(id, { ...entry, characters: token.length, verifiedAt: clock() })
    },
  }
}

/** Entries in the order in which they came, within bounds. */
function shelf(bounds: { readonly most: number; readonly characters: number }) {
  const entries = new Map<string, Kept>()
  let characters = 0

  function take(id: string): boolean {
    characters -= entries.get(id)?.characters ?? 0
    return entries.delete(id)
  }

  return {
    get: (id: string) => entries.get(id),
    take,
    put(id: string, entry: Kept): void {
      entries.set(id, entry)
      characters += entry.characters
      while (entries.size > bounds.most || characters > bounds.characters)
        take(entries.keys().next().value as string)
    },
  }
}

/** A digest is cheaper than the token as a key, and keeps no token in memory. */
function digest(token: string): string {
  return hash('sha256', token, 'base64')
}
