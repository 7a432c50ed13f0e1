import type { CallContext, HeldRequest, Identity } from '../types.ts'
import { parseBody } from './body.ts'
import { parsePath } from './path.ts'

/**
 * What policy is told beside the request itself. Refuses what cannot be parsed; judges nothing. `now` in
 * milliseconds.
 */
export function gather(request: HeldRequest, identity: Identity | undefined, now: number): CallContext {
  return { request, identity, ...parsePath(request.path), ...parseBody(request), now }
}
