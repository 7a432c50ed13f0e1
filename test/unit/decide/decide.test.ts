import { mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createDecide, type DecideRoom, policySettings } from '../../../src/decide/decide.ts'
import type { CallContext } from '../../../src/types.ts'
import { Unusable } from '../../../src/unusable.ts'
import { replaceFile } from '../replace-file.ts'
import { heldRequest, identity } from '../trail.ts'
import { compile, type Entries, pack, unpack } from './compile.ts'

let folder: string
let bundle: string
const open: DecideRoom[] = []

beforeEach(() => {
  // Only the looks at the file stand still; reading it keeps real time.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  folder = mkdtempSync(join(tmpdir(), 'agent-authz-decide-'))
  bundle = join(folder, 'bundle.tar.gz')
})
afterEach(() => {
  for (const room of open.splice(0)) room.close()
  vi.useRealTimers()
  rmSync(folder, { recursive: true, force: true })
})

const rego = (...rules: string[]) => ['package envoy.authz', 'import rego.v1', ...rules].join('\n\n')
const ALLOW = compile(rego('result := {"allowed": true}'), { revision: 'allow' })
const DENY = compile(rego('result := {"allowed": false, "reason": "not_today"}'), { revision: 'deny' })

interface Seen {
  readonly events: string[]
  readonly logs: [level: string, fields: object, message: string][]
  /** Resolves with the next event. */
  next(): Promise<string>
}

function watcher(): Seen & { deps: Parameters<typeof createDecide>[1] } {
  const events: string[] = []
  const logs: Seen['logs'] = []
  const waiting: ((event: string) => void)[] = []
  const saw = (event: string) => {
    events.push(event)
    const waiter = waiting.shift()
    // After the log line that follows an event.
    if (waiter) setImmediate(() => waiter(event))
  }
  const log = (level: string) => (fields: object, message: string) => void logs.push([level, fields, message])
  return {
    events,
    logs,
    next: () => new Promise(resolve => waiting.push(resolve)),
    deps: {
      clock: () => 1_790_000_000_000,
      log: { info: log('info'), warn: log('warn'), error: log('error') },
      events: {
        policyLoaded: at => saw(`loaded at ${at}`),
        policyFailed: () => saw('failed'),
        instanceReplaced: () => saw('replaced'),
      },
    },
  }
}

const LOADED = 'loaded at 1790000000000'

async function start(content: Buffer, more: object = {}) {
  replace(content)
  const { deps, ...seen } = watcher()
  const settings = policySettings.parse({ bundle, reasons: ['not_today'], ...more })
  const room = await createDecide(settings, deps)
  open.push(room)
  return { room, seen, settings, deps }
}
async function refusedStart(content: Buffer | Entries, more: object = {}): Promise<string> {
  const thrown = await start(Buffer.isBuffer(content) ? content : await pack(content), more).catch(
    error => error,
  )
  expect(thrown).toBeInstanceOf(Unusable)
  return thrown.message
}

const replace = (content: Buffer) => replaceFile(bundle, content)

/** What the next look at the file leads to. */
async function looked(seen: Seen): Promise<string> {
  const event = seen.next()
  vi.advanceTimersByTime(500)
  return event
}

const context = (parsedBody = 'null', changes: Partial<CallContext> = {}): CallContext => ({
  request: heldRequest(),
  identity,
  parsedPath: ['v1'],
  parsedQuery: {},
  parsedBody,
  truncatedBody: false,
  now: 1_790_000_000_000,
  ...changes,
})

describe('the settings of policy', () => {
  const parse = (more: object) => policySettings.safeParse({ bundle: 'b', ...more })

  it('have defaults', () => {
    expect(parse({}).data).toEqual({
      bundle: 'b',
      entrypoint: 'envoy/authz/result',
      reasons: [],
      input: { credentials: false },
    })
  })

  it.each([
    'Folder',
    'a-b',
    '',
    '1a',
    'a b',
    'a'.repeat(65),
    'token_expired',
    'policy_denied',
    'policy_allowed',
    'insufficient_scope',
  ])('do not take %j for a reason of policy', reason =>
    expect(parse({ reasons: [reason] }).success).toBe(false),
  )

  it.each([
    { bundle: '' },
    { entrypoint: '' },
    { entrypoint: '/envoy/authz' },
    { entrypoint: 'a//b' },
    { input: { secrets: true } },
    { compiler: 'opa' },
  ])('are not %j', more => expect(parse(more).success).toBe(false))
})

