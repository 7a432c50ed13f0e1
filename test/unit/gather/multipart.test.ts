import { describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { parseBody } from '../../../src/gather/body.ts'
import { heldRequest } from '../trail.ts'

const B = 'multipart/form-data; boundary=B'

function read(text: string, type = B): unknown {
  const headers = { 'content-type': [type] }
  const request = heldRequest({ headers, body: () => ({ text, bytes: Buffer.byteLength(text) }) })
  return JSON.parse(parseBody(request).parsedBody)
}

function refused(text: string, type = B): string {
  try {
    return `read as ${JSON.stringify(read(text, type)).slice(0, 80)}`
  } catch (error) {
    if (error instanceof Denied) return error.reason
    throw error
  }
}

/** Each part as its header lines and its content. */
function form(...parts: [headers: string[], content: string][]): string {
  return `${parts.map(([headers, content]) => `--B\r\n${headers.map(line => `${line}\r\n`).join('')}\r\n${content}\r\n`).join('')}--B--\r\n`
}
const named = (name: string, ...more: string[]) => [`Content-Disposition: form-data; name="${name}"`, ...more]

describe('a multipart form', () => {
  it('is read as lists by name, JSON parts as JSON', () => {
    const text = form(
      [named('a'), '1'],
      [named('a'), 'two\r\nlines'],
      [named('b', 'Content-Type: application/json'), '{"c": [1]}'],
      [['content-disposition: form-data; name=d; filename="x.txt"', 'Content-Type: text/plain'], ''],
    )
    expect(read(text)).toEqual({ a: ['1', 'two\r\nlines'], b: [{ c: [1] }], d: [''] })
  })

  it('is read by the name alone, whatever the file is called', () => {
    const text = form([['Content-Disposition: form-data; name="a"; filename="x; name=b"'], '1'])
    expect(read(text)).toEqual({ a: ['1'] })
  })

  it('passes over parts without a name', () => {
    expect(
      read(form([[], '1'], [['Content-Disposition: form-data'], '2'], [named(''), '3'], [named('a'), '4'])),
    ).toEqual({
      a: ['4'],
    })
  })

  it('may have a preamble, an epilogue, a quoted boundary and names that objects have', () => {
    const text = `before\r\n${form([named('__proto__'), '1'])}after`
    expect(JSON.stringify(read(text, 'multipart/form-data; charset=utf-8; boundary="B"'))).toBe(
      '{"__proto__":["1"]}',
    )
  })

  it('may be empty', () => {
    expect(read('--B--')).toEqual({})
  })

  it('is not read without a boundary', () => {
    expect(read(form([named('a'), '1']), 'multipart/form-data')).toBeNull()
  })

  it.each([
    ['garbage', 'garbage'],
    ['not closed', '--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'],
    ['closed in the middle of a line', `${form([named('a'), '1']).trim()}x`],
    ['of a part that is headers only', '--B\r\nX-A: 12\r\n--B--'],
    ['of a part whose headers do not end', '--B\r\nContent-Disposition: form-data; name="a"\r\n--B--'],
    ['of a part with bad JSON', form([named('a', 'Content-Type: application/json'), '{'])],
    ['of a part with empty JSON', form([named('a', 'Content-Type: application/json'), ''])],
    ['of a part that is no form data', form([['Content-Disposition: attachment; name="a"'], '1'])],
    [
      'of a part that names itself twice',
      form([['Content-Disposition: form-data; name="a"; name="b"'], '1']),
    ],
    ['of a part with two dispositions', form([[...named('a'), ...named('b')], '1'])],
    ['of a part with an extended name', form([["Content-Disposition: form-data; name*=utf-8''a"], '1'])],
    ['of a part with a folded header', form([['Content-Disposition: form-data;', ' name="a"'], '1'])],
    ['of a part with a stray LF in its headers', form([[`${named('a')[0]}\nX: 1`], '1'])],
    [
      'of a part in quoted-printable',
      form([named('a', 'Content-Transfer-Encoding: quoted-printable'), '=31']),
    ],
    ['of a part in base64', form([named('a', 'content-transfer-encoding: BASE64'), 'MQ=='])],
  ])('that is %s is refused', (_, text) => {
    expect(refused(text)).toBe('body_invalid')
  })

  it.each([
    'boundary=',
    'boundary=""',
    'boundary=B; boundary=C',
    'x="; boundary=B',
    "boundary*=utf-8''B",
    'boundary',
  ])('with the parameter %s is refused', parameter => {
    expect(refused(form([named('a'), '1']), `multipart/form-data; ${parameter}`)).toBe('body_invalid')
  })

  it('may have 512 names and no more', () => {
    const parts = (count: number) =>
      Array.from({ length: count }, (_, i): [string[], string] => [named(`n${i}`), ''])
    expect(Object.keys(read(form(...parts(512))) as object)).toHaveLength(512)
    expect(refused(form(...parts(513)))).toBe('body_invalid')
  })

  it('may have 2,048 parts and no more, the same name and none included', () => {
    const parts = (count: number) =>
      Array.from({ length: count }, (_, i): [string[], string] => [i % 2 ? named('a') : [], ''])
    expect(read(form(...parts(2048)))).toEqual({ a: Array(1024).fill('') })
    expect(refused(form(...parts(2049)))).toBe('body_invalid')
  })

  it('may have 32 headers in each part and no more', () => {
    const part = (headers: number): [string[], string] => [
      named('a', ...Array.from({ length: headers - 1 }, (_, i) => `X-${i}: 1`)),
      '',
    ]
    expect(read(form(part(32), part(32)))).toEqual({ a: ['', ''] })
    expect(refused(form(part(32), part(33)))).toBe('body_invalid')
  })

  it('may have 65,536 values in all of its JSON parts', () => {
    const part = (values: number): [headers: string[], content: string] => [
      named('a', 'Content-Type: application/json'),
      `[${'1,'.repeat(values - 2)}1]`,
    ]
    expect(refused(form(part(65_000), part(536)))).toMatch(/^read as/)
    expect(refused(form(part(65_000), part(537)))).toBe('body_invalid')
  })

  // One of these that is not linear takes minutes, which vitest does not wait for.
  it.each([
    ['a header of a part', `--B\r\nX:${' '.repeat(300_000)}\rX\r\n\r\n1\r\n--B--`],
    ['the line of a boundary', `--B${' '.repeat(300_000)}x\r\n\r\n1\r\n--B--`],
    ['the line that closes it', `--B\r\n\r\n1\r\n--B--${' '.repeat(300_000)}x`],
    ['a disposition', form([[`Content-Disposition: form-data;${' '.repeat(300_000)}"`], '1'])],
  ])('is refused at once with a flood of spaces in %s', (_, text) => {
    expect(refused(text)).toBe('body_invalid')
  })

  it('is delimited by the boundary that its type has outside quotes', () => {
    const type = 'multipart/form-data; x="; boundary=A"; boundary=B'
    expect(read(form([named('a'), '1']), type)).toEqual({ a: ['1'] })
  })
})
