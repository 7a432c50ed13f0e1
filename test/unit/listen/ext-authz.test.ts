import { EventEmitter } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { sendUnaryData } from '@grpc/grpc-js'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { extAuthz } from '../../../src/listen/ext-authz.ts'
import type { Check, Deadline, HeldRequest, Log, Reply } from '../../../src/types.ts'
import { type Answer, allowed, keptLog, REQUEST, read, refused } from './callers.ts'

const NOW = 1_790_000_000_000
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: NOW })
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

class Call extends EventEmitter {
  cancelled = false
  readonly request: Buffer
  readonly #deadline: Date | number

  constructor({ request = REQUEST, deadline = Number.POSITIVE_INFINITY as Date | number } = {}) {
    super()
    this.request = request
    this.#deadline = deadline
  }

  getDeadline() {
    return this.#deadline
  }

  cancel() {
    this.cancelled = true
    this.emit('cancelled', 'cancelled')
  }
}

interface Asked {
  /** Everything that was handed to gRPC. */
  readonly sent: { error: unknown; answer: Answer }[]
  readonly log: ReturnType<typeof keptLog>
  ended(): Promise<unknown>
}

function ask(check: unknown, { call = new Call(), checkTimeout = 150, log = keptLog() } = {}): Asked {
  const sent: Asked['sent'] = []
  const { service, ended } = extAuthz({ check: check as Check, checkTimeout, clock: Date.now, log })
  const done: sendUnaryData<Buffer> = (error, bytes) =>
    void sent.push({ error, answer: read(bytes as Buffer) })
  ;(service.Check as unknown as (call: Call, done: sendUnaryData<Buffer>) => void)(call, done)
  return { sent, log, ended }
}

const settled = () => vi.advanceTimersByTimeAsync(0)
const ofOurOwn = { code: 7, status: 500, metadata: { outcome: 'deny', reason: 'internal_error' } }
const tooLate = { code: 7, status: 503, metadata: { outcome: 'deny', reason: 'deadline' } }
const never = () => new Promise<Reply>(() => undefined)

describe('an answer of the check', () => {
  it.each<[string, Check, object]>([
    ['an allow', () => allowed, { code: 0 }],
    ['a refusal', () => refused(), { code: 7, status: 403 }],
    ['an allow that was waited for', async () => allowed, { code: 0 }],
    ['a refusal that was waited for', async () => refused(401), { code: 7, status: 401 }],
  ])('goes out as it is: %s', async (_, check, expected) => {
    const { sent, log } = ask(check)
    await settled()
    expect(sent).toMatchObject([{ error: null, answer: expected }])
    expect(log.lines).toEqual([])
  })

  it('goes out at once where nothing has to be waited for', () => {
    expect(ask(() => allowed).sent).toHaveLength(1)
  })
})

const secret = () => new Error('Bearer secret')
const untouchable = () =>
  new Proxy(() => undefined, {
    get: () => raise(secret()),
    getPrototypeOf: () => raise(secret()),
  })
function raise(error: unknown): never {
  throw error
}
/** What has a `then` of its own: a promise that breaks their rules, or no promise at all. */
function thenable(then: unknown, prototype: object = Promise.prototype): unknown {
  // biome-ignore lint/suspicious/noThenProperty: that is what is tested.
  return Object.create(prototype, { then: { value: then } })
}

