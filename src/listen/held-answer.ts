import { type ServerInterceptingCall, type ServerInterceptor, status } from '@grpc/grpc-js'
import { Denied } from '../denied.ts'

/** What grpc-js itself ends a call with before its handler has heard of it, and what that is here. */
const REFUSED: { readonly [code: number]: Denied } = {
  [status.RESOURCE_EXHAUSTED]: new Denied('request_too_large', 'message over 64 MiB'),
  [status.INTERNAL]: new Denied('request_malformed', 'not a message of gRPC'),
  [status.UNIMPLEMENTED]: new Denied(
    'request_malformed',
    'not one whole message, or packed in an unknown way',
  ),
}

/** What grpc-js knows of a call, and its types do not name. */
interface Internals {
  readonly metadataSent: boolean
  /** Who is told of a message. */
  listener: unknown
  checkCancelled(): boolean
}

/**
 * Answers the calls of `path` that grpc-js would end with an error (a message that is too long or cannot be
 * unpacked) by a refusal, since Envoy may let an error through. `refuse` gives its bytes.
 */
export function heldAnswers(path: string, refuse: (denied: Denied) => Buffer): ServerInterceptor {
  return (method, call) => {
    // Not the wrapper that grpc-js has for interceptors: it would cost every check a little.
    const same = call as ServerInterceptingCall
    if (method.path !== path) return same
    const end = call.sendStatus.bind(call)
    const internals = call as unknown as Internals
    // Also what grpc-js calls on itself, which an interceptor around it would not see.
    call.sendStatus = ended => {
      const denied = REFUSED[ended.code]
      // Who has left gets no answer, and one that could not be written has its record already.
      if (!denied || internals.metadataSent || internals.checkCancelled()) return end(ended)
      // Whatever still comes, or else is wrong, such as that no message came, is answered by this.
      internals.listener = undefined
      call.sendStatus = () => undefined
      call.sendMessage(refuse(denied), () => end({ code: status.OK, details: '' }))
    }
    return same
  }
}
