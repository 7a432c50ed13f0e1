import type {
  ServerUnaryCall,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { Denied } from '../denied.ts'
import type { Check, Clock, Deadline, Log, Reply } from '../types.ts'
import { decodeCheckRequest } from './wire/check-request.ts'
import { encodeCheckResponse } from './wire/check-response.ts'

export const AUTHORIZATION = 'envoy.service.auth.v3.Authorization'

/** Left of Envoy's own timeout for the way back: an answer that comes too late is Envoy's decision, not ours. */
const RESERVE_MS = 20

const asIs = (bytes: Buffer) => bytes

/** Bytes in and bytes out: what cannot be decoded is then ours to refuse, and not a gRPC error that Envoy may let through. */
export const definition: ServiceDefinition = {
  Check: {
    path: `/${AUTHORIZATION}/Check`,
    requestStream: false,
    responseStream: false,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
}

/** The bridge from gRPC to `check`: answers every call exactly once, and never with a gRPC error. */
export function extAuthz(deps: {
  check: Check
  checkTimeout: number
  clock: Clock
  log: Log
}): UntypedServiceImplementation {
  const { check, checkTimeout, clock, log } = deps
  const fault = (error: unknown) =>
    log.error(
      { error: error instanceof Error ? error.name : typeof error },
      'an answer could not be made; refused',
    )

  return {
    Check(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
      const deadline = deadlineOf(call, checkTimeout, clock)
      const answer = (reply: Reply) => {
        deadline.clear()
        done(null, encodeCheckResponse(reply, fault))
      }
      const failed = (error: unknown) => {
        fault(error)
        answer(undefined as unknown as Reply)
      }
      let reply: Reply | Promise<Reply>
      try {
        reply = check(() => decodeCheckRequest(call.request), deadline)
      } catch (error) {
        failed(error)
        return
      }
      if (reply instanceof Promise) reply.then(answer, failed)
      else answer(reply)
    },
  }
}

function deadlineOf(
  call: ServerUnaryCall<Buffer, Buffer>,
  checkTimeout: number,
  clock: Clock,
): Deadline & { clear(): void } {
  const at = Math.min(clock() + checkTimeout, Number(call.getDeadline()) - RESERVE_MS)
  let controller: AbortController | undefined
  let timer: NodeJS.Timeout | undefined
  return {
    at,
    signal() {
      if (!controller) {
        const made = new AbortController()
        controller = made
        timer = setTimeout(() => made.abort(new Denied('deadline')), at - clock())
        if (call.cancelled) made.abort(new Denied('cancelled'))
        else call.on('cancelled', () => made.abort(new Denied('cancelled')))
      }
      return controller.signal
    },
    clear: () => clearTimeout(timer),
  }
}
