import type {
  ServerUnaryCall,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { Denied, REASONS } from '../denied.ts'
import type { Check, Clock, Deadline, DenyReply, Log, Reply } from '../types.ts'
import { afterStalls } from './stall.ts'
import { decodeCheckRequest } from './wire/check-request.ts'
import { encodeCheckResponse, PREPARED_REFUSAL } from './wire/check-response.ts'

export const AUTHORIZATION = 'envoy.service.auth.v3.Authorization'
export const CHECK_PATH = `/${AUTHORIZATION}/Check`

/** Left of Envoy's own timeout for the way back: an answer that comes late is Envoy's decision, not ours. */
const RESERVE_MS = 20
/** How long past its deadline a check may take to say so itself, with a record, before it is answered for. */
const PATIENCE_MS = 10

const asIs = (bytes: Buffer) => bytes

/**
 * Bytes in and bytes out: what cannot be decoded is then ours to refuse, and not a gRPC error that Envoy may
 * let through.
 */
export const definition: ServiceDefinition = {
  Check: {
    path: CHECK_PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
}

const TOO_LATE: DenyReply = {
  kind: 'deny',
  status: REASONS.deadline,
  headers: [
    ['content-type', 'application/json'],
    ['retry-after', '1'],
  ],
  body: '{"error":"deadline"}',
  metadata: { outcome: 'deny', reason: 'deadline' },
}

type Call = Pick<ServerUnaryCall<Buffer, Buffer>, 'request' | 'getDeadline' | 'cancelled' | 'on'>

export interface ExtAuthz {
  readonly service: UntypedServiceImplementation
  /** The refusal of a call whose message could not be taken, with its record. */
  refuse(denied: Denied): Buffer
  /** When every check that was begun has ended, with its record; also those that were cut or answered for. */
  ended(): Promise<unknown>
}

/** The bridge from gRPC to `check`: answers every call exactly once, and never with a gRPC error. */
export function extAuthz(deps: { check: Check; checkTimeout: number; clock: Clock; log: Log }): ExtAuthz {
  const { check, checkTimeout, clock, log } = deps
  const running = new Set<Promise<Reply>>()
  const begin = afterStalls(clock)
  /** A log that cannot be written must not become a gRPC error, nor end the process from a timer. */
  const tell = (fields: () => object, message: string) => {
    try {
      log.error(fields(), message)
    } catch {}
  }
  const fault = (error: unknown) =>
    tell(
      () => ({ error: error instanceof Error ? error.name : typeof error }),
      'an answer could not be made; refused',
    )

  return {
    service: {
      Check: (call: Call, done: sendUnaryData<Buffer>) => begin(() => answerCall(call, done)),
    },
    refuse,
    ended: () => Promise.allSettled(running),
  }

  function refuse(denied: Denied): Buffer {
    const read = () => {
      throw denied
    }
    try {
      return encodeCheckResponse(check(read, UNHURRIED) as Reply, fault)
    } catch (error) {
      fault(error)
      return PREPARED_REFUSAL
    }
  }

  function answerCall(call: Call, done: sendUnaryData<Buffer>): void {
    const deadline = deadlineOf(call, checkTimeout, clock)
    let answered = false
    const send = (bytes: Buffer) => {
      if (answered) return
      answered = true
      deadline.clear()
      done(null, bytes)
    }
    const answer = (reply: Reply) => send(encodeCheckResponse(reply, fault))
    const failed = (error: unknown) => {
      fault(error)
      send(PREPARED_REFUSAL)
    }
    try {
      const reply = check(() => decodeCheckRequest(call.request), deadline)
      if (!(reply instanceof Promise)) {
        answer(reply)
        return
      }
      deadline.whenOver(() => {
        if (answered) return
        tell(() => ({}), 'a check did not end at its deadline; refused without a record')
        answer(TOO_LATE)
      })
      reply.then(answer, failed)
      const forget = () => running.delete(reply)
      running.add(reply)
      reply.then(forget, forget)
    } catch (error) {
      failed(error)
    }
  }
}

/** Of what is refused unread. */
const UNHURRIED: Deadline = {
  at: Number.POSITIVE_INFINITY,
  cancelled: () => false,
  signal: () => new AbortController().signal,
}

interface CallDeadline extends Deadline {
  /** Once, a little after the deadline, unless cleared. */
  whenOver(late: () => void): void
  clear(): void
}

function deadlineOf(call: Call, checkTimeout: number, clock: Clock): CallDeadline {
  const at = Math.min(clock() + checkTimeout, Number(call.getDeadline()) - RESERVE_MS)
  const timers: NodeJS.Timeout[] = []
  // Node prints a warning of a negative one, which a grpc-timeout under the reserve gives.
  const after = (ms: number, then: () => void) => timers.push(setTimeout(then, Math.max(0, ms)))
  let controller: AbortController | undefined
  return {
    at,
    cancelled: () => call.cancelled,
    signal() {
      if (!controller) {
        const made = new AbortController()
        controller = made
        const left = at - clock()
        // At once where it is over: a timer would come after that of `whenOver`, which leaves no record.
        if (left <= 0) made.abort(new Denied('deadline'))
        else after(left, () => made.abort(new Denied('deadline')))
        if (call.cancelled) made.abort(new Denied('cancelled'))
        else call.on('cancelled', () => made.abort(new Denied('cancelled')))
      }
      return controller.signal
    },
    whenOver(late) {
      after(at - clock() + PATIENCE_MS, () => {
        // The signal's own timer may come later: each counts from when the loop last looked at the time.
        controller?.abort(new Denied('deadline'))
        setImmediate(late)
      })
    },
    clear: () => timers.forEach(clearTimeout),
  }
}
