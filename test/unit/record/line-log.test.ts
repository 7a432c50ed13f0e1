import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { createLineLog, type LineLogEvents } from '../../../src/record/line-log.ts'
import { Unusable } from '../../../src/unusable.ts'
import { wholeLines } from '../whole-lines.ts'

const folder = mkdtempSync(join(tmpdir(), 'line-log-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const LINE_LOG = join(import.meta.dirname, '../../../src/record/line-log.ts')
const quiet: LineLogEvents = {
  writeFailed: () => undefined,
  recovered: () => undefined,
  reopenFailed: () => undefined,
}

/** The name of a file that is not there yet, and what the log over it told. */
function newFile(name: string) {
  const told: string[] = []
  const events: LineLogEvents = {
    writeFailed: code => told.push(`failed ${code}`),
    recovered: () => told.push('recovered'),
    reopenFailed: message => told.push(message),
  }
  return { path: join(folder, name), told, events }
}

/** A pipe by name. What is written to it waits, up to 64 KiB, until somebody reads. */
function newPipe(name: string) {
  const file = newFile(name)
  execFileSync('mkfifo', [file.path])
  return file
}

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
    expect(wholeLines(path)).toEqual(wanted)
  })

  it('writes a lone line without being asked', async () => {
    const path = join(folder, 'lone')
    const log = createLineLog(path, quiet)
    log.append('alone')
    await vi.waitFor(() => expect(wholeLines(path)).toEqual(['alone']))
    await log.close(1_000)
  })

  it('counts what is not written yet in bytes, the line ends included', async () => {
    const log = createLineLog(join(folder, 'bytes'), quiet)
    expect(log.pendingBytes()).toBe(0)
    log.append('é')
    log.append('')
    expect(log.pendingBytes()).toBe(4)
    await log.close(1_000)
    expect(log.pendingBytes()).toBe(0)
  })

  it('makes a file that its group may read and nobody else', async () => {
    const path = join(folder, 'mode')
    await createLineLog(path, quiet).close(1_000)
    expect(statSync(path).mode & 0o777).toBe(0o640)
  })

  it.each([
    ['a folder that is not there', join(folder, 'no', 'such', 'file'), 'ENOENT'],
    ['a folder', folder, 'EISDIR'],
    ['a folder that is a file', '/dev/null/log', 'ENOTDIR'],
  ])('is refused with the setting, the path and the code when its file is in or is %s', (_, path, code) => {
    const refused = `decision_log.file: cannot open ${path} for appending (${code})`
    expect(() => createLineLog(path, quiet)).toThrow(new Unusable(refused))
  })
})

describe('a file that was there before', () => {
  it.each([
    ['half a line of a crashed process', 'whole\nhal', ['whole', 'hal']],
    ['whole lines', 'one\ntwo\n', ['one', 'two']],
    ['nothing', '', []],
    ['an empty line', '\n', ['']],
  ])('is written on where it held %s', async (_, before, lines) => {
    const { path } = newFile('before')
    writeFileSync(path, before)
    const log = createLineLog(path, quiet)
    log.append('next')
    await vi.waitFor(() => expect(log.pendingBytes()).toBe(0))
    log.append('last')
    expect(await log.close(1_000)).toBe(0)
    expect(wholeLines(path)).toEqual([...lines, 'next', 'last'])
  })
})

