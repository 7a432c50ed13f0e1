import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { createLineLog } from '../../../src/record/line-log.ts'
import { Unusable } from '../../../src/unusable.ts'

const folder = mkdtempSync(join(tmpdir(), 'line-log-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const quiet = { writeFailed: () => undefined, recovered: () => undefined }
const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1)

describe('the line log', () => {
  it('writes every line once, in order, whatever the batches', async () => {
    const path = join(folder, 'order')
    const log = createLineLog(path, quiet)
    const wanted = Array.from({ length: 20_000 }, (_, i) => `line ${i} ${'x'.repeat(i % 90)}`)
    for (const [i, line] of wanted.entries()) {
      expect(log.append(line)).toBe(true)
      if (i % 1000 === 0) await new Promise(setImmediate)
    }
    expect(await log.close(5_000)).toBe(0)
    expect(linesOf(path)).toEqual(wanted)
  })

  it('writes a lone line without being asked', async () => {
    const path = join(folder, 'lone')
    const log = createLineLog(path, quiet)
    log.append('alone')
    await vi.waitFor(() => expect(linesOf(path)).toEqual(['alone']))
    await log.close(1_000)
  })

  it('follows a file that was moved away, and loses nothing', async () => {
    const path = join(folder, 'rotated')
    const log = createLineLog(path, quiet)
    log.append('before')
    await vi.waitFor(() => expect(linesOf(path)).toEqual(['before']))
    renameSync(path, `${path}.1`)
    log.append('between')
    log.reopen()
    log.append('after')
    await log.close(1_000)
    expect([...linesOf(`${path}.1`), ...linesOf(path)]).toEqual(['before', 'between', 'after'])
  })

  it('gives half a line of a crashed process its end', async () => {
    const path = join(folder, 'crashed')
    writeFileSync(path, 'whole\nhal')
    const log = createLineLog(path, quiet)
    log.append('next')
    await log.close(1_000)
    expect(linesOf(path)).toEqual(['whole', 'hal', 'next'])
  })

  it('keeps lines up to its bound while the disk is full, says so once, and tells what it could not write', async () => {
    const failures: string[] = []
    const log = createLineLog('/dev/full', { ...quiet, writeFailed: code => failures.push(code) })
    const line = 'x'.repeat(1024 * 1024)
    let kept = 0
    while (log.append(line)) kept++
    expect(kept).toBe(16)
    expect(log.hasRoom()).toBe(false)
    await vi.waitFor(() => expect(failures).toEqual(['ENOSPC']))
    expect(await log.close(10)).toBe(kept * (line.length + 1))
  })

  it('writes to a slow reader without losing or cutting a line', async () => {
    const path = join(folder, 'pipe')
    await once(spawn('mkfifo', [path]), 'exit')
    const reader = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] })
    const log = createLineLog(path, quiet)
    const wanted = Array.from({ length: 5_000 }, (_, i) => `${i} ${'y'.repeat(200)}`)
    for (const line of wanted) log.append(line)
    const read: Buffer[] = []
    reader.stdout.on('data', (chunk: Buffer) => read.push(chunk))
    expect(await log.close(5_000)).toBe(0)
    await once(reader, 'close')
    expect(Buffer.concat(read).toString().split('\n').slice(0, -1)).toEqual(wanted)
  })

  it('refuses a file that cannot be opened', () => {
    expect(() => createLineLog(join(folder, 'no', 'such', 'folder'), quiet)).toThrow(Unusable)
  })
})
