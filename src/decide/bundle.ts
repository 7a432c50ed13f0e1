import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import { isLosslessObject, parseLossless } from '../lossless.ts'
import type { Json } from '../types.ts'
import { Unusable } from '../unusable.ts'

const MOST_COMPRESSED = 32 * 1024 * 1024
const MOST_UNPACKED = 128 * 1024 * 1024

export interface Bundle {
  readonly wasm: Uint8Array
  /** JSON text in UTF-8, every number as it was written. */
  readonly data: ArrayBuffer
  /** `data._canary`; undefined where there is none. */
  readonly canaries: Json | undefined
  /** The manifest's, or the first 12 digits of the digest. Opaque: neither order nor form is assumed. */
  readonly revision: string
  /** SHA-256 of the file, in hex. */
  readonly digest: string
}

/**
 * Reads an OPA bundle file: tar.gz with `policy.wasm`, `data.json` files and `.manifest`. Checks sizes, that
 * the archive is whole and that no entry leaves it; does not check signatures. Unusable with the reason and
 * the next step.
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
  const manifest = entries.get('.manifest')?.toString('utf8') ?? '{}'
  const { revision } = objectOf(manifest, '.manifest', JSON.parse)
  const { text, canaries } = dataOf(entries)
  return {
    wasm,
    data: new TextEncoder().encode(text).buffer,
    canaries,
    revision: typeof revision === 'string' && revision !== '' ? revision : digest.slice(0, 12),
    digest,
  }
}

function readFile(file: string): Buffer {
  try {
    const found = statSync(file)
    if (!found.isFile()) throw new Unusable('it is not a file')
    if (found.size > MOST_COMPRESSED) throw new Unusable('it is over 32 MiB')
    return readFileSync(file)
  } catch (error) {
    if (error instanceof Unusable) throw error
    throw new Unusable(`it cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

async function unpack(packed: Buffer): Promise<Map<string, Buffer>> {
  const tar = await promisify(gunzip)(packed, { maxOutputLength: MOST_UNPACKED }).catch(error => {
    if (error.code === 'ERR_BUFFER_TOO_LARGE') throw new Unusable('it is over 128 MiB when unpacked')
    throw error
  })
  const entries = new Map<string, Buffer>()
  const archive = extract()
  archive.end(tar)
  for await (const entry of archive) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    const name = entry.header.name.replace(/^(\.?\/)+/, '')
    if (name.split('/').includes('..')) throw new Unusable('an entry of it leaves the archive')
    if (entry.header.type === 'file') entries.set(name, Buffer.concat(chunks))
    else if (entry.header.type !== 'directory')
      throw new Unusable(`its ${name} is neither a file nor a folder`)
  }
  return entries
}

type Tree = { [key: string]: Json }

/** Every `data.json`, at the place that its folder names. */
function dataOf(entries: ReadonlyMap<string, Buffer>): { text: string; canaries: Json | undefined } {
  const files = [...entries].filter(([name]) => name.split('/').at(-1) === 'data.json')
  // One file, as `opa build` leaves it, stays as it is: large data takes long to be written anew.
  const whole = files.length === 1 ? entries.get('data.json')?.toString('utf8') : undefined
  const text = whole ?? merged(files)
  return { text, canaries: objectOf(text, 'data.json', JSON.parse)._canary }
}

function merged(files: readonly (readonly [name: string, content: Buffer])[]): string {
  const root = newTree()
  for (const [name, content] of files) {
    const folders = name.split('/').slice(0, -1)
    const data: Json = objectOf(content.toString('utf8'), name, parseLossless)
    merge(
      root,
      folders.reduceRight<Json>((inner, folder) => Object.assign(newTree(), { [folder]: inner }), data),
    )
  }
  return JSON.stringify(root)
}

/** Without a prototype, so that no key of a bundle means more than itself. */
function newTree(): Tree {
  return Object.create(null)
}

function merge(into: Tree, from: Json): Tree {
  for (const [key, value] of Object.entries(from as Tree)) {
    const there = into[key]
    if (there === undefined) into[key] = isLosslessObject(value) ? merge(newTree(), value) : value
    else if (isLosslessObject(there) && isLosslessObject(value)) merge(there, value)
    else throw new Unusable('its data.json files contradict each other')
  }
  return into
}

function objectOf(text: string, name: string, parse: (text: string) => unknown): Tree {
  try {
    const value = parse(text)
    if (isLosslessObject(value)) return value
  } catch {}
  throw new Unusable(`its ${name} is not a JSON object`)
}
