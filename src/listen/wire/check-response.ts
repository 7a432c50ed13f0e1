import type { AllowReply, DenyReply, Field, Reply } from '../../types.ts'
import { Reader } from './reader.ts'
import { message, struct, text, varint } from './writer.ts'

/** `google.rpc.Code`: Envoy allows on 0 and on nothing else. */
const OK = 0
const PERMISSION_DENIED = 7
const APPEND_IF_EXISTS_OR_ADD = 0
const OVERWRITE_IF_EXISTS_OR_ADD = 2

/** Field numbers of CheckResponse. */
const STATUS = 1
const DENIED_RESPONSE = 2
const OK_RESPONSE = 3
const DYNAMIC_METADATA = 4

const CODE = { allow: OK, deny: PERMISSION_DENIED } as const
const RESPONSE = { allow: OK_RESPONSE, deny: DENIED_RESPONSE } as const

/** What goes out when an answer of ours cannot be encoded. */
export const PREPARED_REFUSAL: Buffer = encodeDeny({
  kind: 'deny',
  status: 500,
  headers: [['content-type', 'application/json']],
  body: '{"error":"internal_error"}',
  metadata: { outcome: 'deny', reason: 'internal_error' },
})

/**
 * The bytes of a CheckResponse. Only a complete AllowReply gives code 0; whatever else comes in, malformed
 * answers included, gives a refusal: itself, or PREPARED_REFUSAL after `onFault` was told. Never
 * `error_response`, which Envoy lets through where `failure_mode_allow` is true.
 */
export function encodeCheckResponse(reply: Reply, onFault: (fault: unknown) => void): Buffer {
  try {
    const kind = reply.kind === 'allow' ? 'allow' : 'deny'
    const bytes = kind === 'allow' ? encodeAllow(reply as AllowReply) : encodeDeny(reply as DenyReply)
    assertAnswers(kind, bytes)
    return bytes
  } catch (fault) {
    onFault(fault)
    return PREPARED_REFUSAL
  }
}

function encodeAllow(reply: AllowReply): Buffer {
  return Buffer.concat([
    message(STATUS, varint(1, OK)),
    message(
      OK_RESPONSE,
      ...mutations(2, reply.headers),
      ...list(reply.headersToRemove).map(name => text(5, headerName(name))),
      ...list(reply.responseHeaders).map(header => headerOption(6, pair(header), true)),
      ...list(reply.queryToSet).map(field => {
        const [key, value] = pair(field)
        return message(7, text(1, key), text(2, value))
      }),
      ...list(reply.queryToRemove).map(name => text(8, name)),
    ),
    struct(DYNAMIC_METADATA, reply.metadata),
  ])
}

function encodeDeny(reply: DenyReply): Buffer {
  const { status } = reply
  if (!Number.isInteger(status) || status < 100 || status > 599) throw new RangeError('not an HTTP status')
  return Buffer.concat([
    message(STATUS, varint(1, PERMISSION_DENIED)),
    message(
      DENIED_RESPONSE,
      message(1, varint(1, status)),
      // Of a refusal Envoy sends the overwriting headers only, and every value of a repeated one.
      ...list(reply.headers).map(header => headerOption(2, pair(header), false)),
      text(3, reply.body),
    ),
    struct(DYNAMIC_METADATA, reply.metadata),
  ])
}

/** The first of a name overwrites whatever was there, its repetitions are added to it. */
function mutations(field: number, headers: readonly Field[]): Buffer[] {
  const seen = new Set<string>()
  return list(headers).map(header => {
    const [given, value] = pair(header)
    const name = headerName(given).toLowerCase()
    const again = seen.has(name)
    seen.add(name)
    return headerOption(field, [name, value], again)
  })
}

/**
 * `append` and `append_action` are both written, since Envoy's versions read one or the other and differ in
 * what neither means.
 */
function headerOption(field: number, [name, value]: Field, append: boolean): Buffer {
  return message(
    field,
    message(1, text(1, headerName(name)), text(2, headerValue(value))),
    message(2, varint(1, append ? 1 : 0)),
    varint(3, append ? APPEND_IF_EXISTS_OR_ADD : OVERWRITE_IF_EXISTS_OR_ADD),
  )
}

/** RFC 9110, section 5.6.2. */
function headerName(name: string): string {
  if (typeof name !== 'string' || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
    throw new RangeError('not a header name')
  return name
}

/** RFC 9110, section 5.5: no control character but the tab. */
function headerValue(value: string): string {
  if (typeof value !== 'string' || !value.isWellFormed() || /[^\t\x20-\x7e\x80-\u{10ffff}]/u.test(value))
    throw new RangeError('not a header value')
  return value
}

function list<T>(value: readonly T[]): readonly T[] {
  if (!Array.isArray(value)) throw new TypeError('not a list')
  return value
}

function pair(field: Field): Field {
  if (list(field).length !== 2) throw new TypeError('not a name with a value')
  return field
}

/**
 * The finished bytes, read once more as Envoy will: status first with its code, then the answer of that kind,
 * and nothing twice.
 */
function assertAnswers(kind: 'allow' | 'deny', bytes: Buffer): void {
  const reader = new Reader(bytes)
  const wanted = [STATUS, RESPONSE[kind], DYNAMIC_METADATA]
  for (const field of wanted) {
    if (reader.next()?.field !== field) throw new Error('an answer out of order')
    const part = reader.message()
    if (field === STATUS && (part.next()?.field !== 1 || part.varint() !== CODE[kind] || part.next()))
      throw new Error('an answer with the code of another')
  }
  if (reader.next()) throw new Error('an answer with something behind it')
}
