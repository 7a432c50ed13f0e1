import { hash } from 'node:crypto'
import type { Clock, Identity } from '../types.ts'
import type { KeySource } from './key-source.ts'

const MOST_TOKENS = 10_000

interface Entry {
  readonly identity: Identity
  readonly source: KeySource
  /** The text of the key that verified it. */
  readonly key: string
}

export interface TokenCache {
  /**
   * The identity of a token that was verified before, is not past its `exp`, and whose key the issuer still
   * has.
   */
  get(token: string): Identity | undefined
  set(token: string, entry: Entry): void
}

/** Verified tokens by a digest of their whole text, bounded, oldest out first. Failures are not kept. */
export function createTokenCache(clock: Clock): TokenCache {
  const entries = new Map<string, Entry>()
  return {
    get(token) {
      const id = digest(token)
      const entry = entries.get(id)
      if (!entry) return undefined
      if (clock() < entry.identity.expiresAt * 1000 && entry.source.has(entry.key)) return entry.identity
      entries.delete(id)
      return undefined
    },
    set(token, entry) {
      if (entries.size >= MOST_TOKENS) entries.delete(entries.keys().next().value as string)
      entries.set(digest(token), entry)
    },
  }
}

/** A digest is cheaper than the token as a key, and keeps no token in memory. */
function digest(token: string): string {
  return hash('sha256', token, 'base64')
}