describe('a file that is moved away', () => {
  it('is followed, and nothing is lost', async () => {
    const path = join(folder, 'rotated')
    const log = createLineLog(path, quiet)
    log.append('before')
    await vi.waitFor(() => expect(wholeLines(path)).toEqual(['before']))
    renameSync(path, `${path}.1`)
    log.append('between')
    log.reopen()
    log.append('after')
    await log.close(1_000)
    expect([...wholeLines(`${path}.1`), ...wholeLines(path)]).toEqual(['before', 'between', 'after'])
  })

  it('keeps the lines that are being written at that moment', async () => {
    const path = join(folder, 'writing')
    const log = createLineLog(path, quiet)
    const large = 'x'.repeat(70_000)
    log.append(large)
    renameSync(path, `${path}.1`)
    log.reopen()
    log.append('after')
    await log.close(1_000)
    expect([wholeLines(`${path}.1`), wholeLines(path)]).toEqual([[large], ['after']])
  })

  it('is opened anew once its last lines are written, without waiting for another line', async () => {
    const path = join(folder, 'quiet-rotation')
    const log = createLineLog(path, quiet)
    log.append('x'.repeat(70_000))
    renameSync(path, `${path}.1`)
    log.reopen()
    await vi.waitFor(() => expect(existsSync(path)).toBe(true))
    await log.close(1_000)
  })

  it('is written on where the new one cannot be opened, and the next attempt counts', async () => {
    const { path, told, events } = newFile('inner/unopenable')
    mkdirSync(join(folder, 'inner'))
    const log = createLineLog(path, events)
    log.append('before')
    await vi.waitFor(() => expect(wholeLines(path)).toEqual(['before']))
    renameSync(join(folder, 'inner'), join(folder, 'moved'))
    log.reopen()
    const refused = `decision_log.file: cannot open ${path} for appending (ENOENT)`
    await vi.waitFor(() => expect(told).toEqual([refused]))
    log.append('between')
    await vi.waitFor(() =>
      expect(wholeLines(join(folder, 'moved/unopenable'))).toEqual(['before', 'between']),
    )
    mkdirSync(join(folder, 'inner'))
    log.reopen()
    log.append('after')
    await log.close(1_000)
    expect(wholeLines(path)).toEqual(['after'])
    expect(told).toHaveLength(1)
  })

  it('takes every line with it or leaves it to the next, whenever that is', async () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.nat(40_000).map(size => ({ do: 'append', size }) as const) },
      { weight: 1, arbitrary: fc.constant({ do: 'move' } as const) },
      { weight: 1, arbitrary: fc.constant({ do: 'wait' } as const) },
    )
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async steps => {
        const path = join(folder, `any-${run++}`)
        const log = createLineLog(path, quiet)
        const wanted: string[] = []
        let moved = 0
        for (const next of steps) {
          if (next.do === 'append') {
            wanted.push(`${wanted.length} ${'z'.repeat(next.size)}`)
            log.append(wanted.at(-1) as string)
          } else if (next.do === 'wait') await new Promise(setImmediate)
          else if (existsSync(path)) {
            renameSync(path, `${path}.${moved++}`)
            log.reopen()
          }
        }
        expect(await log.close(5_000)).toBe(0)
        const files = [...Array.from({ length: moved }, (_, i) => `${path}.${i}`), path]
        expect(files.filter(existsSync).flatMap(wholeLines)).toEqual(wanted)
      }),
      { numRuns: 40 },
    )
  })
})

describe('a log that is resumed', () => {
  it('takes lines again, behind those of before, in the file that has its name then', async () => {
    const { path, told, events } = newFile('resumed')
    symlinkSync('/dev/full', path)
    const log = createLineLog(path, events)
    log.append('before')
    await vi.waitFor(() => expect(told).toEqual(['failed ENOSPC']))
    expect(await log.close(0)).toBeGreaterThan(0)
    unlinkSync(path)
    expect(log.resume()).toBe(true)
    log.append('after')
    expect(await log.close(5_000)).toBe(0)
    expect(wholeLines(path)).toEqual(['before', 'after'])
  })

  it('is not once all was written, which closes it', async () => {
    const log = createLineLog(join(folder, 'closed'), quiet)
    expect(await log.close(1_000)).toBe(0)
    expect(log.resume()).toBe(false)
    expect(log.append('late')).toBe(false)
  })
})

