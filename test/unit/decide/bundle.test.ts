import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { gunzipSync, gzipSync } from 'node:zlib'
import { pack as packer } from 'tar-stream'
import { afterAll, describe, expect, it } from 'vitest'
import { type Bundle, readBundle } from '../../../src/decide/bundle.ts'
import { Unusable } from '../../../src/unusable.ts'
import { compile, type Entries, pack, unpack } from './compile.ts'

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-bundle-'))
const file = join(folder, 'bundle.tar.gz')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function read(content: Buffer): Promise<Bundle> {
  writeFileSync(file, content)
  return readBundle(file, 'envoy/authz/result')
}
async function unusable(content: Buffer | Entries): Promise<string> {
  const thrown = await read(Buffer.isBuffer(content) ? content : await pack(content)).catch(error => error)
  expect(thrown).toBeInstanceOf(Unusable)
  return thrown.message
}
const dataOf = async (entries: Entries) =>
  new TextDecoder().decode((await read(await pack({ 'policy.wasm': 'w', ...entries }))).data)

const rego = 'package envoy.authz\n\nresult := {"allowed": data.open}\n'

describe('a bundle', () => {
  it('of opa is read whole', async () => {
    const content = compile(rego, { data: '{"open": true, "_canary": []}', revision: 'r7' })
    const bundle = await read(content)
    expect(bundle).toMatchObject({
      revision: 'r7',
      digest: createHash('sha256').update(content).digest('hex'),
      canaries: [],
    })
    expect(Buffer.from(bundle.wasm.subarray(0, 4)).toString('latin1')).toBe('\0asm')
    expect(JSON.parse(new TextDecoder().decode(bundle.data))).toEqual({ open: true, _canary: [] })
  })

  it('without a revision is known by the first 12 digits of its digest', async () => {
    const bundle = await read(compile(rego))
    expect(bundle.revision).toBe(bundle.digest.slice(0, 12))
    const { revision, digest } = await read(await pack({ 'policy.wasm': 'w' }))
    expect(revision).toBe(digest.slice(0, 12))
  })

  it('may be reached by a symbolic link', async () => {
    await read(compile(rego))
    symlinkSync(file, join(folder, 'link'))
    expect((await readBundle(join(folder, 'link'), 'x')).digest).toMatch(/^[0-9a-f]{64}$/)
  })

  it('without policy.wasm is refused with the line that builds one', async () => {
    const { '/policy.wasm': _, ...rest } = await unpack(compile(rego))
    expect(await unusable(rest)).toContain('opa build -t wasm -e envoy/authz/result -o bundle.tar.gz')
  })

  it('that is damaged is refused wherever it was cut', async () => {
    const whole = compile(rego)
    const tar = gunzipSync(whole)
    for (const length of [0, 1, 10, whole.length >> 1, whole.length - 1])
      expect(await unusable(whole.subarray(0, length))).toContain('damaged')
    for (const length of [100, 700, tar.length >> 1])
      expect(await unusable(gzipSync(tar.subarray(0, length)))).toMatch(/damaged|no policy.wasm/)
  })

  it.each([
    ['text', Buffer.from('no bundle at all')],
    ['a tar that is not compressed', gunzipSync(compile(rego))],
    ['compressed, but no tar', gzipSync(Buffer.alloc(2048, 'x'))],
    ['compressed, with one byte changed', changed(compile(rego))],
  ])('that is %s is refused', async (_, content) => {
    expect(await unusable(content)).toContain('damaged')
  })

  it('that is too large is refused, packed or unpacked', async () => {
    expect(await unusable(Buffer.alloc(32 * 1024 * 1024 + 1))).toContain('over 32 MiB')
    expect(await unusable(gzipSync(Buffer.alloc(128 * 1024 * 1024 + 1)))).toContain(
      'over 128 MiB when unpacked',
    )
  })

  it.each(['../policy.wasm', 'a/../../policy.wasm', '/../x'])('with the entry %s is refused', async name => {
    expect(await unusable({ 'policy.wasm': 'w', [name]: 'x' })).toContain('leaves the archive')
  })

  it.each(['data.json', 'a/data.json', 'policy.wasm'])('whose %s is a link is refused', async name => {
    const archive = packer()
    archive.entry({ name: 'x' }, '{}')
    archive.entry({ name, type: 'symlink', linkname: 'x' })
    archive.finalize()
    expect(await unusable(gzipSync(await buffer(archive)))).toContain(
      `its ${name} is neither a file nor a folder`,
    )
  })

  it('that is no file, or is not there, is refused', async () => {
    mkdirSync(join(folder, 'sub'))
    await expect(readBundle(join(folder, 'sub'), 'x')).rejects.toThrow('not a file')
    await expect(readBundle(join(folder, 'none'), 'x')).rejects.toThrow('ENOENT')
  })

  it.each(['.manifest', 'data.json', '/a/data.json'])('whose %s is no JSON object is refused', async name => {
    for (const text of ['{', '[]', 'null', '1', ''])
      expect(await unusable({ 'policy.wasm': 'w', [name]: text })).toContain('is not a JSON object')
  })
})

describe('the data of a bundle', () => {
  it('is merged from every data.json, at its folder', async () => {
    const data = await dataOf({
      '/data.json': '{"a": {"x": 1}, "z": 0}',
      '/a/data.json': '{"y": {"deep": true}}',
      './a/y/data.json': '{"more": 2}',
      'b/c/data.json': '{}',
      '/other.json': '{"ignored": 1}',
    })
    expect(JSON.parse(data)).toEqual({ a: { x: 1, y: { deep: true, more: 2 } }, b: { c: {} }, z: 0 })
  })

  it('does not depend on the order of the files', async () => {
    const first = await dataOf({ 'a/data.json': '{"x": 1}', 'data.json': '{"a": {"y": 2}}' })
    expect(JSON.parse(first)).toEqual({ a: { x: 1, y: 2 } })
  })

  it.each([
    { 'data.json': '{"a": 1}', 'a/data.json': '{"x": 1}' },
    { 'a/data.json': '{"x": 1}', 'data.json': '{"a": 1}' },
    { 'data.json': '{"a": {"x": 1}}', 'a/data.json': '{"x": 2}' },
    { 'data.json': '{"a": 12345678901234567890}', 'a/data.json': '{"x": 2}' },
  ])('that contradicts itself is refused: %j', async entries => {
    expect(await unusable({ 'policy.wasm': 'w', ...entries } as Entries)).toContain('contradict')
  })

  it('keeps every digit of a number', async () => {
    expect(await dataOf({ 'data.json': '{"id":12345678901234567890,"l":[1.0,1e400]}' })).toBe(
      '{"id":12345678901234567890,"l":[1.0,1e400]}',
    )
  })

  it('reaches no prototype, whatever its keys and folders are called', async () => {
    const data = await dataOf({
      'data.json': '{"a": {"b": 1}, "__proto__": {"allowed": true}}',
      'a/data.json': '{"__proto__": {"allowed": true}, "constructor": {"prototype": {"allowed": true}}}',
      'a/__proto__/more/data.json': '{"x": 1}',
      '__proto__/data.json': '{"y": 1}',
    })
    expect(({} as { allowed?: unknown }).allowed).toBeUndefined()
    expect(data).toContain('"__proto__":{"allowed":true,"y":1}')
    expect(data).toContain('"__proto__":{"allowed":true,"more":{"x":1}}')
  })
})

function changed(bundle: Buffer): Buffer {
  const copy = Buffer.from(bundle)
  const middle = copy.length >> 1
  copy[middle] = (copy[middle] as number) ^ 0xff
  return copy
}
