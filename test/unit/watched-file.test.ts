import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type WatchedFile, watchedFile } from '../../src/watched-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'watched-'))
const file = join(folder, 'file')
const next = join(folder, 'next')
let watched: WatchedFile
let changes: number

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  rmSync(folder, { recursive: true })
  mkdirSync(folder)
  writeFileSync(file, 'one')
  watched = watchedFile(file)
  changes = 0
})
afterEach(() => {
  watched.close()
  vi.useRealTimers()
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const watch = () => watched.onChange(() => changes++)
const look = () => void vi.advanceTimersToNextTimer()

function keepTime(path: string, act: () => void): void {
  const { atime, mtime } = statSync(path)
  act()
  utimesSync(path, atime, mtime)
}

describe('a watched file', () => {
  it.each<[string, () => void]>([
    ['written', () => writeFileSync(file, 'two and more')],
    ['written with as many bytes and its time kept', () => keepTime(file, () => writeFileSync(file, 'two'))],
    [
      'replaced',
      () => {
        writeFileSync(next, 'two')
        renameSync(next, file)
      },
    ],
    ['taken away', () => rmSync(file)],
  ])('tells once when it was %s', (_, change) => {
    watch()
    look()
    expect(changes).toBe(0)
    change()
    look()
    look()
    expect(changes).toBe(1)
  })

  it('tells within 2 s', () => {
    watch()
    writeFileSync(file, 'two and more')
    vi.advanceTimersByTime(2_000)
    expect(changes).toBe(1)
  })

  it('tells of what happened before anybody asked', () => {
    writeFileSync(file, 'two and more')
    watch()
    look()
    expect(changes).toBe(1)
  })

  it('tells when it comes back', () => {
    rmSync(file)
    watch()
    look()
    writeFileSync(file, 'one')
    look()
    expect(changes).toBe(2)
  })

  it('tells when a link on the way to it points elsewhere', () => {
    symlinkSync('file', next)
    watched.close()
    watched = watchedFile(next)
    watch()
    writeFileSync(join(folder, 'other'), 'one')
    symlinkSync('other', join(folder, 'link'))
    renameSync(join(folder, 'link'), next)
    look()
    expect(changes).toBe(1)
  })

  it('tells nothing any more once it is closed', () => {
    watch()
    watched.close()
    writeFileSync(file, 'two and more')
    expect(vi.getTimerCount()).toBe(0)
    expect(changes).toBe(0)
  })
})
