/** How reading an issuer's keys can fail; a closed set, for a metric. */
export type KeyFault =
  | 'unreachable'
  | 'timeout'
  | 'certificate'
  | 'status'
  | 'too_large'
  | 'malformed'
  | 'wrong_issuer'
  | 'no_usable_key'

/**
 * Keys that could not be read. The message is a constant phrase, for the log and `/readyz`; `code` names the
 * system's error where there is one, such as ECONNREFUSED.
 */
export class KeysUnreadable extends Error {
  override readonly name = 'KeysUnreadable'
  readonly fault: KeyFault
  readonly code: string | undefined

  constructor(fault: KeyFault, phrase: string, code?: string) {
    super(phrase)
    this.fault = fault
    this.code = code
  }
}

/** A fault of ours in reading an answer counts as one of the answer. */
export function asUnreadable(thrown: unknown): KeysUnreadable {
  return thrown instanceof KeysUnreadable
    ? thrown
    : new KeysUnreadable('malformed', 'it cannot be understood')
}