describe('a disk that is full', () => {
  it('keeps lines up to its bound, says so once, and tells what it could not write', async () => {
    const { told, events } = newFile('unused')
    const log = createLineLog('/dev/full', events)
    const line = 'x'.repeat(1024 * 1024)
    let kept = 0
    while (log.append(line)) kept++
    expect(kept).toBe(16)
    expect(log.hasRoom()).toBe(false)
    await vi.waitFor(() => expect(told).toEqual(['failed ENOSPC']))
    expect(await log.close(10)).toBe(kept * (line.length + 1))
    expect(told).toEqual(['failed ENOSPC'])
  })

  it('has room for the line that crosses its bound, and for none behind it', async () => {
    const log = createLineLog('/dev/full', quiet)
    const most = 16 * 1024 * 1024
    log.append('x'.repeat(most - 2))
    expect(log.pendingBytes()).toBe(most - 1)
    expect(log.hasRoom()).toBe(true)
    expect(log.append('')).toBe(true)
    expect(log.hasRoom()).toBe(false)
    expect(log.append('')).toBe(false)
    expect(log.pendingBytes()).toBe(most)
    await log.close(0)
  })

  it('loses no line that it kept once its file is moved to another disk', async () => {
    const { path, told, events } = newFile('other-disk')
    symlinkSync('/dev/full', path)
    const log = createLineLog(path, events)
    const wanted = Array.from({ length: 3_000 }, (_, i) => `${i} ${'x'.repeat(100)}`)
    for (const line of wanted) log.append(line)
    await vi.waitFor(() => expect(told).toEqual(['failed ENOSPC']))
    unlinkSync(path)
    // The other disk has met a crash.
    writeFileSync(path, 'half')
    log.reopen()
    log.append('after')
    expect(await log.close(5_000)).toBe(0)
    expect(wholeLines(path)).toEqual(['half', ...wanted, 'after'])
    expect(told).toEqual(['failed ENOSPC', 'recovered'])
  })

  // A limit on the size of files is a disk that is full in the middle of a line, for one process alone.
  const FILLING = `
    import { execFileSync } from 'node:child_process'
    import { renameSync } from 'node:fs'
    const [, lineLog, path, relief] = process.argv
    const { createLineLog } = await import(lineLog)
    const told = []
    const makeRoom = () => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited'])
    let moved = 0
    const log = createLineLog(path, {
      writeFailed(code) {
        told.push('failed ' + code)
        if (relief !== 'moved') makeRoom()
        if (relief === 'moved') renameSync(path, path + '.' + moved++)
        if (relief !== 'room') log.reopen()
      },
      recovered: () => told.push('recovered'),
      reopenFailed: message => told.push(message),
    })
    for (let i = 0; i < 300; i++) log.append(i + ' ' + 'x'.repeat(90))
    const left = await log.close(20_000)
    console.log(JSON.stringify({ told, left }))
  `
  const wanted = Array.from({ length: 300 }, (_, i) => `${i} ${'x'.repeat(90)}`)

  async function fill(path: string, relief: 'room' | 'reopened' | 'moved') {
    const limited = `trap '' XFSZ; ulimit -S -f 16; exec "$0" --input-type=module -e "$@"`
    const child = spawn('sh', ['-c', limited, process.execPath, FILLING, LINE_LOG, path, relief], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    return JSON.parse(await text(child.stdout)) as { told: string[]; left: number }
  }

  it.each([
    ['there is room again', 'room'],
    ['there is room again, and the same file is opened again', 'reopened'],
  ] as const)('writes a line that it cut on from there when %s', async (_, relief) => {
    const { path } = newFile(`cut-${relief}`)
    expect(await fill(path, relief)).toEqual({ told: ['failed EFBIG', 'recovered'], left: 0 })
    expect(wholeLines(path)).toEqual(wanted)
  })

  it('keeps no service from its start, though the file ends in half a line', async () => {
    const { path } = newFile('full-before')
    const half = 'x'.repeat(32 * 1024)
    writeFileSync(path, `whole\n${half}`)
    expect(await fill(path, 'room')).toEqual({ told: ['failed EFBIG', 'recovered'], left: 0 })
    expect(wholeLines(path)).toEqual(['whole', half, ...wanted])
  })

  it('leaves no mark of that half line in another file that it is given instead', async () => {
    const { path } = newFile('full-moved')
    writeFileSync(path, 'x'.repeat(32 * 1024))
    expect(await fill(path, 'moved')).toMatchObject({ left: 0 })
    const [, ...others] = readdirSync(folder).filter(name => name.startsWith('full-moved.'))
    const files = [...others.map(name => join(folder, name)), path]
    expect(files.flatMap(wholeLines)).toEqual(wanted)
  })

  it('writes a line that it cut whole to the next file when the full one is moved away', async () => {
    const { path } = newFile('cut-moved')
    const { told, left } = await fill(path, 'moved')
    expect(left).toBe(0)
    expect(told.slice(0, 3)).toEqual(['failed EFBIG', 'recovered', 'failed EFBIG'])
    const full = readdirSync(folder).filter(name => name.startsWith('cut-moved.')).length
    expect(full).toBeGreaterThan(1)
    const files = [...Array.from({ length: full }, (_, i) => `${path}.${i}`), path]
    expect(files.flatMap(wholeLines)).toEqual(wanted)
    const halves = files.map(file => readFileSync(file, 'utf8').split('\n').at(-1) as string)
    expect(halves.slice(0, -1).some(half => half.length > 0)).toBe(true)
    expect(halves.at(-1)).toBe('')
  })
})

describe('a reader that is slow', () => {
  it('gets every line whole, and is no failure', async () => {
    const { path, told, events } = newPipe('pipe')
    const log = createLineLog(path, events)
    const wanted = Array.from({ length: 5_000 }, (_, i) => `${i} ${'y'.repeat(200)}`)
    for (const line of wanted) log.append(line)
    // The pipe is full before anybody reads.
    await vi.waitFor(() => expect(log.pendingBytes()).toBeLessThan(1_000_000))
    const reader = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] })
    const read = text(reader.stdout)
    expect(await log.close(5_000)).toBe(0)
    expect((await read).split('\n').slice(0, -1)).toEqual(wanted)
    expect(told).toEqual([])
  })

  it('gets the rest though the log did not wait for it', async () => {
    const { path } = newPipe('late')
    const log = createLineLog(path, quiet)
    const wanted = Array.from({ length: 1_000 }, (_, i) => `${i} ${'y'.repeat(200)}`)
    for (const line of wanted) log.append(line)
    expect(await log.close(10)).toBeGreaterThan(0)
    expect(log.append('while it is closing')).toBe(true)
    const reader = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] })
    expect((await text(reader.stdout)).split('\n').slice(0, -1)).toEqual([...wanted, 'while it is closing'])
    expect(await log.close(5_000)).toBe(0)
  })

  it('gets the rest of its last line when the pipe is moved away', async () => {
    const { path } = newPipe('moved-pipe')
    const log = createLineLog(path, quiet)
    const wanted = Array.from({ length: 1_000 }, (_, i) => `${i} ${'y'.repeat(200)}`)
    for (const line of wanted) log.append(line)
    await vi.waitFor(() => expect(log.pendingBytes()).toBeLessThan(150_000))
    renameSync(path, `${path}.1`)
    log.reopen()
    const reader = spawn('cat', [`${path}.1`], { stdio: ['ignore', 'pipe', 'inherit'] })
    const read = text(reader.stdout)
    expect(await log.close(5_000)).toBe(0)
    const rest = existsSync(path) ? wholeLines(path) : []
    expect([...(await read).split('\n').slice(0, -1), ...rest]).toEqual(wanted)
    expect((await read).at(-1)).toBe('\n')
  })

  it.each([
    ['a file and the process ends by itself', 'file', ''],
    ['a file and the process is told to end', 'file', 'process.exit(0)'],
    ['standard output and the process ends by itself', 'stdout', ''],
    ['standard output and the process is told to end', 'stdout', 'process.exit(0)'],
  ])('does not keep the process alive when it takes nothing, it is %s', async (name, as, ending) => {
    const { path } = newPipe(`stuck ${name}`)
    const script = `
      const [, lineLog, path] = process.argv
      const { createLineLog } = await import(lineLog)
      const log = createLineLog(path, { writeFailed() {}, recovered() {}, reopenFailed() {} })
      for (let i = 0; i < 1000; i++) log.append('x'.repeat(200))
      if ((await log.close(10)) === 0) process.exit(3)
      ${ending}
    `
    const pipe = openSync(path, 'r+')
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', script, LINE_LOG, ...(as === 'file' ? [path] : [])],
      { stdio: ['ignore', as === 'file' ? 'inherit' : pipe, 'inherit'] },
    )
    const ended = await once(child, 'exit')
    closeSync(pipe)
    expect(ended).toEqual([0, null])
  })
})

