import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const SCRIPT = 'deploy/setup/setup.sh'

/** What every Debian has, and setup may rely on. */
const BASE = 'cat cmp cp cut date dirname env flock grep head ln mkdir mv paste rm sed sh sort tail tr uname'

function setup(folder: string, path: string) {
  const { status, stdout, stderr } = spawnSync('sh', [SCRIPT], {
    cwd: folder,
    env: { ...process.env, PATH: path },
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

describe('setup', () => {
  let folder: string
  let bare: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'agent-authz-setup-'))
    for (const file of [SCRIPT, 'deploy/setup/versions', '.node-version', 'package-lock.json']) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      copyFileSync(join(ROOT, file), join(folder, file))
    }
    bare = join(folder, 'base')
    mkdirSync(bare)
    for (const tool of BASE.split(' ')) {
      const found = spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim()
      if (found !== '') symlinkSync(found, join(bare, tool))
    }
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('fetches nothing when all is there', () => {
    const { status, stdout, stderr } = setup(ROOT, process.env.PATH as string)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/^setup: node \S+, npm \S+, envoy \S+, opa \S+\n$/)
  })

  it('says all that must be installed first, once, where it can fetch nothing', () => {
    const { status, stdout, stderr } = setup(folder, bare)
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(/^setup: put this on PATH, then run the same command again:\n/)
    for (const tool of ['npm', 'Python 3 with pip', 'Go 1.21 or later']) expect(stderr).toContain(tool)
    expect(stderr.trimEnd().split('\n')).toHaveLength(4)
  })
})
