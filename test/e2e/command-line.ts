import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { type Configured, configured, ROOT, type Written } from '../unit/configured.ts'

export const MAIN = join(ROOT, 'src/main.ts')

/** What a command has left. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** For a `describe` of tests that run several at a time, where each takes the longer. */
export const TOGETHER = { concurrent: true, timeout: 180_000 }
export const PATIENCE_MS = 60_000

/** A test with a folder and processes of its own, so that several may run at a time; neither outlives it. */
export const it = test
  .extend('at', async ({ onTestFinished }): Promise<Configured> => {
    const at = await configured()
    onTestFinished(at.remove)
    return {
      ...at,
      configure: edit =>
        at.configure(config => {
          // No test here is about this one.
          config.listen.check_timeout = '60s'
          edit?.(config)
        }),
    }
  })
  // As Node's, but in the folder, and no longer than the test.
  .extend('spawn', ({ at, onTestFinished }) => {
    const children: [ChildProcess, group: boolean][] = []
    let over = false
    onTestFinished(async () => {
      over = true
      await Promise.all(children.map(end))
    })
    return ((command: string, args: string[], options: SpawnOptions) => {
      // A test that had no more time goes on, though nobody waits for it.
      if (over) throw new Error('the test is over')
      const child = spawn(command, args, { cwd: at.folder, ...options })
      children.push([child, options.detached ?? false])
      return child
    }) as typeof spawn
  })
  // With this text on standard input.
  .extend('runOn', ({ spawn }) => async (stdin: string, ...args: string[]) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: 'pipe' })
    // It may end without having read it.
    child.stdin.on('error', () => undefined)
    child.stdin.end(stdin)
    return ended(child)
  })
  .extend(
    'run',
    ({ runOn }) =>
      (...args: string[]) =>
        runOn('', ...args),
  )

async function end([child, group]: [ChildProcess, boolean]): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = once(child, 'exit')
  process.kill(group ? -child.pid : child.pid, 'SIGKILL')
  await gone
}

export async function ended(child: ChildProcess): Promise<Ended> {
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout as Readable),
    text(child.stderr as Readable),
    once(child, 'exit'),
  ])
  return { code, stdout, stderr }
}

/** A host and a port where nobody listens, and where nobody will who asks for any free port of 127.0.0.1. */
export async function vacantAddress(): Promise<string> {
  const server = createServer().listen(0, `127.1.${(process.pid >> 8) & 255}.${process.pid & 255}`)
  await once(server, 'listening')
  const { address, port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return `${address}:${port}`
}

export const set = (changes: object) => (config: Written) => Object.assign(config, changes)
export const noStack = expect.not.stringMatching(/^ +at /m)
