import type { JsonObject } from '../../types.ts'
import type { ClaimRule } from '../rule.ts'

/** How one kind of issuer writes what all tokens say. What it does not name here is alike for all. */
export interface Profile {
  /** The claim that names the delegator. */
  readonly delegator: string
  /** The claims that may name the client; the first that is there counts. */
  readonly client: readonly string[]
  /** The claims that may hold the scopes, as text or as a list; the first that is there counts. */
  readonly scopes: readonly string[]
  /** The claims that may hold the id of the token; the first that is there counts. */
  readonly tokenId: readonly string[]
  /** Whether the client is the agent where there is no `act`; never inferred otherwise. */
  readonly clientActs: boolean
  /**
   * Whether a client got this token for itself, so that nobody delegates anything; true where that is not
   * certain. A token whose subject is its client is one for every profile.
   */
  readonly isClientsOwn: (claims: JsonObject) => boolean
  /** What its access tokens must satisfy beside the rules for all. */
  readonly rules: readonly ClaimRule[]
}
