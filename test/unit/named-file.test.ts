import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { readNamedFile } from '../../src/named-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'named-file-'))
const path = (name: string) => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('is its bytes', () => {
  writeFileSync(path('file'), 'content')
  expect(readNamedFile(path('file')).toString()).toBe('content')
})

it.each<[what: string, name: string, code: string]>([
  ['that is not there', 'absent', 'ENOENT'],
  ['that is a folder', '.', 'EISDIR'],
  ['that is a pipe to which nobody writes', 'pipe', 'a pipe'],
])('fails at once for one %s', (_, name, code) => {
  if (name === 'pipe') execFileSync('mkfifo', [path(name)])
  expect(() => readNamedFile(path(name))).toThrow(expect.objectContaining({ code }))
})
