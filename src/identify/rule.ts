import type { JsonObject } from '../types.ts'
import type { IssuerSettings } from './settings.ts'

/** One thing that a token must satisfy, named so that a person can be told which one it does not. */
export interface Rule {
  readonly name: string
  /** Where it is written; `BCP 225` is RFC 8725 and its successor. */
  readonly section: string
  /** Throws a Denied. `part` is the header or the claims; `now` in seconds since the epoch. */
  readonly check: (part: JsonObject, issuer: IssuerSettings, now: number) => void
}
