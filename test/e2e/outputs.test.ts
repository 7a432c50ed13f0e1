import { type ChildProcess, execFileSync, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect } from 'vitest'
import { ISSUER, reading } from '../unit/configured.ts'
import { ended, MAIN, set, TOGETHER, vacantAddress } from './command-line.ts'
import { metrics } from './metrics.ts'
import { AGAIN, eventually, it as withServices } from './serving.ts'

const LOADS = 'agent_authz_configuration_loads_total{outcome="ok"}'

const it = withServices
  // The exit code and standard error of a command in a shell's pipe or redirection.
  .extend('inShell', ({ at, spawn }) => async (to: string, ...args: string[]) => {
    const shell = `{ "$0" "$@"; echo "$?" > "$CODE"; } ${to}`
    const child = spawn('sh', ['-c', shell, process.execPath, MAIN, ...args], {
      env: { ...process.env, CODE: at.path('code') },
      stdio: ['ignore', 'pipe', 'pipe'],
      // The shell's own children are ended with it.
      detached: true,
    })
    const ofShell = await ended(child)
    return { ...ofShell, code: Number(readFileSync(at.path('code'), 'utf8')) }
  })

/** With as much in it as it takes. */
function fullPipe(path: string): number {
  execFileSync('mkfifo', [path])
  const filling = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  try {
    for (;;) writeSync(filling, Buffer.alloc(4096))
  } catch {}
  const full = openSync(path, 'r+')
  closeSync(filling)
  return full
}

type Spawn = (command: string, args: string[], options: SpawnOptions) => ChildProcess

