import type { AllowReply, DenyReply, Field, Reply } from '../../types.ts'
import { message, struct, text, varint } from './writer.ts'

/** `google.rpc.Code.PERMISSION_DENIED`: Envoy allows on 0 and on nothing else. */
const DENIED = 7
const OVERWRITE_IF_EXISTS_OR_ADD = 2

const ALLOW_STATUS = message(1)
const DENY_STATUS = message(1, varint(1, DENIED))

/** What goes out when an answer of ours cannot be encoded. */
export const PREPARED_REFUSAL: Buffer = encodeDeny({
  kind: 'deny',
  status: 500,
  headers: [['content-type', 'application/json']],
  body: '{"error":"internal_error"}',
  metadata: { outcome: 'deny', reason: 'internal_error' },
})

/**
 * The bytes of a CheckResponse. Only a complete AllowReply gives code 0; whatever else comes in, malformed answers included,
 * gives a refusal: itself, or PREPARED_REFUSAL after `onFault` was told.
 */
export function encodeCheckResponse(reply: Reply, onFault: (fault: unknown) => void): Buffer {
  try {
    if (reply.kind === 'allow') return encodeAllow(reply)
    const refusal = encodeDeny(reply)
    // Looked at once more as bytes: were the status not the first field, Envoy could read a 0.
    if (refusal.subarray(0, DENY_STATUS.length).equals(DENY_STATUS)) return refusal
    onFault(new Error('a refusal that does not begin as one'))
  } catch (fault) {
    onFault(fault)
  }
  return PREPARED_REFUSAL
}

function encodeAllow(reply: AllowReply): Buffer {
  const ok = [
    ...headerOptions(2, reply.headers),
    ...reply.headersToRemove.map(name => text(5, headerName(name))),
    ...reply.responseHeaders.map(field => message(6, headerValue(field))),
    ...reply.queryToSet.map(([key, value]) => message(7, text(1, key), text(2, value))),
    ...reply.queryToRemove.map(name => text(8, name)),
  ]
  return Buffer.concat([ALLOW_STATUS, message(3, ...ok), struct(4, reply.metadata)])
}

function encodeDeny(reply: DenyReply): Buffer {
  if (!Number.isInteger(reply.status) || reply.status < 100 || reply.status > 599)
    throw new RangeError('not an HTTP status')
  const denied = [
    message(1, varint(1, reply.status)),
    ...headerOptions(2, reply.headers),
    ...(reply.body === '' ? [] : [text(3, reply.body)]),
  ]
  return Buffer.concat([DENY_STATUS, message(2, ...denied), struct(4, reply.metadata)])
}

/**
 * `append` and `append_action` are both set, since Envoy's versions read one or the other and differ in what neither means: the
 * first of a name overwrites whatever the client sent, its repetitions are added to it.
 */
function headerOptions(field: number, headers: readonly Field[]): Buffer[] {
  const seen = new Set<string>()
  return headers.map(header => {
    const again = seen.has(header[0])
    seen.add(header[0])
    const append = again ? message(2, varint(1, 1)) : message(2)
    const action = again ? [] : [varint(3, OVERWRITE_IF_EXISTS_OR_ADD)]
    return message(field, headerValue(header), append, ...action)
  })
}

function headerValue([name, value]: Field): Buffer {
  if (!/^[\t\x20-\x7e\x80-\u{10ffff}]*$/u.test(value)) throw new RangeError('a control character in a header')
  return message(1, text(1, headerName(name)), text(2, value))
}

/** RFC 9110, section 5.6.2. */
function headerName(name: string): string {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) throw new RangeError('not a header name')
  return name
}
