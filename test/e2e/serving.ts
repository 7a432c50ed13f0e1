import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { until } from '../../deploy/demo/processes.ts'
import { ROOT, reading } from '../unit/configured.ts'
import { caller } from '../unit/listen/callers.ts'
import { encodeHttp } from '../unit/listen/wire/oracle.ts'
import { MAIN, PATIENCE_MS, it as withCommands } from './command-line.ts'
import { metric } from './metrics.ts'

/** Of the service log. */
export const AGAIN = 'the configuration was read again and is in force'

export interface Serving {
  readonly child: ChildProcess
  /** The service log so far. */
  log(): string
  /** How often it holds this message. */
  count(message: string): number
  told(message: string, times?: number): Promise<void>
  /** The status that Envoy would answer with, 200 where it asks the upstream. */
  ask(token?: string, changes?: object): Promise<number>
  /** Where it listens, once it does. */
  grpc(): string
  admin(): string
  metric(name: string): Promise<number>
  healthy(): Promise<boolean>
  ended(): Promise<[code: number | null, signal: string | null]>
}

interface LaunchOptions {
  /** JavaScript that runs before the service. */
  readonly preload?: string
  readonly stdout?: 'pipe' | 'ignore' | number
  readonly stderr?: 'pipe' | number
}

export const it = withCommands
  // The service on its way; `serve` waits until it is there.
  .extend('launch', ({ spawn }) => (file: string, options: LaunchOptions = {}) => {
    const { preload, stdout = 'pipe', stderr = 'pipe' } = options
    const args = [...(preload === undefined ? [] : ['--import', `data:text/javascript,${preload}`]), MAIN]
    // Not in the folder: its paths are relative to the configuration, wherever it is started.
    return serviceOf(
      spawn(process.execPath, [...args, 'serve', '--config', file], {
        cwd: ROOT,
        stdio: ['ignore', stdout, stderr],
      }),
    )
  })
  .extend('serve', ({ at, launch }) => async (file = at.configure(), options: LaunchOptions = {}) => {
    const launched = launch(file, options)
    await launched.told('listening')
    return launched
  })

/** Asks until it is so. */
export async function eventually(what: string, ask: () => boolean | Promise<boolean>): Promise<void> {
  await until(what, ask, PATIENCE_MS)
}

/** A service, from its process on. */
export function serviceOf(child: ChildProcess): Serving {
  let log = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk
  })
  // Asked for at once: it may have ended before anybody waits for it.
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>
  const where = (): { grpc: string; admin: string } => {
    const line = /^\{.*"msg":"listening"\}$/m.exec(log)
    if (!line) throw new Error(`it does not listen: ${log}`)
    return JSON.parse(line[0])
  }
  const count = (message: string) => log.split(`"msg":"${message}`).length - 1
  return {
    child,
    log: () => log,
    count,
    told: async (message, times = 1) => {
      await eventually(`"${message}"`, () => count(message) >= times).catch(error => {
        throw new Error(`${error.message} in ${log}`)
      })
    },
    async ask(token, changes) {
      const client = caller(where().grpc)
      try {
        const answer = await client.check(encodeHttp(reading(token, changes)))
        return answer.code === 0 ? 200 : (answer.status ?? 0)
      } finally {
        client.close()
      }
    },
    grpc: () => where().grpc,
    admin: () => `http://${where().admin}`,
    metric: name => metric(`http://${where().admin}`, name),
    healthy: async () => (await fetch(`http://${where().admin}/healthz`)).ok,
    ended: () => exit,
  }
}
