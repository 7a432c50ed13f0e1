import { gzipSync } from 'node:zlib'
import { expect, it, vi } from 'vitest'
import { asDenied } from '../../../src/denied.ts'
import type { Check } from '../../../src/types.ts'
import { allowed, REQUEST, refused } from './callers.ts'
import { call, connection, frame, started } from './servers.ts'

/** Answers as the real check does: what cannot be read is refused by its reason. */
const judged: Check = request => {
  try {
    request()
    return allowed
  } catch (thrown) {
    return refused(400, asDenied(thrown).reason)
  }
}

it.each<[string, Buffer, Record<string, string>, string]>([
  ['a message over 64 MiB', frame(REQUEST, { length: 65 * 1024 * 1024 }), {}, 'request_too_large'],
  [
    'one that unpacks to over 64 MiB',
    frame(gzipSync(Buffer.alloc(65 * 1024 * 1024)), { packed: true }),
    { 'grpc-encoding': 'gzip' },
    'request_too_large',
  ],
  [
    'one that cannot be unpacked',
    frame(REQUEST, { packed: true }),
    { 'grpc-encoding': 'gzip' },
    'request_malformed',
  ],
  [
    'one packed in an unknown way',
    frame(REQUEST, { packed: true }),
    { 'grpc-encoding': 'zz' },
    'request_malformed',
  ],
  ['two messages in one call', Buffer.concat([frame(REQUEST), frame(REQUEST)]), {}, 'request_malformed'],
  ['no message', Buffer.alloc(0), {}, 'request_malformed'],
  ['a deadline that is none', frame(REQUEST), { 'grpc-timeout': 'soon' }, 'request_malformed'],
])(
  'what gRPC itself would end with an error is refused as anything else: %s',
  async (_, frames, headers, reason) => {
    const check = vi.fn(judged)
    const { address } = await started({}, check)
    const { status, answer } = await call(connection(`http://${address}`), frames, headers)
    expect(status).toBe('0')
    expect(answer).toMatchObject({ code: 7, status: 400, metadata: { reason } })
    expect(check).toHaveBeenCalledTimes(1)
  },
)
