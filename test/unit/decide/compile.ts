import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { extract, pack as packer } from 'tar-stream'

const ROOT = join(import.meta.dirname, '../../..')
const OPA = process.env.OPA ?? join(ROOT, '.tools/bin/opa')
const KEPT = join(tmpdir(), 'agent-authz-test-bundles')

interface Options {
  readonly entrypoints?: readonly string[]
  /** JSON text. */
  readonly data?: string
  readonly revision?: string
}

/** A bundle of this Rego by the real `opa`. Kept by content and compiler, since a compilation takes longer than the tests that use it. */
export function compile(rego: string | Readonly<Record<string, string>>, options: Options = {}): Buffer {
  const { entrypoints = ['envoy/authz/result'], data, revision = '' } = options
  const files: Record<string, string> = {
    ...(typeof rego === 'string' ? { 'policy.rego': rego } : rego),
    ...(data !== undefined && { 'data.json': data }),
  }
  const { size, mtimeMs } = statSync(OPA)
  const asked = JSON.stringify([files, entrypoints, revision, size, mtimeMs])
  const kept = join(KEPT, `${createHash('sha256').update(asked).digest('hex')}.tar.gz`)
  if (existsSync(kept)) return readFileSync(kept)
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-rego-'))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
    const wanted = entrypoints.flatMap(entrypoint => ['-e', entrypoint])
    const args = [
      'build',
      '-t',
      'wasm',
      ...wanted,
      '-r',
      revision,
      '-o',
      'bundle.tar.gz',
      ...Object.keys(files),
    ]
    execFileSync(OPA, args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
    mkdirSync(KEPT, { recursive: true })
    renameSync(join(folder, 'bundle.tar.gz'), kept)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return readFileSync(kept)
}

export type Entries = Record<string, string | Buffer>

/** The files of a bundle, by their names as they are written in it. */
export async function unpack(bundle: Buffer): Promise<Entries> {
  const archive = extract()
  archive.end(gunzipSync(bundle))
  const entries: Entries = {}
  for await (const entry of archive) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    entries[entry.header.name] = Buffer.concat(chunks)
  }
  return entries
}

/** A bundle of these files, whole or not. */
export async function pack(entries: Entries): Promise<Buffer> {
  const archive = packer()
  for (const [name, content] of Object.entries(entries)) archive.entry({ name }, content)
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  return gzipSync(Buffer.concat(chunks))
}
