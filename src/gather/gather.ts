import type { CallContext, HeldRequest, Identity } from '../types.ts'
import { parseBody } from './body.ts'
import { parsePath } from './path.ts'

/** What policy is told beside the request. Refuses what cannot be parsed, judges nothing. `now` is in ms. */
export function gather(request: HeldRequest, identity: Identity | undefined, now: number): CallContext {
  return { request, identity, ...parsePath(request.path), ...parseBody(request), now }
}