/** Stopped, as by Ctrl-S, with as much in it as it takes. */
async function stoppedTerminal(_: string, spawn: Spawn): Promise<number> {
  const terminal = `
import os, pty, sys
ours, theirs = pty.openpty()
os.set_blocking(theirs, False)
try:
    while True: os.write(theirs, b' ' * 4096)
except BlockingIOError: pass
os.set_blocking(theirs, True)
print(os.ttyname(theirs), flush=True)
sys.stdin.read()`
  const holder = spawn('python3', ['-c', terminal], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [name] = await once(holder.stdout as Readable, 'data')
  return openSync(`${name}`.trim(), constants.O_RDWR | constants.O_NOCTTY)
}

/**
 * Whether a write waits for the reader is one setting for all who were given this end of the pipe. Node switches waiting
 * off for itself, and on again for whatever it starts.
 */
function shareWithAnother(stderr: number): void {
  execFileSync('true', { stdio: ['ignore', 'ignore', stderr] })
}

describe('standard output', TOGETHER, () => {
  it.for<[args: string[]]>([[['--help']], [['--version']], [['config', 'schema']]])(
    'may be closed before %j is read, which is no fault',
    async ([args], { inShell }) => {
      expect(await inShell('| :', ...args)).toEqual({ code: 0, stdout: '', stderr: '' })
    },
  )

  it('may be read in part', async ({ inShell }) => {
    expect(await inShell('| head -1', 'config', 'schema')).toEqual({ code: 0, stdout: '{\n', stderr: '' })
  })

  it('may be closed before a refusal is read, which the exit code says all the same', async ({
    at,
    inShell,
  }) => {
    const file = at.write('refused.json', JSON.stringify({ attributes: { request: { http: reading() } } }))
    const left = await inShell('| :', 'check', '--config', at.configure(), '--request', file)
    expect(left).toEqual({ code: 1, stdout: '', stderr: '' })
  })

  it('that takes nothing is told in one message', async ({ inShell }) => {
    expect(await inShell('> /dev/full', 'config', 'schema')).toEqual({
      code: 2,
      stdout: '',
      stderr: 'agent-authz: cannot write to standard output (ENOSPC)\n',
    })
  })
})

describe('where what it writes is not taken', TOGETHER, () => {
  type Opened = (pipe: string, spawn: Spawn) => number | Promise<number>
  it.for<[what: string, opened: Opened, meanwhile?: (stderr: number) => void]>([
    ['full', () => openSync('/dev/full', 'w')],
    ['a pipe that nobody reads', fullPipe],
    ['a terminal that is stopped', stoppedTerminal],
    ['a pipe that nobody reads, and that another makes wait for its reader', fullPipe, shareWithAnother],
  ])(
    'it serves on when standard error is %s, and ends as it is told',
    async ([, opened, meanwhile], { at, launch, spawn }) => {
      const admin = await vacantAddress()
      const full = await opened(at.path('pipe'), spawn)
      const file = at.configure(config => set({ admin })(config.listen))
      const { child, ended } = launch(file, { stdout: 'ignore', stderr: full })
      const healthy = () =>
        fetch(`http://${admin}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        )
      await eventually('it to be up', healthy)
      meanwhile?.(full)
      closeSync(full)
      child.kill('SIGHUP')
      await eventually(
        'it to tell that it has read its configuration',
        async () => (await metrics(`http://${admin}`)).get(LOADS) === 2,
      )
      expect(await healthy()).toBe(true)
      child.kill('SIGTERM')
      expect(await ended()).toEqual([0, null])
    },
  )

  it('it serves on when nobody reads its standard error any more', async ({ at, serve }) => {
    const serving = await serve()
    serving.child.stderr?.destroy()
    serving.child.kill('SIGHUP')
    await eventually(
      'it to tell that it has read its configuration',
      async () => (await serving.metric(LOADS)) === 2,
    )
    expect(await serving.ask(await at.mint())).toBe(200)
  })

  it('it serves on when nobody reads the decision log on its standard output, and says so', async ({
    at,
    serve,
  }) => {
    const serving = await serve(at.configure(set({ decision_log: { on_full: 'refuse' } })))
    serving.child.stdout?.destroy()
    expect(await serving.ask(await at.mint())).toBe(200)
    await serving.told('the decision log cannot be written')
    expect(await serving.ask(await at.mint())).toBe(200)
    expect(await serving.metric('agent_authz_decision_log_errors_total')).toBe(1)
  })

  it.for<[what: string, as: string]>([
    ['a file', 'file'],
    ['standard output', 'stdout'],
  ])(
    'it ends when it is told though the pipe that is its decision log takes nothing: %s',
    async ([, as], { at, onTestFinished, serve }) => {
      execFileSync('mkfifo', [at.path('pipe')])
      const pipe = openSync(at.path('pipe'), 'r+')
      onTestFinished(() => closeSync(pipe))
      const log = as === 'file' ? { file: 'pipe' } : { on_full: 'refuse' }
      const serving = await serve(at.configure(set({ decision_log: log })), {
        stdout: as === 'file' ? 'pipe' : pipe,
      })
      // More than a pipe takes.
      for (let i = 0; i < 100; i++) await serving.ask(undefined, { path: `/${'x'.repeat(1_500)}` })
      serving.child.kill('SIGTERM')
      expect(await serving.ended()).toEqual([0, null])
      expect(serving.log()).toContain('the end of the decision log is not written')
    },
  )

  it('it waits a little for the reader of a decision log that it has left for another', async ({
    at,
    serve,
    spawn,
  }) => {
    execFileSync('mkfifo', [at.path('pipe')])
    const serving = await serve(at.configure(set({ decision_log: { file: 'pipe' } })))
    for (let i = 0; i < 100; i++) await serving.ask(undefined, { path: `/${'x'.repeat(1_500)}` })
    at.configure()
    serving.child.kill('SIGHUP')
    await serving.told(AGAIN)
    serving.child.kill('SIGTERM')
    // It answers no more: what is left to do is to write.
    await eventually('it to have drained', () =>
      serving.healthy().then(
        () => false,
        () => true,
      ),
    )
    const reader = spawn('cat', [at.path('pipe')], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = (await text(reader.stdout)).split('\n').slice(0, -1)
    expect(await serving.ended()).toEqual([0, null])
    expect(lines.map(line => JSON.parse(line).reason)).toEqual(Array(100).fill('token_missing'))
  })

  it('the decision log on standard output has every line and nothing else', async ({ at, serve }) => {
    const serving = await serve(at.configure(set({ decision_log: {} })))
    const read = text(serving.child.stdout as NonNullable<ChildProcess['stdout']>)
    expect(await serving.ask(await at.mint())).toBe(200)
    expect(await serving.ask()).toBe(401)
    serving.child.kill('SIGTERM')
    await serving.ended()
    const lines = (await read).split('\n').slice(0, -1)
    expect(lines.map(line => JSON.parse(line).issuer)).toEqual(['corp', undefined])
    expect(serving.log()).not.toContain(ISSUER)
  })
})