describe('a decision', () => {
  it('is what policy says of the call, with the policy that said it', async () => {
    const { room, seen } = await start(
      compile(
        rego('result := {"allowed": input.identity.agent == input.parsed_body.agent, "reason": "not_today"}'),
        {
          revision: 'r3',
        },
      ),
    )
    const policy = { entrypoint: 'envoy/authz/result', revision: 'r3' }
    expect(room.decide(context('{"agent": "mail-summary"}'))).toMatchObject({
      outcome: 'allow',
      reason: 'not_today',
      policy,
    })
    expect(room.decide(context('{"agent": "other"}'))).toMatchObject({
      outcome: 'deny',
      reason: 'not_today',
      policy,
    })
    expect(seen.events).toEqual([LOADED])
  })

  it('is a refusal where policy is undefined', async () => {
    const { room } = await start(compile(rego('result := true if input.identity')))
    expect(room.decide(context('null', { identity: undefined }))).toMatchObject({
      outcome: 'deny',
      reason: 'policy_undefined',
      status: 403,
    })
    expect(room.decide(context()).outcome).toBe('allow')
  })

  it('is a refusal where policy throws, and the next one is right', async () => {
    const { room, seen } = await start(
      compile(rego('result := true if input.parsed_body.a', 'result := false if input.parsed_body.b')),
    )
    for (let time = 0; time < 3; time++) {
      expect(room.decide(context('{"a": 1, "b": 1}'))).toEqual({
        outcome: 'deny',
        reason: 'policy_error',
        status: 500,
        headers: [],
        metadata: {},
        note: 'the policy threw',
        policy: { entrypoint: 'envoy/authz/result', revision: room.status().revision },
      })
      expect(room.decide(context('{"a": 1}')).outcome).toBe('allow')
      expect(room.decide(context('{"b": 1}'))).toMatchObject({ outcome: 'deny', reason: 'policy_denied' })
    }
    expect(seen.events).toEqual([LOADED, 'replaced', 'replaced', 'replaced'])
  })

  it('sees credentials only where the operator says so', async () => {
    const sees = compile(
      rego('result := "authorization" in object.keys(input.attributes.request.http.headers)'),
    )
    const request = heldRequest({
      attributes: { request: { http: { headers: { authorization: 'Bearer t' } } } },
    })
    const blind = await start(sees)
    expect(blind.room.decide(context('null', { request })).outcome).toBe('deny')
    const seeing = await start(sees, { input: { credentials: true } })
    expect(seeing.room.decide(context('null', { request })).outcome).toBe('allow')
  })

  it('is by the entry point of the settings', async () => {
    const both = compile(rego('result := false', 'open := true'), {
      entrypoints: ['envoy/authz/result', 'envoy/authz/open'],
    })
    const { room } = await start(both, { entrypoint: 'envoy/authz/open' })
    expect(room.decide(context())).toMatchObject({
      outcome: 'allow',
      policy: { entrypoint: 'envoy/authz/open' },
    })
  })
})

