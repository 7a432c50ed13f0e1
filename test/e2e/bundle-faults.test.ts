import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../deploy/demo/processes.ts'
import { ROOT, reading } from '../unit/configured.ts'
import { compile, type Entries, pack, unpack } from '../unit/decide/compile.ts'
import { encodeHttp } from '../unit/listen/wire/oracle.ts'
import { replaceFile } from '../unit/replace-file.ts'
import { type Held, startHeld, together } from './held.ts'

/** Two cores are few. */
const STARTS_AT_ONCE = 3
const ALLOW = 'package envoy.authz\n\nresult := {"allowed": true}\n'
const ASKING =
  'package envoy.authz\n\nresult := true if http.send({"method": "get", "url": "http://127.0.0.1"}).status_code == 200\n'
const DENY = 'package envoy.authz\n\nresult := {"allowed": false}\n'

let held: Held
let token: string
beforeAll(async () => {
  held = await startHeld(ALLOW)
  token = await held.at.mint()
})
afterAll(() => held?.stop())

type Fault = readonly [what: string, bundle: () => Buffer | Promise<Buffer>]

const good = () => compile(DENY)
const part = (bytes: Buffer, share: number) => Math.floor(bytes.length * share)
const cut = (bytes: Buffer, length: number) => bytes.subarray(0, length < 0 ? bytes.length + length : length)

/** These bytes are others. */
function damaged(bytes: Buffer, from: number, length = 1): Buffer {
  const copy = Buffer.from(bytes)
  const begin = from < 0 ? copy.length + from : from
  for (let at = begin; at < begin + length; at++) copy[at] = (copy[at] as number) ^ 0xff
  return copy
}

/** The whole bundle with one file of it changed, packed as it should be. */
async function withFile(name: string, change: (content: Buffer) => Buffer | string): Promise<Buffer> {
  const entries: Entries = await unpack(good())
  const content = Buffer.from(entries[name] ?? '')
  return pack({ ...entries, [name]: change(content) })
}
const withWasm = (change: (wasm: Buffer) => Buffer) => withFile('/policy.wasm', change)

const FAULTS: readonly (readonly [message: string, faults: readonly Fault[]])[] = [
  [
    'it is damaged, or not a tar.gz',
    [
      ['the first byte is another', () => damaged(good(), 0)],
      ['the method of compression is another', () => damaged(good(), 2)],
      ...[0.25, 0.75].map(
        (at): Fault => [`a byte at ${at} is another`, () => damaged(good(), part(good(), at))],
      ),
      ['the check sum is another', () => damaged(good(), -8)],
      ['the length is another', () => damaged(good(), -4)],
      ...[1, -8, -1].map((length): Fault => [`it ends at ${length}`, () => cut(good(), length)]),
      ...[0.25, 0.75].map((at): Fault => [`it ends at ${at}`, () => cut(good(), part(good(), at))]),
      ['the tar in it has another check sum', () => gzipSync(damaged(gunzipSync(good()), 0))],
      [
        'the tar in it ends in a file',
        () => gzipSync(cut(gunzipSync(good()), part(gunzipSync(good()), 0.9))),
      ],
    ],
  ],
  [
    'its policy.wasm is not WebAssembly',
    [
      ['policy.wasm is empty', () => withWasm(() => Buffer.alloc(0))],
      ['policy.wasm begins with another byte', () => withWasm(wasm => damaged(wasm, 0))],
      ...[0.5, 0.999].map(
        (at): Fault => [`policy.wasm ends at ${at}`, () => withWasm(wasm => cut(wasm, part(wasm, at)))],
      ),
      ...[0.1, 0.3, 0.5].map(
        (at): Fault => [
          `policy.wasm has 64 other bytes at ${at}`,
          () => withWasm(wasm => damaged(wasm, part(wasm, at), 64)),
        ],
      ),
    ],
  ],
  [
    'its policy.wasm is not an OPA policy',
    [['policy.wasm is another program', () => withWasm(wasm => cut(wasm, 8))]],
  ],
  [
    'its data.json is not a JSON object',
    ['{', '[]', '', '{"a":NaN}'].map(
      (text): Fault => [`data.json is ${text}`, () => withFile('/data.json', () => text)],
    ),
  ],
  [
    'its .manifest is not a JSON object',
    [['.manifest is cut', () => withFile('/.manifest', content => cut(content, -2))]],
  ],
  [
    'it has no entry point envoy/authz/result, only envoy/authz/other',
    [
      [
        'it has another entry point',
        () => compile(DENY.replace('result', 'other'), { entrypoints: ['envoy/authz/other'] }),
      ],
    ],
  ],
  [
    'it needs builtins that are not available here: http.send',
    [['it asks somebody else', () => compile(ASKING)]],
  ],
]

