import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const SCRIPT = 'deploy/setup/keycloak.sh'
const BASE = 'cat date dirname mkdir mv rm sed sh'

describe('the setup of Keycloak', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'agent-authz-keycloak-setup-'))
    for (const file of [SCRIPT, 'deploy/setup/versions']) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      copyFileSync(join(ROOT, file), join(folder, file))
    }
    mkdirSync(join(folder, 'bin'))
    for (const tool of BASE.split(' ')) {
      const found = spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim()
      if (found !== '') symlinkSync(found, join(folder, 'bin', tool))
    }
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const run = (where: string, path: string | undefined) => {
    const { JAVA_HOME: _, ...env } = process.env
    const { status, stdout, stderr } = spawnSync('sh', [SCRIPT], {
      cwd: where,
      env: where === ROOT ? process.env : { ...env, PATH: path },
      encoding: 'utf8',
    })
    return { status, stdout, stderr }
  }
  const pretend = (tool: string, does: string) =>
    writeFileSync(join(folder, 'bin', tool), `#!/bin/sh\n${does}\n`, { mode: 0o755 })

  it('fetches nothing when it is there', () => {
    const { status, stdout, stderr } = run(ROOT, undefined)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/^setup: keycloak \S+, java \d+\n$/)
  })

  it('says what must be installed first', () => {
    const { status, stdout, stderr } = run(folder, join(folder, 'bin'))
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(/^setup: put this on PATH[^\n]*\n {2}Java 17 or later[^\n]*\n {2}Maven[^\n]*\n$/)
  })

  it('takes no older Java', () => {
    pretend('mvn', 'exit 0')
    pretend('java', 'echo "    java.specification.version = 11" >&2')
    const { status, stderr } = run(folder, join(folder, 'bin'))
    expect(status).toBe(1)
    expect(stderr).toMatch(/^setup: put this on PATH[^\n]*\n {2}Java 17 or later[^\n]*\n$/)
  })

  it('leaves nothing that looks finished where the download fails, and shows why', () => {
    pretend('java', 'echo "    java.specification.version = 21" >&2')
    pretend('mvn', 'echo no such artifact; exit 1')
    const { status, stdout, stderr } = run(folder, join(folder, 'bin'))
    expect(status).toBe(1)
    expect(stdout).toMatch(/^setup: fetching Keycloak \S+ with Maven, about 175 MB \.\.\.\n$/)
    expect(stderr).toMatch(/^no such artifact\nsetup: fetching Keycloak \S+: failed, as told above\n$/)
    expect(readdirSync(join(folder, '.tools'))).toEqual([])
  })
})
