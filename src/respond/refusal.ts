import { REASONS, type Reason } from '../denied.ts'
import type { Field } from '../types.ts'

const RETRY_AFTER_SECONDS = '1'

/** The body of a refusal on a plain route: the reason's code and where to find the rest, nothing internal. */
export function standardBody(reason: string, decisionId: string): string {
  return JSON.stringify({ error: reason, decision_id: decisionId })
}

/** RFC 9110 sections 6.4.1 and 9.3.2: these answers end with their headers. */
export function mayHaveBody(method: string | undefined, status: number): boolean {
  return method !== 'HEAD' && status >= 200 && status !== 204 && status !== 304
}

/**
 * The headers that a status calls for: RFC 6750 section 3 for 401 and for a 403 that more scope would mend,
 * RFC 9110 section 10.2.3 for 503. A request without a token gets the bare challenge, without an error code.
 */
export function statusHeaders(reason: string, status: number, scope: string | undefined): Field[] {
  if (status === 503) return [['retry-after', RETRY_AFTER_SECONDS]]
  if (status === 401) {
    // A 401 of policy's says nothing of the token, which was verified.
    const badToken = REASONS[reason as Reason] === 401 && reason !== 'token_missing'
    return [['www-authenticate', badToken ? 'Bearer error="invalid_token"' : 'Bearer']]
  }
  if (status === 403 && (scope !== undefined || reason === 'insufficient_scope')) {
    const wanted = scope === undefined ? '' : `, scope="${scope}"`
    return [['www-authenticate', `Bearer error="insufficient_scope"${wanted}`]]
  }
  return []
}
