import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import type { Json, JsonObject } from '../types.ts'
import { Unusable } from '../unusable.ts'

const MOST_COMPRESSED = 32 * 1024 * 1024
const MOST_UNPACKED = 128 * 1024 * 1024

export interface Bundle {
  readonly wasm: Uint8Array
  readonly data: JsonObject
  /** The manifest's, or the first 12 digits of the digest. Opaque: neither order nor form is assumed. */
  readonly revision: string
  /** SHA-256 of the file, in hex. */
  readonly digest: string
}

/**
 * Reads an OPA bundle file: tar.gz with `policy.wasm`, `data.json` files and `.manifest`. Checks sizes, that the archive is whole and
 * that no entry leaves it; does not check signatures. Unusable with the reason and the next step.
 */
export async function readBundle(file: string, entrypoint: string): Promise<Bundle> {
  const packed = readFile(file)
  const entries = await unpack(packed).catch((error: unknown) => {
    if (error instanceof Unusable) throw error
    throw new Unusable('it is damaged, or not a tar.gz')
  })
  const wasm = entries.get('policy.wasm')
  if (!wasm)
    throw new Unusable(
      `it has no policy.wasm; build it with: opa build -t wasm -e ${entrypoint} -o bundle.tar.gz policies/`,
    )
  const digest = createHash('sha256').update(packed).digest('hex')
  const manifest = json(entries.get('.manifest'), '.manifest')
  const revision = (manifest as { revision?: unknown }).revision
  return {
    wasm,
    data: dataOf(entries),
    revision: typeof revision === 'string' && revision !== '' ? revision : digest.slice(0, 12),
    digest,
  }
}

function readFile(file: string): Buffer {
  try {
    const packed = readFileSync(file)
    if (packed.length <= MOST_COMPRESSED) return packed
  } catch (error) {
    throw new Unusable(`it cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  throw new Unusable('it is over 32 MiB')
}

async function unpack(packed: Buffer): Promise<Map<string, Buffer>> {
  const tar = await promisify(gunzip)(packed, { maxOutputLength: MOST_UNPACKED })
  const entries = new Map<string, Buffer>()
  const archive = extract()
  archive.end(tar)
  for await (const entry of archive) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    const name = entry.header.name.replace(/^(\.?\/)+/, '')
    if (name.split('/').includes('..')) throw new Unusable('an entry of it leaves the archive')
    if (entry.header.type === 'file') entries.set(name, Buffer.concat(chunks))
  }
  return entries
}

/** Every `data.json`, at the place that its folder names. */
function dataOf(entries: ReadonlyMap<string, Buffer>): JsonObject {
  const root: Tree = Object.create(null)
  for (const [name, content] of entries) {
    const segments = name.split('/')
    if (segments.pop() !== 'data.json') continue
    let place: Tree = root
    for (const segment of segments) place = descend(place, segment)
    merge(place, json(content, name))
  }
  return root as JsonObject
}

type Tree = { [key: string]: Json | Tree }

function descend(tree: Tree, key: string): Tree {
  const next = tree[key]
  if (typeof next === 'object' && next !== null && !Array.isArray(next)) return next as Tree
  const made: Tree = Object.create(null)
  tree[key] = made
  return made
}

function merge(into: Tree, from: JsonObject): void {
  for (const [key, value] of Object.entries(from)) {
    const both = isObject(into[key]) && isObject(value)
    if (both) merge(into[key] as Tree, value as JsonObject)
    else into[key] = value
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function json(content: Buffer | undefined, name: string): JsonObject {
  if (!content) return {}
  try {
    const value: unknown = JSON.parse(content.toString('utf8'))
    if (isObject(value)) return value as JsonObject
  } catch {}
  throw new Unusable(`its ${name} is not a JSON object`)
}
