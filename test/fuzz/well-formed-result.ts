/*
 * What a policy's result may be, as the contract with policies has it and as plainly as it goes: for an allow every key
 * that bears on it must be right, for a refusal every key that bears on that.
 */

type Result = { readonly [key: string]: unknown }

const TRUSTED = [
  ...['x-delegator-id', 'x-delegator-issuer', 'x-agent-id', 'x-agent-issuer', 'x-agent-chain'],
  'x-authz-decision-id',
]

/** What this result set amounts to; `undefined` where policy says nothing, `error` where it says nothing clear. */
export function meaning(resultSet: unknown): 'allow' | 'deny' | 'undefined' | 'error' {
  if (!Array.isArray(resultSet)) return 'error'
  if (resultSet.length === 0) return 'undefined'
  const [first, ...others] = resultSet as unknown[]
  if (others.length > 0 || !isObject(first)) return 'error'
  const { result } = first
  if (typeof result === 'boolean') return result ? 'allow' : 'deny'
  if (!isObject(result) || typeof result.allowed !== 'boolean') return 'error'
  const isRight = isRightForBoth(result) && (result.allowed ? isRightAllow(result) : isRightRefusal(result))
  return !isRight ? 'error' : result.allowed ? 'allow' : 'deny'
}

function isRightForBoth(result: Result): boolean {
  return (
    ['approval', 'credential', 'limits'].every(key => result[key] === undefined) &&
    absentOr(result.reason, isText) &&
    absentOr(result.headers, areHeaders) &&
    absentOr(result.dynamic_metadata, value => isObject(value) && isMetadata(value, 32))
  )
}

function isRightAllow(result: Result): boolean {
  return (
    absentOr(result.response_headers_to_add, areHeaders) &&
    absentOr(result.request_headers_to_remove, names => areTexts(names) && names.every(isHeaderName)) &&
    absentOr(result.query_parameters_to_set, areQueryParameters) &&
    absentOr(result.query_parameters_to_remove, areTexts)
  )
}

function isRightRefusal(result: Result): boolean {
  const { challenge, http_status: status, body } = result
  return (
    absentOr(status, isStatus) &&
    absentOr(body, isText) &&
    absentOr(challenge, value => isObject(value) && isScope(value.scope))
  )
}

/** Those of Envoy's enumeration, and three more. */
function isStatus(status: unknown): boolean {
  if (typeof status !== 'number' || !Number.isInteger(status)) return false
  const gaps = [306, 419, 420, 427, 430, 509]
  const [least, most] = { 1: [100, 100], 2: [200, 208], 3: [300, 308], 4: [400, 431], 5: [500, 511] }[
    Math.floor(status / 100)
  ] ?? [1, 0]
  const ranged = status >= (least as number) && status <= (most as number) && !gaps.includes(status)
  return ranged || [226, 451].includes(status)
}

/** RFC 6750, section 3: printable ASCII without quotation mark and backslash, single spaces between. */
function isScope(scope: unknown): boolean {
  return (
    typeof scope === 'string' &&
    scope.split(' ').every(word => /^[!-~]+$/.test(word) && !word.includes('"') && !word.includes('\\'))
  )
}

function areHeaders(value: unknown): boolean {
  const groups = Array.isArray(value) ? value : [value]
  return groups.every(
    group =>
      isObject(group) &&
      Object.entries(group).every(
        ([name, given]) => valuesOf(given)?.every(one => isHeaderValue(one) && isHeaderName(name)) ?? false,
      ),
  )
}

function areQueryParameters(value: unknown): boolean {
  return (
    isObject(value) &&
    Object.entries(value).every(
      ([name, given]) =>
        valuesOf(given)?.every(
          one => /^[!-~]*$/.test(name + one) && !/[&#]/.test(name + one) && !name.includes('='),
        ) ?? false,
    )
  )
}

/** Every value of a name; undefined where one is no text. */
function valuesOf(given: unknown): string[] | undefined {
  const values = Array.isArray(given) ? given : [given]
  return areTexts(values) ? values : undefined
}

/** A token of RFC 9110, none that an upstream could take for one of ours, nor what Envoy routes by. */
export function isHeaderName(name: string): boolean {
  const plain = name.toLowerCase()
  return (
    /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) &&
    plain !== 'host' &&
    !TRUSTED.includes(plain.replace(/[^a-z0-9]/g, '-'))
  )
}

function isHeaderValue(value: string): boolean {
  return [...value].every(character => character === '\t' || (character >= ' ' && character !== '\x7f'))
}

function isMetadata(value: unknown, levels: number): boolean {
  if (typeof value === 'string') return value.isWellFormed()
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || value === null) return true
  if (levels === 0) return false
  return Object.entries(value).every(([name, inner]) => name.isWellFormed() && isMetadata(inner, levels - 1))
}

function isObject(value: unknown): value is Result {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.isWellFormed()
}

function areTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText)
}

function absentOr(value: unknown, isRight: (value: unknown) => boolean): boolean {
  return value === undefined || isRight(value)
}