describe('a log that is closed', () => {
  it('has no room, and writes to nothing that was opened since', async () => {
    const log = createLineLog(join(folder, 'closed'), quiet)
    expect(await log.close(1_000)).toBe(0)
    const others = join(folder, 'others')
    const other = createLineLog(others, quiet)
    expect(log.hasRoom()).toBe(false)
    expect(log.append('late')).toBe(false)
    log.reopen()
    expect(await log.close(1_000)).toBe(0)
    other.append('its own')
    expect(await other.close(1_000)).toBe(0)
    expect(wholeLines(others)).toEqual(['its own'])
  })
})

describe('standard output', () => {
  const SCRIPT = `
    const [, lineLog] = process.argv
    const { createLineLog } = await import(lineLog)
    const log = createLineLog(undefined, { writeFailed() {}, recovered() {}, reopenFailed() {} })
    for (let i = 0; i < 2000; i++) log.append(i + ' ' + 'x'.repeat(200))
    log.reopen()
    process.exit((await log.close(20_000)) === 0 ? 0 : 3)
  `
  const wanted = Array.from({ length: 2_000 }, (_, i) => `${i} ${'x'.repeat(200)}`)

  it.each([
    ['a pipe', '| cat > "$OUT"', wanted],
    ['a file', '> "$OUT"', wanted],
    ['the end of a file', '>> "$OUT"', ['before', ...wanted]],
  ])('takes every line when it is %s', async (name, to, lines) => {
    const { path: OUT } = newFile(name)
    writeFileSync(OUT, 'before\n')
    const child = spawn(
      'sh',
      ['-c', `"$0" --input-type=module -e "$@" ${to}`, process.execPath, SCRIPT, LINE_LOG],
      { env: { ...process.env, OUT }, stdio: ['ignore', 'inherit', 'inherit'] },
    )
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(wholeLines(OUT)).toEqual(lines)
  })
})