const bad: [name: string, said: string, content: () => Promise<Buffer>][] = [
  ['empty', 'damaged', async () => Buffer.alloc(0)],
  ['no bundle', 'damaged', async () => Buffer.from('no bundle at all')],
  ['cut short', 'damaged', async () => ALLOW.subarray(0, ALLOW.length >> 1)],
  ['without policy.wasm', 'opa build -t wasm', () => pack({ '/data.json': '{}' })],
  ['with a policy.wasm that is none', 'not WebAssembly', () => pack({ '/policy.wasm': 'x' })],
  [
    'without the entry point',
    'has no entry point envoy/authz/result, only envoy/authz/other',
    async () => compile(rego('other := true'), { entrypoints: ['envoy/authz/other'] }),
  ],
  [
    'in need of a builtin that is not there',
    'time.now_ns',
    async () => compile(rego('result := true if input.never == time.now_ns()')),
  ],
  [
    'not what its own canary expects',
    'the canary "nobody" does not get what it expects',
    async () =>
      compile(rego('result := {"allowed": true}'), {
        data: '{"_canary": [{"name": "nobody", "input": {"secret": 1}, "expect": {"allowed": false}}]}',
      }),
  ],
  [
    'with a canary of an entry point that it has not',
    'has no entry point a/b',
    async () =>
      compile(rego('result := true'), {
        data: '{"_canary": {"name": "x", "entrypoint": "a/b", "input": {}, "expect": true}}',
      }),
  ],
  [
    'with canaries that are none',
    '_canary',
    async () => compile(rego('result := true'), { data: '{"_canary": 1}' }),
  ],
  ['of broken data', 'data.json', async () => pack({ ...(await unpack(ALLOW)), '/data.json': '{' })],
]

describe('a bundle that cannot be used', () => {
  it.each(bad)('ends the start when it is %s', async (_, said, content) => {
    const message = await refusedStart(await content())
    expect(message).toContain(`policy.bundle: ${bundle} cannot be used: `)
    expect(message).toContain(said)
    expect(message).not.toMatch(/secret|\n/)
  })

  it.each(bad)('leaves the one before in force when it is %s', async (_, said, content) => {
    const { room, seen } = await start(ALLOW)
    const before = room.status()
    replace(await content())
    expect(await looked(seen)).toBe('failed')
    expect(room.decide(context())).toMatchObject({ outcome: 'allow', policy: { revision: 'allow' } })
    expect(room.status()).toEqual({ ...before, error: expect.stringContaining(said) })
    expect(seen.events).toEqual([LOADED, 'failed'])
    expect(seen.logs).toEqual([
      ['error', { file: bundle }, expect.stringContaining('the policy before stays in force')],
    ])
    replace(DENY)
    expect(await looked(seen)).toBe(LOADED)
    expect(room.decide(context())).toMatchObject({ outcome: 'deny', reason: 'not_today' })
    expect(room.status().error).toBeNull()
  })

  it('is told to be gone when the one that decides is back in its place', async () => {
    const { room, seen } = await start(ALLOW)
    replace(Buffer.from('garbage'))
    expect(await looked(seen)).toBe('failed')
    replace(ALLOW)
    vi.advanceTimersByTime(500)
    await vi.waitFor(() =>
      expect(seen.logs.at(-1)).toEqual([
        'info',
        { file: bundle, revision: 'allow' },
        'the bundle is again the one that decides',
      ]),
    )
    expect(room.status().error).toBeNull()
    expect(seen.events).toEqual([LOADED, 'failed'])
  })

  it('ends the start when it is not there', async () => {
    const settings = policySettings.parse({ bundle: join(folder, 'none') })
    await expect(createDecide(settings, watcher().deps)).rejects.toThrow('ENOENT')
  })

  it('leaves the one before in force when it was taken away', async () => {
    const { room, seen } = await start(ALLOW)
    unlinkSync(bundle)
    expect(await looked(seen)).toBe('failed')
    expect(room.decide(context()).outcome).toBe('allow')
  })
})

describe('canaries', () => {
  const cases = (expected: object, name = 'nobody') => {
    mkdirSync(join(folder, 'canaries'), { recursive: true })
    writeFileSync(join(folder, 'canaries/a.json'), JSON.stringify({ name, input: {}, expect: expected }))
    return { canaries: join(folder, 'canaries') }
  }

  it('of the operator are run beside those of the bundle', async () => {
    const own = compile(rego('result := {"allowed": true}'), {
      data: '{"_canary": {"name": "own", "input": {}, "expect": {"allowed": true}}}',
    })
    const { room } = await start(own, cases({ allowed: true }))
    expect(room.decide(context()).outcome).toBe('allow')
    expect(await refusedStart(own, cases({ allowed: false }, 'theirs'))).toContain('the canary "theirs"')
  })

  it('keep a bundle from being active, and are not counted', async () => {
    const { room, seen } = await start(ALLOW, cases({ allowed: true }))
    replace(
      compile(rego('result := {"allowed": true} if input.a', 'result := {"allowed": false}', 'result := 1')),
    )
    expect(await looked(seen)).toBe('failed')
    expect(seen.events).toEqual([LOADED, 'failed'])
    expect(room.status().error).toContain('the canary "nobody" ended in an error')
    expect(room.decide(context()).outcome).toBe('allow')
  })

  it('that cannot be read end the start, by their own name', async () => {
    expect(await refusedStart(ALLOW, { canaries: join(folder, 'none') })).toContain(
      'policy.canaries: cannot read',
    )
  })
})

