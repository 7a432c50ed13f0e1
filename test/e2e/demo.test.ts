import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { scenarios } from '../../deploy/demo/scenarios.ts'

const DEMO = join(import.meta.dirname, '../../deploy/demo/demo.ts')
const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')

interface Run {
  readonly child: ChildProcess
  /** When this text has been printed, all that was until then. */
  printed(what: string): Promise<string>
  readonly ended: Promise<{ code: number | null; out: string; err: string }>
}

function demo(...args: string[]): Run {
  const child = spawn(process.execPath, [DEMO, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  child.stdout.setEncoding('utf8').on('data', chunk => {
    out += chunk
  })
  const ended = Promise.all([once(child, 'close'), text(child.stderr)]).then(([[code], err]) => ({
    code,
    out,
    err,
  }))
  return {
    child,
    ended,
    printed: what =>
      new Promise((resolve, reject) => {
        const look = () => out.includes(what) && resolve(out)
        child.stdout.on('data', look)
        look()
        void ended.then(({ err }) => reject(new Error(`the demo ended without "${what}": ${err}`)))
      }),
  }
}

/** Every place on loopback that a text names. */
function places(out: string): string[] {
  return [...new Set([...out.matchAll(/127\.0\.0\.1:\d+/g)].map(([place]) => place))]
}

async function answers(place: string): Promise<boolean> {
  return fetch(`http://${place}/`).then(
    () => true,
    (error: Error) => (error.cause as NodeJS.ErrnoException)?.code !== 'ECONNREFUSED',
  )
}

async function expectAllGone(out: string): Promise<void> {
  expect(places(out).length).toBeGreaterThanOrEqual(6)
  for (const place of places(out)) expect([place, await answers(place)]).toEqual([place, false])
}

describe('the demo', () => {
  it('shows every scenario as expected, and leaves nothing running', async () => {
    const { code, out, err } = await demo('--base-port', '0').ended
    expect(err).toBe('')
    expect(out).toContain(`All ${scenarios.length} answers are as expected.`)
    expect(out.match(/^✓/gm)).toHaveLength(scenarios.length)
    expect(out).not.toContain('\u001b[')
    const shown = /^ {3}request .*\n[\s\S]*?(?=^```)/m.exec(README)?.[0].trimEnd().split('\n') ?? []
    expect(shown.length).toBeGreaterThan(10)
    for (const line of shown) expect(out.split('\n')).toContain(line)
    expect(code).toBe(0)
    await expectAllGone(out)
  }, 60_000)

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'leaves nothing running when %s interrupts it',
    async signal => {
      const run = demo('--base-port', '0')
      const out = await run.printed('envoy ')
      run.child.kill(signal)
      expect((await run.ended).code).toBe(130)
      await expectAllGone(out)
    },
    60_000,
  )

  it('stays until Ctrl-C when asked to, and says what to try', async () => {
    const run = demo('--stay', '--base-port', '0')
    const out = await run.printed('Ctrl-C stops everything.')
    for (const place of places(out)) expect([place, await answers(place)]).toEqual([place, true])
    run.child.kill('SIGINT')
    expect((await run.ended).code).toBe(0)
    await expectAllGone(out)
  }, 60_000)

  it('names a port that is taken, and what to do', async () => {
    const blocker: Server = createServer().listen(0, '127.0.0.1')
    await once(blocker, 'listening')
    const { port } = blocker.address() as AddressInfo
    const { code, out, err } = await demo('--base-port', `${port}`).ended
    blocker.close()
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain(`in use: ${port} (issuer)`)
    expect(err).toContain('--base-port N')
  }, 60_000)
})
