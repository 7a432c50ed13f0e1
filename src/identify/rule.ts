import type { JsonObject } from '../types.ts'
import type { IssuerSettings } from './settings.ts'

/** One thing that a token must satisfy, named so that a person can be told which one it does not. */
export interface Named {
  readonly name: string
  /** Where it is written; `BCP 225` is RFC 8725 and its successor. */
  readonly section: string
}

export interface HeaderRule extends Named {
  /** Throws a Denied. */
  readonly check: (header: JsonObject, issuer: IssuerSettings) => void
}

export interface ClaimRule extends Named {
  /** Throws a Denied. `now` in seconds since the epoch. */
  readonly check: (claims: JsonObject, issuer: IssuerSettings, now: number) => void
}
