import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createProgram } from '../../../src/decide/wasm.ts'
import { parseBody } from '../../../src/gather/body.ts'
import { Unusable } from '../../../src/unusable.ts'
import { heldRequest } from '../trail.ts'
import { compile, unpack } from './compile.ts'

const ENTRY = 'envoy/authz/result'
const encode = (text: string) => new TextEncoder().encode(text).buffer

async function program(rego: string, { data = '{}', entrypoints = [ENTRY] } = {}) {
  const { '/policy.wasm': wasm } = await unpack(compile(rego, { entrypoints }))
  return createProgram(wasm as Buffer, encode(data))
}
const ask = ({ evaluate }: Awaited<ReturnType<typeof program>>, input: string, entrypoint = ENTRY) =>
  evaluate(encode(input), entrypoint)

const rego = (...lines: string[]) => ['package envoy.authz', 'import rego.v1', ...lines].join('\n\n')

describe('a program', () => {
  it('gives the set of results of an entry point', async () => {
    const made = await program(rego('result := input.x if input.x', 'other := data.y'), {
      data: '{"y": 3}',
      entrypoints: [ENTRY, 'envoy/authz/other'],
    })
    expect(made.entrypoints.toSorted()).toEqual(['envoy/authz/other', ENTRY])
    expect(ask(made, '{"x": {"a": [1]}}')).toEqual([{ result: { a: [1] } }])
    expect(ask(made, '{}', 'envoy/authz/other')).toEqual([{ result: 3 }])
    expect(ask(made, '{}')).toEqual([])
  })

  it('has no entry point but its own', async () => {
    const made = await program(rego('result := true'))
    for (const name of ['envoy/authz/none', '', 'constructor', '0'])
      expect(() => ask(made, '{}', name)).toThrow()
    expect(ask(made, '{}')).toEqual([{ result: true }])
  })

  it('sees inputs that count as nothing elsewhere', async () => {
    const made = await program(rego('result := input'))
    for (const input of ['null', '0', 'false', '""'])
      expect(ask(made, input)).toEqual([{ result: JSON.parse(input) }])
  })

  it('tells long numbers apart, in input and in data', async () => {
    const made = await program(rego('result := input.id == data.id'), {
      data: '{"id": 12345678901234567890}',
    })
    expect(ask(made, '{"id": 12345678901234567890}')).toEqual([{ result: true }])
    expect(ask(made, '{"id": 12345678901234567000}')).toEqual([{ result: false }])
  })

  it('is right again after it threw, with its data, as often as that happens', async () => {
    const made = await program(rego('result := x if some x in data.values', 'result := input.also'), {
      data: '{"values": [1]}',
    })
    // One instance has stack for about 500 aborts.
    for (let time = 0; time < 700; time++) expect(() => ask(made, '{"also": 2}')).toThrow('the policy threw')
    expect(ask(made, '{"also": 1}')).toEqual([{ result: 1 }])
  })

  it('throws errors, which do not say what the input was', async () => {
    const made = await program(rego('result := yaml.unmarshal(input.text)'))
    for (const input of ['{"text": "\\"secret: [", "x": "secret"}', '{"x": "secret \\ud800"}', '{"secret'])
      try {
        expect(ask(made, input)).toBe('nothing')
      } catch (error) {
        expect(error).toBeInstanceOf(Error)
        expect((error as Error).message).not.toContain('secret')
      }
    expect(ask(made, '{"text": "[1]"}')).toEqual([{ result: [1] }])
  })

  it('is right after inputs of very different sizes', async () => {
    const made = await program(rego('result := count(input.list)'))
    for (const size of [1, 200_000, 2, 500_000, 3])
      expect(ask(made, JSON.stringify({ list: Array(size).fill({ a: 'text' }) }))).toEqual([{ result: size }])
  })

  it('implements what it says that it implements', async () => {
    const made = await program(
      rego(
        'result := [json.is_valid("{}"), regex.split(`-`, "a-b"), sprintf("%s %d", ["x", 1]), yaml.is_valid("a: 1"), yaml.unmarshal("a: 1"), yaml.marshal({"a": input.n})]',
      ),
    )
    expect(ask(made, '{"n": 2}')).toEqual([{ result: [true, ['a', 'b'], 'x 1', true, { a: 1 }, 'a: 2\n'] }])
  })
})

describe('a program is refused', () => {
  it('when it needs builtins that are not there, by name, though no test would reach them', async () => {
    const needs = rego(
      'result := true if input.rare == time.now_ns()',
      'result := false if io.jwt.decode(input.x)',
    )
    const thrown = await program(needs).catch(error => error)
    expect(thrown).toBeInstanceOf(Unusable)
    expect(thrown.message).toContain('io.jwt.decode, time.now_ns')
  })

  it.each([
    ['text', Buffer.from('no program')],
    ['an empty file', Buffer.alloc(0)],
  ])('when it is %s', (_, wasm) => {
    expect(() => createProgram(wasm, encode('{}'))).toThrow('not WebAssembly')
  })

  it('when it is WebAssembly, but no policy', () => {
    const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
    expect(() => createProgram(empty, encode('{}'))).toThrow('not an OPA policy')
  })

  it('when its data is not for it', async () => {
    await expect(program(rego('result := true'), { data: String.raw`{"a": "\ud800"}` })).rejects.toThrow(
      'its data',
    )
  })
})

describe('a JSON body', () => {
  it('means to policy what it means to JSON.parse, halves of surrogate pairs replaced', async () => {
    const made = await program(rego('result := input.body'))
    const unit = fc.oneof(
      { weight: 5, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
      fc.constantFrom('\ud800', '\udfff', '\\', '"', '\0', 'u', 'd', '8', '0'),
    )
    const text = fc
      .json({ stringUnit: unit })
      .map(json =>
        json.replace(/[^ -~]/g, c =>
          c < '\u0400' ? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}` : c,
        ),
      )
    fc.assert(
      fc.property(text, body => {
        const headers = { 'content-type': ['application/json'] }
        const held = heldRequest({ headers, body: () => ({ text: body, bytes: body.length }) })
        const [got] = ask(made, `{"body":${parseBody(held).parsedBody}}`) as { result: unknown }[]
        const wanted = wellFormed(JSON.parse(body))
        if (!isDeepStrictEqual(got?.result, wanted)) expect(got?.result).toEqual(wanted)
      }),
      { numRuns: 500 },
    )
  })
})

function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed()
  if (Array.isArray(value)) return value.map(wellFormed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key.toWellFormed(), wellFormed(item)]),
  )
}