describe.each(FAULTS)('a bundle that cannot be used: %s', (message, faults) => {
  it('ends a start with one message', async () => {
    const ended = await together(STARTS_AT_ONCE, faults, async ([what, bundle]) => {
      const file = held.at.path(`${what}.tar.gz`)
      writeFileSync(file, await bundle())
      const text = held.at.text(config => Object.assign(config.policy, { bundle: file }))
      return { what, file, ...(await serve(held.at.write(`${what}.yaml`, text))) }
    })
    expect(ended).toEqual(
      faults.map(([what], i) => ({
        what,
        file: ended[i]?.file,
        code: 1,
        stdout: '',
        stderr: `agent-authz: policy.bundle: ${ended[i]?.file} cannot be used: ${message}\n`,
      })),
    )
  })

  it('leaves the one before in force while running', async () => {
    const error = `policy.bundle: ${held.at.path('bundle.tar.gz')} cannot be used: ${message}`
    for (const [what, bundle] of faults) {
      const failed = await failures()
      replaceFile(held.at.path('bundle.tar.gz'), await bundle())
      await until(`it to be refused: ${what}`, async () => (await failures()) > failed)
      expect({ what, failures: await failures() }).toEqual({ what, failures: failed + 1 })
      expect(lastLine()).toMatchObject({ level: 50, msg: `${error}; the policy before stays in force` })
      expect({ what, reason: await reason() }).toEqual({ what, reason: 'policy_allowed' })
      const ready = await fetch(`${held.service.adminUrl}/readyz`)
      expect(ready.status).toBe(200)
      expect(await ready.json()).toMatchObject({ policy: { error } })
    }
  })
})

describe('a bundle that is written in two halves', () => {
  it('is refused with the first and taken with the second', async () => {
    const whole = good()
    const failed = await failures()
    writeFileSync(held.at.path('bundle.tar.gz'), cut(whole, part(whole, 0.5)))
    await until('the first half to be refused', async () => (await failures()) > failed)
    expect(await reason()).toBe('policy_allowed')
    writeFileSync(held.at.path('bundle.tar.gz'), whole)
    await until('the new policy', async () => (await reason()) === 'policy_denied')
    const ready = await fetch(`${held.service.adminUrl}/readyz`)
    expect(await ready.json()).toMatchObject({ policy: { error: null } })
  })
})

it('the service log has JSON lines and nothing else', () => {
  for (const line of held.service.process.output().trimEnd().split('\n'))
    expect(line).toMatch(/^\{"level":.*\}$/)
})

const failures = async () => held.count('agent_authz_policy_loads_total{outcome="error"}')

const lastLine = () => JSON.parse(held.service.process.output().trimEnd().split('\n').at(-1) as string)

const reason = async () => (await held.ask(encodeHttp(reading(token)))).reason

/** A start that ends. */
function serve(config: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const args = [join(ROOT, 'src/main.ts'), 'serve', '--config', config]
  return new Promise(resolve => {
    execFile(process.execPath, args, { timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    )
  })
}
