import { Denied, refusal } from '../denied.ts'
import {
  type Allow,
  type Decision,
  type Deny,
  isObject,
  type Json,
  type JsonObject,
  type PolicyRef,
} from '../types.ts'
import {
  headerFields,
  headerNames,
  Malformed,
  metadata,
  optional,
  queryFields,
  text,
  texts,
} from './result.ts'

/** What a policy may ask for and this service does not do yet must not be taken for done. */
const OBLIGATIONS = ['approval', 'credential', 'limits'] as const
const LONGEST_NOTE = 256

/** The statuses that Envoy's own enumeration knows, and 418, 425 and 451. */
const STATUSES: ReadonlySet<number> = new Set([
  100,
  ...range(200, 208),
  226,
  ...range(300, 305),
  307,
  308,
  ...range(400, 418),
  ...range(421, 426),
  428,
  429,
  431,
  451,
  ...range(500, 508),
  510,
  511,
])

/**
 * The decision that a policy's result set amounts to. The only maker of an Allow: `[{result: true}]`, or an
 * object whose `allowed` is true and whose relevant keys are all well-formed. No result is
 * `policy_undefined`; anything else that is not clear is `policy_error`. Keys that do not bear on the outcome
 * are not looked at.
 */
export function verdict(resultSet: unknown, policy: PolicyRef, reasons: ReadonlySet<string>): Decision {
  try {
    if (!Array.isArray(resultSet)) throw new Malformed('no result set')
    if (resultSet.length === 0) return refusal(new Denied('policy_undefined'), policy)
    if (resultSet.length > 1 || !isObject(resultSet[0])) throw new Malformed('several results')
    const given = resultSet[0].result
    const result = typeof given === 'boolean' ? { allowed: given } : given
    if (!isObject(result)) throw new Malformed('neither a boolean nor an object')
    if (typeof result.allowed !== 'boolean') throw new Malformed('allowed is not a boolean')
    if (OBLIGATIONS.some(key => result[key] !== undefined))
      throw new Malformed('an obligation that is not known')
    return result.allowed ? allow(result, policy, reasons) : deny(result, policy, reasons)
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    return refusal(new Denied('policy_error', error.message), policy)
  }
}

function allow(result: JsonObject, policy: PolicyRef, reasons: ReadonlySet<string>): Allow {
  return {
    outcome: 'allow',
    ...reasonOf(result.reason, 'policy_allowed', reasons),
    headers: headerFields(result.headers, 'headers'),
    responseHeaders: headerFields(result.response_headers_to_add, 'response_headers_to_add'),
    requestHeadersToRemove: headerNames(result.request_headers_to_remove, 'request_headers_to_remove'),
    queryToSet: queryFields(result.query_parameters_to_set, 'query_parameters_to_set'),
    queryToRemove: optional(result.query_parameters_to_remove, [], value =>
      texts(value, 'query_parameters_to_remove'),
    ),
    metadata: metadataOf(result),
    policy,
  }
}

function deny(result: JsonObject, policy: PolicyRef, reasons: ReadonlySet<string>): Deny {
  const scope = challengeScope(result.challenge)
  const fallback = scope === undefined ? 'policy_denied' : 'insufficient_scope'
  return {
    outcome: 'deny',
    ...reasonOf(result.reason, fallback, reasons),
    status: optional(result.http_status, 403, status),
    headers: headerFields(result.headers, 'headers'),
    ...(result.body !== undefined && { body: text(result.body, 'body') }),
    ...(scope !== undefined && { challengeScope: scope }),
    metadata: metadataOf(result),
    policy,
  }
}

function reasonOf(value: Json | undefined, fallback: string, reasons: ReadonlySet<string>) {
  if (value === undefined) return { reason: fallback }
  const said = text(value, 'reason')
  return reasons.has(said) ? { reason: said } : { reason: fallback, note: shorten(said) }
}

/** At most 256 bytes, no character cut in two. */
function shorten(said: string): string {
  const { read } = new TextEncoder().encodeInto(said, new Uint8Array(LONGEST_NOTE))
  return said.slice(0, read)
}

function status(value: Json): number {
  if (typeof value !== 'number' || !STATUSES.has(value)) throw new Malformed('http_status')
  return value
}

/** RFC 6750, section 3: scope tokens, separated by single spaces. */
function challengeScope(value: Json | undefined): string | undefined {
  if (value === undefined) return undefined
  const scope = isObject(value) ? value.scope : undefined
  if (typeof scope !== 'string' || !/^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/.test(scope))
    throw new Malformed('challenge')
  return scope
}

function metadataOf(result: JsonObject): JsonObject {
  return optional(result.dynamic_metadata, {}, value => metadata(value, 'dynamic_metadata'))
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}
