import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { configSchema, readConfig } from '../../src/config.ts'
import { createProgram } from '../../src/decide/wasm.ts'
import { REASONS } from '../../src/denied.ts'
import { heldRequestFromProtojson } from '../../src/listen/listen.ts'
import { createMetrics } from '../../src/record/record.ts'
import { compile, unpack } from '../unit/decide/compile.ts'

const root = join(import.meta.dirname, '../..')
const src = join(root, 'src')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'))
const imports = new Map(
  files.map(file => [
    file,
    [...readFileSync(join(src, file), 'utf8').matchAll(/(?:from|import)\s*\(?'(\.[^']+\.ts)'/g)].map(
      ([, to]) => relative(src, join(src, dirname(file), to as string)),
    ),
  ]),
)
const room = (file: string) => (file.includes('/') ? (file.split('/')[0] as string) : '')

describe('the house', () => {
  it('is seen whole by this test', () => {
    expect(files.length).toBeGreaterThan(20)
    expect(imports.get('check.ts')).toContain('decide/decide.ts')
  })

  it('lets rooms meet at their doors only', () => {
    const trespasses = [...imports].flatMap(([from, targets]) =>
      targets
        .filter(to => room(to) !== room(from) && room(to) !== '' && to !== `${room(to)}/${room(to)}.ts`)
        .map(to => `${from} → ${to}`),
    )
    expect(trespasses).toEqual([])
  })

  it('gives rooms nothing from outside but doors, nouns, the two errors, and how to read a time, a number or a file and watch one', () => {
    const common = [
      'types.ts',
      'denied.ts',
      'unusable.ts',
      'duration.ts',
      'lossless.ts',
      'named-file.ts',
      'watched-file.ts',
    ]
    const reaching = [...imports]
      .filter(([from]) => room(from) !== '')
      .flatMap(([from, targets]) =>
        targets.filter(to => room(to) === '' && !common.includes(to)).map(to => `${from} → ${to}`),
      )
    expect(reaching).toEqual([])
  })

  it('has no cycle of imports', () => {
    const done = new Set<string>()
    const cycles: string[] = []
    const visit = (file: string, path: string[]) => {
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
      if (done.has(file) || path.includes(file)) return
      for (const to of imports.get(file) ?? []) visit(to, [...path, file])
      done.add(file)
    }
    for (const file of files) visit(file, [])
    expect(cycles).toEqual([])
  })

  it('makes an allow in one place', () => {
    const makers = files.filter(file => /outcome:\s*'allow'[,\s}]/.test(withoutTypes(file)))
    expect(makers).toEqual(['decide/verdict.ts'])
  })

  it('keeps no state in modules and no registry but its own', () => {
    const state =
      /^(?:export )?(?:let |(?:const|var) \w+(?:: [^=]+)? = (?:new (?:Weak)?(?:Map|Set)(?:<.*>)?\(\)|\[\]|\{\})$)/m
    const offenders = files.filter(file => state.test(readFileSync(join(src, file), 'utf8')))
    expect(offenders).toEqual([])
    expect(
      files.filter(file => /import \{[^}]*\bregister\b/.test(readFileSync(join(src, file), 'utf8'))),
    ).toEqual([])
  })

  it('has no line wider than 110 columns, comments included', () => {
    const wide = files.flatMap(file =>
      readFileSync(join(src, file), 'utf8')
        .split('\n')
        .flatMap((line, i) => (line.length > 110 ? [`${file}:${i + 1}`] : [])),
    )
    expect(wide).toEqual([])
  })

  it('has docstrings of five lines at the most', () => {
    const long = files.flatMap(file =>
      [...readFileSync(join(src, file), 'utf8').matchAll(/^ *\/\*\*\n((?: *\*(?!\/).*\n)+)/gm)]
        .filter(([, lines = '']) => lines.trimEnd().split('\n').length > 5)
        .map(([text]) => `${file}: ${text.slice(0, 60)}`),
    )
    expect(long).toEqual([])
  })

  it('has files that one can hold in the head', () => {
    const long = files.filter(file => readFileSync(join(src, file), 'utf8').split('\n').length > 300)
    expect(long).toEqual([])
  })
})

/** Interfaces and their members may speak of an allow; only code makes one. */
function withoutTypes(file: string): string {
  return readFileSync(join(src, file), 'utf8').replace(/^(?:export )?(?:interface|type) [\s\S]*?^\}?$/gm, '')
}