describe('whatever else the check does', () => {
  const unanswerable: [string, unknown][] = [
    ['throws an error', () => raise(secret())],
    ['throws a refusal', () => raise(new Denied('policy_denied'))],
    ['throws a text', () => raise('Bearer secret')],
    ['throws nothing', () => raise(undefined)],
    ['throws what cannot be looked at', () => raise(untouchable())],
    ['rejects with an error', async () => raise(secret())],
    ['rejects with nothing', async () => raise(undefined)],
    ['rejects with what cannot be looked at', async () => raise(untouchable())],
    ['returns nothing', () => undefined],
    ['returns null', () => null],
    ['returns a number', () => 0],
    ['returns an empty object', () => ({})],
    ['returns an allow in name only', () => ({ kind: 'allow' })],
    ['returns an allow that lacks a list', () => ({ ...allowed, headersToRemove: undefined })],
    ['returns a refusal without a status', () => ({ ...refused(), status: undefined })],
    ['returns what cannot be looked at', untouchable],
    [
      'returns what is a promise in name only',
      () => thenable((answer: (reply: Reply) => void) => answer(allowed), Object.prototype),
    ],
    ['resolves to nothing', async () => undefined],
    ['resolves to an allow in name only', async () => ({ kind: 'allow' })],
    ['returns a promise that throws', () => thenable(() => raise(secret()))],
  ]
  it.each(unanswerable)(
    'the call is refused, and the fault told without its text: a check that %s',
    async (_, check) => {
      const { sent, log } = ask(check)
      await vi.advanceTimersByTimeAsync(1_000)
      expect(sent).toMatchObject([{ error: null, answer: ofOurOwn }])
      expect(log.lines.length).toBeLessThanOrEqual(1)
      expect(JSON.stringify(log.lines)).not.toMatch(/secret/)
      expect(vi.getTimerCount()).toBe(0)
    },
  )

  it('the fault is told by its type', () => {
    const { log } = ask(() => raise(new RangeError('Bearer secret')))
    expect(log.lines).toEqual([
      { level: 'error', fields: { error: 'RangeError' }, message: expect.stringMatching(/refused/) },
    ])
  })

  it('the first of several answers is the one', async () => {
    const both = thenable((answer: (reply: Reply) => void, failed: (error: unknown) => void) => {
      answer(refused())
      answer(allowed)
      failed(secret())
    })
    const { sent } = ask(() => both)
    await settled()
    expect(sent).toMatchObject([{ error: null, answer: { code: 7, status: 403 } }])
  })

  it.each<[string, unknown]>([
    ['throws', () => raise(secret())],
    ['rejects', async () => raise(secret())],
    ['returns garbage', () => ({})],
    ['never ends', never],
  ])('the call is refused where the log cannot be written either: a check that %s', async (_, check) => {
    const full = () => raise(new Error('ENOSPC'))
    const log: Log = { info: full, warn: full, error: full }
    const { sent } = ask(check, { log: { ...log, lines: [] } })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(sent).toMatchObject([{ error: null, answer: { code: 7 } }])
  })

  it('there is one answer, no gRPC error and no allow', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('returns', 'throws', 'resolves', 'rejects'),
        fc.anything(),
        async (how, what) => {
          const { sent } = ask(() => {
            if (how === 'throws') throw what
            if (how === 'returns') return what
            return how === 'resolves' ? Promise.resolve(what) : Promise.reject(what)
          })
          await settled()
          expect(sent).toMatchObject([{ error: null, answer: ofOurOwn }])
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('the deadline of a check', () => {
  it.each<[timeout: number, envoy: number, expected: number]>([
    [150, Number.POSITIVE_INFINITY, 150],
    [150, 200, 150],
    [150, 171, 150],
    [150, 169, 149],
    [150, 100, 80],
    [60_000, 200, 180],
    [150, 5, -15],
  ])(
    'with check_timeout %i ms and a grpc-timeout of %s ms is %i ms away',
    (checkTimeout, envoy, expected) => {
      const deadlines: number[] = []
      const check = (_: unknown, { at }: Deadline) => {
        deadlines.push(at - NOW)
        return allowed
      }
      ask(check, { checkTimeout, call: new Call({ deadline: NOW + envoy }) })
      if (Number.isFinite(envoy))
        ask(check, { checkTimeout, call: new Call({ deadline: new Date(NOW + envoy) }) })
      expect(new Set(deadlines)).toEqual(new Set([expected]))
    },
  )

  it('gives a signal that aborts then, and not before', async () => {
    const signal = signalOf(new Call({ deadline: NOW + 100 }))
    await vi.advanceTimersByTimeAsync(79)
    expect(signal.aborted).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(signal.reason).toEqual(new Denied('deadline'))
  })

  it('gives a signal that aborts when Envoy stops waiting', async () => {
    const call = new Call()
    const signal = signalOf(call)
    expect(signal.aborted).toBe(false)
    call.cancel()
    expect(signal.reason).toEqual(new Denied('cancelled'))
    await vi.advanceTimersByTimeAsync(1_000)
    expect(signal.reason).toEqual(new Denied('cancelled'))
  })

  it('gives a signal that is aborted already where Envoy has stopped waiting before', () => {
    const call = new Call()
    call.cancel()
    expect(signalOf(call).reason).toEqual(new Denied('cancelled'))
  })

  it('gives one signal, however often it is asked for', () => {
    const signals: AbortSignal[] = []
    ask((_: unknown, deadline: Deadline) => {
      signals.push(deadline.signal(), deadline.signal())
      return never()
    })
    expect(signals).toHaveLength(2)
    expect(signals[0]).toBe(signals[1])
  })

  it('makes no signal, and no timer for it, unless it is asked for', () => {
    const unused = new Call()
    ask(() => allowed, { call: unused })
    expect(unused.listenerCount('cancelled')).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    ask(never, { call: unused })
    expect(unused.listenerCount('cancelled')).toBe(0)
    expect(vi.getTimerCount()).toBe(1)
  })

  it('sets no timer in the past, of which Node would print a warning', () => {
    const set = vi.spyOn(globalThis, 'setTimeout')
    const check = (_: unknown, deadline: Deadline) => {
      deadline.signal()
      return never()
    }
    ask(check, { call: new Call({ deadline: NOW + 5 }) })
    expect(set.mock.calls.map(([, ms]) => ms)).toEqual([0])
  })

  it('leaves no timer behind an answer', async () => {
    for (const ends of [() => allowed, async () => allowed, async () => raise(secret())])
      ask((_: unknown, deadline: Deadline) => {
        deadline.signal()
        return ends()
      })
    await settled()
    expect(vi.getTimerCount()).toBe(0)
  })

  function signalOf(call: Call): AbortSignal {
    const signals: AbortSignal[] = []
    ask(
      (_: unknown, deadline: Deadline) => {
        signals.push(deadline.signal())
        return never()
      },
      { call },
    )
    return signals[0] as AbortSignal
  }
})

describe('a check that does not end', () => {
  it.each<[string, number, number]>([
    ['its own timeout', 150, Number.POSITIVE_INFINITY],
    ["Envoy's timeout", 60_000, NOW + 170],
  ])(
    'is answered for after its deadline by %s, and before Envoy gives up',
    async (_, checkTimeout, deadline) => {
      const { sent, log } = ask(never, { checkTimeout, call: new Call({ deadline }) })
      await vi.advanceTimersByTimeAsync(149)
      expect(sent).toEqual([])
      await vi.advanceTimersByTimeAsync(20)
      expect(sent).toMatchObject([
        { error: null, answer: { ...tooLate, headers: ['content-type', 'retry-after'] } },
      ])
      expect(JSON.parse(sent[0]?.answer.body as string)).toEqual({ error: 'deadline' })
      expect(log.lines).toMatchObject([
        { level: 'error', message: expect.stringMatching(/without a record/) },
      ])
      expect(vi.getTimerCount()).toBe(0)
    },
  )

  it('is answered for also where Envoy waits less than we keep in reserve', async () => {
    const { sent } = ask(never, { call: new Call({ deadline: NOW + 5 }) })
    await vi.advanceTimersByTimeAsync(1)
    expect(sent).toMatchObject([{ answer: tooLate }])
  })

  it('is not heard any more after that, though it allow', async () => {
    const late = Promise.withResolvers<Reply>()
    const { sent } = ask(() => late.promise)
    await vi.advanceTimersByTimeAsync(1_000)
    late.resolve(allowed)
    await settled()
    expect(sent).toMatchObject([{ answer: tooLate }])
  })

  it('may say so itself, with a record', async () => {
    const { sent, log } = ask(async (_: unknown, deadline: Deadline) => {
      await new Promise(resolve => deadline.signal().addEventListener('abort', resolve))
      return refused(503, (deadline.signal().reason as Denied).reason)
    })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(sent).toMatchObject([{ answer: { status: 503, headers: [], metadata: { reason: 'deadline' } } }])
    expect(log.lines).toEqual([])
  })

  it('may say so itself also where its own timer is late', async () => {
    const { sent, log } = ask(async (_: unknown, deadline: Deadline) => {
      vi.setSystemTime(NOW - 50)
      const signal = deadline.signal()
      vi.setSystemTime(NOW)
      await new Promise(resolve => signal.addEventListener('abort', resolve))
      return refused(503, (signal.reason as Denied).reason)
    })
    await vi.advanceTimersByTimeAsync(160)
    expect(sent).toMatchObject([{ answer: { status: 503, headers: [], metadata: { reason: 'deadline' } } }])
    expect(log.lines).toEqual([])
  })

  it('is answered for though Envoy has stopped waiting', async () => {
    const call = new Call()
    const { sent } = ask(never, { call })
    call.cancel()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(sent).toMatchObject([{ answer: tooLate }])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the end of all checks', () => {
  it('has come where none runs', async () => {
    await ask(() => allowed).ended()
    await ask(() => raise(secret())).ended()
    const { ended } = ask(async () => raise(secret()))
    await settled()
    await ended()
  })

  it.each<[string, (reply: PromiseWithResolvers<Reply>) => void]>([
    ['answered', reply => reply.resolve(allowed)],
    ['failed', reply => reply.reject(secret())],
  ])('has not come while one runs, though it was answered for, until it has %s', async (_, end) => {
    const reply = Promise.withResolvers<Reply>()
    const { sent, ended } = ask(() => reply.promise)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(sent).toHaveLength(1)
    const seen = vi.fn()
    const over = ended().then(seen)
    await settled()
    expect(seen).not.toHaveBeenCalled()
    end(reply)
    await over
  })
})

describe('a check that has ended', () => {
  it('is not kept', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const replies: WeakRef<Promise<Reply>>[] = []
    const { ended } = ask(() => {
      const reply = Promise.resolve(allowed)
      replies.push(new WeakRef(reply))
      return reply
    })
    await settled()
    await new Promise(setImmediate)
    collect()
    expect(replies.map(reply => reply.deref())).toEqual([undefined])
    await ended()
  })
})

describe('the request of a check', () => {
  const reading = (request: Buffer): unknown => {
    const seen: unknown[] = []
    ask(
      (read: () => HeldRequest) => {
        try {
          seen.push(read())
        } catch (error) {
          seen.push(error)
        }
        return refused()
      },
      { call: new Call({ request }) },
    )
    return seen[0]
  }

  it('is read when it is asked for', () => {
    expect(reading(REQUEST)).toMatchObject({ method: 'GET', path: '/' })
  })

  it.each<[string, Buffer, string]>([
    ['no protobuf', Buffer.from('GET / HTTP/1.1'), 'request_malformed'],
    ['cut', REQUEST.subarray(0, -1), 'request_malformed'],
    ['zeros', Buffer.alloc(4 * 1024 * 1024 + 1), 'request_malformed'],
  ])('is a refusal for the check to record where its bytes are %s', (_, request, reason) => {
    expect(reading(request)).toBeInstanceOf(Denied)
    expect(reading(request)).toMatchObject({ reason })
  })

  it('is not read where nobody asks, so that its fault is in no other answer', () => {
    const { sent } = ask(() => refused(), { call: new Call({ request: Buffer.from('garbage') }) })
    expect(sent).toMatchObject([{ answer: { status: 403 } }])
  })
})
