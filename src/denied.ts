import type { Deny, Parties, PolicyRef } from './types.ts'

/**
 * Every reason of ours to refuse, and the HTTP status it is answered with. Closed: metric labels, README and
 * the challenge are derived from it. Policies add their own codes by `policy.reasons`, always with status
 * 403.
 */
export const REASONS = {
  request_malformed: 400,
  request_too_large: 400,
  authorization_repeated: 400,
  path_invalid: 400,
  body_invalid: 400,

  token_missing: 401,
  token_malformed: 401,
  token_too_large: 401,
  token_algorithm: 401,
  token_type: 401,
  token_critical_header: 401,
  token_unverified: 401,
  issuer_unknown: 401,
  key_unknown: 401,
  key_ambiguous: 401,
  signature_invalid: 401,
  token_expired: 401,
  token_not_yet_valid: 401,
  token_lifetime: 401,
  audience_mismatch: 401,
  claim_invalid: 401,
  claim_missing: 401,
  client_not_allowed: 401,
  sender_constrained: 401,
  actor_invalid: 401,
  actor_is_delegator: 401,
  actor_chain_too_deep: 401,
  agent_missing: 401,
  delegator_missing: 401,
  header_too_large: 401,

  policy_denied: 403,
  policy_undefined: 403,
  insufficient_scope: 403,

  policy_error: 500,
  route_invalid: 500,
  internal_error: 500,

  keys_unavailable: 503,
  overloaded: 503,
  deadline: 503,
  cancelled: 503,
  log_full: 503,
} as const satisfies Record<string, 400 | 401 | 403 | 500 | 503>

export type Reason = keyof typeof REASONS

interface Options extends ErrorOptions {
  readonly parties?: Parties
}

/**
 * A refusal. The message is the reason alone; `detail` is a constant phrase or a configured name for the log,
 * never a value from the request; `parties` says whose token was refused, where it is certain that its issuer
 * wrote it.
 */
export class Denied extends Error {
  override readonly name = 'Denied'
  readonly reason: Reason
  readonly detail: string | undefined
  readonly parties: Parties | undefined

  constructor(reason: Reason, detail?: string, { parties, ...options }: Options = {}) {
    super(reason, options)
    this.reason = reason
    this.detail = detail
    this.parties = parties
  }
}

/**
 * The one converter of whatever was thrown. What is not a Denied is our own failure, its text kept only as
 * `cause`.
 */
export function asDenied(thrown: unknown): Denied {
  return thrown instanceof Denied ? thrown : new Denied('internal_error', undefined, { cause: thrown })
}

/** The decision that a refusal of ours amounts to. */
export function refusal(denied: Denied, policy?: PolicyRef): Deny {
  return {
    outcome: 'deny',
    reason: denied.reason,
    status: REASONS[denied.reason],
    headers: [],
    metadata: {},
    ...(denied.detail !== undefined && { note: denied.detail }),
    ...(policy && { policy }),
  }
}
