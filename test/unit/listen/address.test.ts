import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { freeSocket } from '../../../src/listen/address.ts'
import { Unusable } from '../../../src/unusable.ts'

const folder = mkdtempSync(join(tmpdir(), 'socket-'))
const path = (name: string) => join(folder, name)
const open: Server[] = []
afterEach(async () => {
  for (const server of open.splice(0)) await new Promise(resolve => server.close(resolve))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function listening(at: string): Promise<void> {
  const server = createServer(socket => socket.destroy()).listen(at)
  await once(server, 'listening')
  open.push(server)
}

/** A process that listens, with room for one that it has not accepted yet. */
async function listeningProcess(at: string): Promise<ChildProcess> {
  const script = `require('node:net').createServer().listen({ path: ${JSON.stringify(at)}, backlog: 1 }, () => console.log('listening'))`
  const listens = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(listens.stdout, 'data')
  return listens
}

/** A process that is killed has no time to remove its socket. */
async function killed(victim: ChildProcess): Promise<void> {
  victim.kill('SIGKILL')
  await once(victim, 'exit')
}

async function accepted(at: string, kept: Socket[]): Promise<boolean> {
  const socket = connect(at)
  kept.push(socket)
  return once(socket, 'connect').then(
    () => true,
    () => false,
  )
}

async function leftBehind(at: string): Promise<void> {
  await killed(await listeningProcess(at))
  expect(lstatSync(at).isSocket()).toBe(true)
}

async function refusal(at: string): Promise<string> {
  const error = await freeSocket(`unix:${at}`).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(Unusable)
  const { message } = error as Unusable
  expect(message).toContain('listen.grpc')
  expect(message).toContain(at)
  return message
}

describe('the path of a socket', () => {
  it('is free where there is nothing', async () => {
    await freeSocket(`unix:${path('absent')}`)
    await freeSocket(`unix:${path('absent/folder')}`)
  })

  it('is made free of a socket that a killed process left behind', async () => {
    await leftBehind(path('stale'))
    await freeSocket(`unix:${path('stale')}`)
    expect(existsSync(path('stale'))).toBe(false)
  })

  it('is not taken from a process that listens', async () => {
    await listening(path('live'))
    expect(await refusal(path('live'))).toMatch(/another process is listening/)
    expect(await refusal(path('live'))).toMatch(/another process is listening/)
  })

  it('is not taken from a process that listens and is too busy to answer', async () => {
    const busy = await listeningProcess(path('busy'))
    const waiting: Socket[] = []
    try {
      busy.kill('SIGSTOP')
      while (await accepted(path('busy'), waiting));
      expect(await refusal(path('busy'))).toMatch(/another process \(EAGAIN\)/)
      expect(existsSync(path('busy'))).toBe(true)
    } finally {
      for (const socket of waiting) socket.destroy()
      await killed(busy)
    }
  })

  it.each<[string, (at: string) => void]>([
    ['a file', at => writeFileSync(at, 'text')],
    ['an empty file', at => writeFileSync(at, '')],
    ['a folder', at => mkdirSync(at)],
    ['a link to nothing', at => symlinkSync(path('nothing'), at)],
  ])('is not taken from %s', async (name, make) => {
    const at = path(name)
    make(at)
    expect(await refusal(at)).toMatch(/not a socket/)
    expect(lstatSync(at)).toBeDefined()
  })

  it('is not taken from a link to a socket, though nobody listens', async () => {
    await leftBehind(path('target'))
    symlinkSync(path('target'), path('link'))
    expect(await refusal(path('link'))).toMatch(/not a socket/)
    expect(existsSync(path('target'))).toBe(true)
  })

  it.each<[string, () => string]>([
    ['ENAMETOOLONG', () => path('x'.repeat(300))],
    [
      'ELOOP',
      () => {
        symlinkSync(path('loop'), path('loop'))
        return path('loop/socket')
      },
    ],
  ])('is refused where it cannot be looked at: %s', async (code, make) => {
    expect(await refusal(make())).toContain(code)
  })

  it('is no matter of another address', async () => {
    writeFileSync(path('other'), 'text')
    await freeSocket('127.0.0.1:9191')
    await freeSocket(`unix_${path('other')}`)
    expect(existsSync(path('other'))).toBe(true)
  })
})