describe('a bundle that is replaced', () => {
  it('decides from the next look on, and its status says so', async () => {
    const { room, seen } = await start(ALLOW)
    replace(DENY)
    expect(room.decide(context()).outcome).toBe('allow')
    expect(await looked(seen)).toBe(LOADED)
    expect(room.decide(context())).toMatchObject({ outcome: 'deny', policy: { revision: 'deny' } })
    expect(room.status()).toEqual({
      entrypoint: 'envoy/authz/result',
      revision: 'deny',
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      loaded_at: '2026-09-21T14:13:20.000Z',
      error: null,
    })
    expect(seen.logs).toEqual([['info', { file: bundle, revision: 'deny' }, 'a new policy decides']])
  })

  it('may be written in its place', async () => {
    const { room, seen } = await start(ALLOW)
    writeFileSync(bundle, DENY)
    expect(await looked(seen)).toBe(LOADED)
    expect(room.status().revision).toBe('deny')
  })

  it('is noticed though it was replaced while the first one was read', async () => {
    replace(ALLOW)
    const { deps, ...seen } = watcher()
    const starting = createDecide(policySettings.parse({ bundle }), deps)
    replace(DENY)
    const room = await starting
    open.push(room)
    expect(room.status().revision).toBe('allow')
    expect(await looked(seen)).toBe(LOADED)
    expect(room.status().revision).toBe('deny')
  })

  it('is watched by each room for itself: closing one does not blind another', async () => {
    const first = await start(ALLOW)
    const seen = watcher()
    const second = await createDecide(first.settings, seen.deps)
    open.push(second)
    first.room.close()
    replace(DENY)
    expect(await looked(seen)).toBe(LOADED)
    expect(second.status().revision).toBe('deny')
    expect(first.room.status().revision).toBe('allow')
    expect(first.seen.events).toEqual([LOADED])
  })

  it('by the same one is not counted, and mends what was wrong between', async () => {
    const { room, seen } = await start(ALLOW)
    unlinkSync(bundle)
    expect(await looked(seen)).toBe('failed')
    replace(ALLOW)
    vi.advanceTimersByTime(500)
    // The file is read before its turn ends.
    await new Promise(setImmediate)
    replace(DENY)
    expect(await looked(seen)).toBe(LOADED)
    expect(room.status()).toMatchObject({ revision: 'deny', error: null })
    expect(seen.events).toEqual([LOADED, 'failed', LOADED])
  })

  it('is not taken by a room that was closed meanwhile, which leaves no timer', async () => {
    const first = await start(ALLOW)
    const seen = watcher()
    const second = await createDecide(first.settings, seen.deps)
    replace(DENY)
    const event = looked(seen)
    first.room.close()
    expect(await event).toBe(LOADED)
    await new Promise(setImmediate)
    expect(first.room.status().revision).toBe('allow')
    expect(first.seen.events).toEqual([LOADED])
    second.close()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('brings data that the instance after a throw has too', async () => {
    const throws = (value: string) =>
      compile(
        rego(
          'result := {"allowed": data.open}',
          'result := {"allowed": false} if input.parsed_body.both',
          'result := 1 if input.parsed_body.both',
        ),
        {
          data: `{"open": ${value}}`,
        },
      )
    const { room, seen } = await start(throws('false'))
    expect(room.decide(context()).outcome).toBe('deny')
    replace(throws('true'))
    await looked(seen)
    expect(room.decide(context('{"both": true}'))).toMatchObject({ reason: 'policy_error' })
    expect(room.decide(context()).outcome).toBe('allow')
  })
})