describe('README', () => {
  const folder = mkdtempSync(join(tmpdir(), 'readme-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const readme = read('README.md')

  it.each(Object.entries(REASONS))('names the reason %s with its status %i', (reason, status) => {
    expect(readme).toMatch(new RegExp(`\\| \`${reason}\` \\| ${status} \\|`))
  })

  it('names no reason that is gone', () => {
    const named = [...readme.matchAll(/^\| `([a-z_]+)` \| [45]\d\d \|/gm)].map(([, reason]) => reason)
    expect(named.toSorted()).toEqual(Object.keys(REASONS).toSorted())
  })

  it('names every metric, and none that is gone', async () => {
    const { text } = await createMetrics('0').page()
    const ours = [...text.matchAll(/^# HELP (agent_authz_\S+)/gm)]
      .map(([, name]) => name as string)
      .filter(name => !/^agent_authz_(process|nodejs)_/.test(name))
    const table = /^## Metrics$([\s\S]*?)^## /m.exec(readme)?.[1] ?? ''
    const named = [...table.matchAll(/^\| `(agent_authz_[a-z_]+)/gm)].map(([, name]) => name)
    expect(named.toSorted()).toEqual(ours.toSorted())
  })

  it('names every setting', () => {
    const missing = settings(configSchema() as Schema).filter(
      name => !new RegExp(`\\b${name}\\b`).test(readme),
    )
    expect(missing).toEqual([])
  })

  it('names every key that a route may set', () => {
    const keys = [...read('src/route.ts').matchAll(/^ {2}(agent_authz_[a-z_]+):/gm)].map(
      ([, key]) => key as string,
    )
    expect(keys.length).toBeGreaterThan(3)
    expect(keys.filter(key => !readme.includes(`\`${key}\``))).toEqual([])
  })

  const block = (language: string, having: string) =>
    [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))]
      .map(([, text]) => text as string)
      .find(text => text.includes(having)) ?? ''

  it('shows a configuration that is valid', () => {
    const file = join(folder, 'agent-authz.yaml')
    writeFileSync(file, block('yaml', 'issuers:'))
    expect(readConfig(file).issuers[0]?.name).toBe('corp')
  })

  it('shows a request that is one', () => {
    const request = heldRequestFromProtojson(block('json', '"attributes"'))
    expect(request).toMatchObject({ method: 'GET', host: 'mail.example.com' })
    expect(() => request.assertJudgeable()).not.toThrow()
  })

  it('shows a policy that decides as it reads', async () => {
    const { '/policy.wasm': wasm } = await unpack(compile(block('rego', 'package envoy.authz')))
    const { evaluate } = createProgram(wasm as Buffer, new TextEncoder().encode('{}').buffer)
    const decided = (agent: string) => {
      const input = {
        attributes: { request: { http: { method: 'GET' } } },
        parsed_path: ['v1', 'folders', 'inbox', 'messages'],
        identity: { agent, scopes: ['read:mail:inbox'] },
      }
      return evaluate(new TextEncoder().encode(JSON.stringify(input)).buffer, 'envoy/authz/result')
    }
    expect(decided('mail-summary')).toEqual([{ result: { allowed: true } }])
    expect(decided('other')).toEqual([{ result: { allowed: false } }])
  })

  it('names only make targets that exist', () => {
    const makefile = read('Makefile')
    const targets = [...readme.matchAll(/`?make ([a-z][a-z-]*)/g)].map(([, target]) => target as string)
    expect(targets).toContain('demo')
    expect(targets.filter(target => !new RegExp(`^${target}:`, 'm').test(makefile))).toEqual([])
  })
})

interface Schema {
  properties?: Record<string, Schema>
  items?: Schema
  anyOf?: Schema[]
}

function settings({ properties = {}, items, anyOf = [] }: Schema): string[] {
  const own = Object.entries(properties).flatMap(([name, schema]) => [name, ...settings(schema)])
  return [...own, ...(items ? settings(items) : []), ...anyOf.flatMap(settings)]
}

describe('ARCHITECTURE.md', () => {
  it('gives a reason for every dependency', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, object>
    const architecture = read('ARCHITECTURE.md')
    const names = [...Object.keys(dependencies ?? {}), ...Object.keys(devDependencies ?? {})]
    expect(names.filter(name => !architecture.includes(`\`${name}\``))).toEqual([])
  })

  it('names only files that exist', () => {
    const named = [
      ...read('ARCHITECTURE.md').matchAll(/`((?:src|test|proto|envoy|policies|deploy)\/[^`*<> ]+)`/g),
    ]
    const missing = named.map(([, path]) => path as string).filter(path => !exists(path))
    expect(missing).toEqual([])
  })
})

function exists(path: string): boolean {
  try {
    readdirSync(join(root, path))
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTDIR'
  }
}
