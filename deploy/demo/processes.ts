import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Started {
  readonly pid: number
  /** Everything it has written to standard output and standard error. */
  output(): string
  running(): boolean
  /** When it has ended, however. */
  readonly ended: Promise<void>
  signal(name: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL after the cap; resolves when it is gone. */
  stop(): Promise<void>
}

export interface Processes {
  start(name: string, command: string, args: readonly string[]): Started
  stop(): Promise<void>
}

type Answer<T> = T | false | undefined

const STOP_CAP_MS = 20_000
const POLL_MS = 20

/**
 * Child processes, each in a group of its own, so that a Ctrl-C meant for us does not reach it before we end it.
 * Each one's output goes to `<folder>/<name>.log`. However this process ends (short of SIGKILL), none outlives it.
 */
export function createProcesses(folder: string): Processes {
  mkdirSync(folder, { recursive: true })
  const alive = new Set<ChildProcess>()
  process.once('exit', () => {
    for (const child of alive) kill(child, 'SIGKILL')
  })

  return {
    start(name, command, args) {
      const file = join(folder, `${name}.log`)
      const log = openSync(file, 'w')
      const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log] })
      closeSync(log)
      alive.add(child)
      const ended = new Promise<void>(resolve => {
        // A command that cannot be run has no exit; waiting for it to be ready tells the rest.
        for (const event of ['exit', 'error']) child.once(event, () => resolve())
      }).then(() => void alive.delete(child))
      return {
        pid: child.pid ?? 0,
        output: () => readFileSync(file, 'utf8'),
        running: () => alive.has(child),
        ended,
        signal: signal => kill(child, signal),
        stop: () => end(child),
      }
    },
    async stop() {
      await Promise.all([...alive].map(end))
    },
  }

  async function end(child: ChildProcess): Promise<void> {
    if (!alive.has(child)) return
    const gone = once(child, 'exit')
    const cap = setTimeout(() => kill(child, 'SIGKILL'), STOP_CAP_MS)
    kill(child, 'SIGTERM')
    await gone
    clearTimeout(cap)
  }
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal)
  } catch {
    // It has ended in the meantime.
  }
}

/** Asks until there is an answer that is not false, or throws with what was waited for. */
export async function until<T>(
  what: string,
  ask: () => Answer<T> | Promise<Answer<T>>,
  capMs = 20_000,
): Promise<T> {
  const end = Date.now() + capMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (Date.now() > end) throw new Error(`waited ${capMs / 1000} s for ${what}`)
    await sleep(POLL_MS)
  }
}

/** Waits for a part to come up; when it does not, the error holds the last lines of its output. */
export async function comeUp<T>(
  name: string,
  started: Started,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  try {
    return await until(`${name} to come up`, () => {
      if (!started.running()) throw new Error(`${name} has ended`)
      return ask()
    })
  } catch (error) {
    await started.stop()
    const lines = started.output().trimEnd().split('\n').slice(-15)
    throw new Error([`${(error as Error).message}; its last lines:`, ...lines].join('\n  '))
  }
}

/** The body of a 200, or undefined while there is none. */
export async function ok(url: string): Promise<string | undefined> {
  const answer = await fetch(url).catch(() => undefined)
  return answer?.status === 200 ? answer.text() : undefined
}
