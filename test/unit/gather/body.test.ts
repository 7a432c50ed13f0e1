import { describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { parseBody } from '../../../src/gather/body.ts'
import { heldRequest } from '../trail.ts'

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

function body(type: string | string[] | undefined, text: string, headers: Record<string, string[]> = {}) {
  return parseBody(
    heldRequest({
      headers: { ...(type !== undefined && { 'content-type': [type].flat() }), ...headers },
      body: () => ({ text, bytes: Buffer.byteLength(text) }),
    }),
  )
}

function refused(...args: Parameters<typeof body>): string {
  try {
    return `read as ${body(...args).parsedBody.slice(0, 80)}`
  } catch (error) {
    if (error instanceof Denied) return error.reason
    throw error
  }
}

const nothing = { parsedBody: 'null', truncatedBody: false }
const cut = { parsedBody: 'null', truncatedBody: true }

describe('the type of a body', () => {
  it.each(['application/json; charset=utf-8', 'application/json-seq', 'application/json; x="a, b"'])(
    '%s is read as JSON',
    type => {
      expect(body(type, '{"a":1}')).toEqual({ parsedBody: '{"a":1}', truncatedBody: false })
    },
  )

  it.each([
    ['text/xml, application/json'],
    ['application/json,application/json'],
    [['application/json', 'text/xml']],
    [['text/xml', FORM_TYPE]],
    [`${FORM_TYPE}; x=application/json`],
    ['multipart/form-data; boundary="application/json"'],
  ])('%s is refused: another reader could take the other type', type => {
    expect(refused(type, '{"a":1}')).toBe('body_invalid')
  })

  it.each([
    'application/problem+json',
    'Application/JSON',
    'text/plain',
    'application/grpc',
    'application/grpc+proto',
    '',
  ])('%s is not read', type => {
    expect(body(type, '{"a":1}')).toEqual(nothing)
  })

  it('may be absent, and nothing is read then', () => {
    expect(body(undefined, '{"a":1}', { 'content-length': ['abc'] })).toEqual(nothing)
  })
})

describe('a part of a body', () => {
  it('is not read, whatever its type', () => {
    for (const type of [JSON_TYPE, FORM_TYPE, 'multipart/form-data; boundary=B', 'text/plain', undefined])
      expect(body(type, '{"a":', { 'x-envoy-auth-partial-body': ['true'] })).toEqual(cut)
  })

  it.each(['TRUE', 'false', '1'])('is only what Envoy says is one: %s is not', value => {
    expect(refused(JSON_TYPE, '{"a":', { 'x-envoy-auth-partial-body': [value] })).toBe('body_invalid')
  })

  it('is one too where another value stands beside', () => {
    expect(body(JSON_TYPE, '1', { 'x-envoy-auth-partial-body': ['false', 'true'] })).toEqual(cut)
  })

  it.each([JSON_TYPE, FORM_TYPE, 'multipart/form-data; boundary=B'])(
    'is what is shorter than declared: %s',
    type => {
      expect(body(type, '1', { 'content-length': ['2'] })).toEqual(cut)
    },
  )
})

describe('the declared length of a body', () => {
  it.each(['-1', '0', '1', '+1'])('may be %s', length => {
    expect(body(JSON_TYPE, '1', { 'content-length': [length] }).parsedBody).toBe('1')
  })

  it('counts bytes, not characters', () => {
    expect(body(JSON_TYPE, '"é"', { 'content-length': ['4'] }).truncatedBody).toBe(false)
    expect(body(JSON_TYPE, '"é"', { 'content-length': ['5'] }).truncatedBody).toBe(true)
  })

  it.each([['abc'], ['7,7'], [''], ['1.0'], ['0x1'], ['1e1'], [' 1'], ['9'.repeat(20)]])(
    'is refused as %j',
    length => {
      expect(refused(JSON_TYPE, '1', { 'content-length': [length] })).toBe('body_invalid')
    },
  )

  it('is refused when it comes twice', () => {
    expect(refused(JSON_TYPE, '1', { 'content-length': ['1', '1'] })).toBe('body_invalid')
  })

  it('does not matter without a body', () => {
    expect(body(JSON_TYPE, '', { 'content-length': ['abc'] })).toEqual(nothing)
  })
})

describe('a JSON body', () => {
  it.each(['null', 'true', '0', '""', '[]', '{}', '"text"', '{"a":1,"a":2}', '[1,[2,{"b":null}]]'])(
    'may be %s',
    text => {
      expect(body(JSON_TYPE, text).parsedBody).toBe(text)
    },
  )

  it('may have white space around it', () => {
    expect(body(JSON_TYPE, ' \r\n\t{"a": 1}\n ').parsedBody).toBe('{"a": 1}')
  })

  it.each(['12345678901234567890', '1e400', '-0', '0.1000', '1E5', '1.5e+3', '1e-999', '2e0999'])(
    'keeps the digits of %s',
    text => {
      expect(body(JSON_TYPE, `{"n":${text}}`).parsedBody).toBe(`{"n":${text}}`)
    },
  )

  it.each([
    '{"a":1} x',
    '{"a":1}{"b":2}',
    '1 2',
    '\ufeff{"a":1}',
    ' ',
    '{',
    "{'a':1}",
    '[1,]',
    '01',
    'NaN',
    '1e',
    '\u00a01',
    'undefined',
  ])('is refused as %j', text => {
    expect(refused(JSON_TYPE, text)).toBe('body_invalid')
  })

  it.each([
    [String.raw`"\ud800"`, String.raw`"\ufffd"`],
    [String.raw`"\uDFFFx\uDBFF"`, String.raw`"\ufffdx\ufffd"`],
    [String.raw`"\ud83d\ude00"`, String.raw`"\ud83d\ude00"`],
    [String.raw`"\ud83d\ud83d\ude00"`, String.raw`"\ufffd\ud83d\ude00"`],
    [String.raw`"\ude00\ud83d"`, String.raw`"\ufffd\ufffd"`],
    [String.raw`"\\ud800"`, String.raw`"\\ud800"`],
    [String.raw`"\\\ud800"`, String.raw`"\\\ufffd"`],
    [String.raw`"\ud800\\udc00"`, String.raw`"\ufffd\\udc00"`],
    [String.raw`{"\ud800":1}`, String.raw`{"\ufffd":1}`],
  ])('has halves of surrogate pairs replaced: %s', (text, wanted) => {
    expect(body(JSON_TYPE, text).parsedBody).toBe(wanted)
  })

  const nested = (depth: number, inner: string) => '[{"a":'.repeat(depth / 2) + inner + '}]'.repeat(depth / 2)

  it('may be nested 64 deep, brackets in strings not counted', () => {
    const text = nested(64, String.raw`"[[{{\"[["`)
    expect(body(JSON_TYPE, text).parsedBody).toBe(text)
    expect(body(JSON_TYPE, `[${'[],'.repeat(1000)}[]]`).truncatedBody).toBe(false)
  })

  it('is refused when nested deeper, however deep', () => {
    expect(refused(JSON_TYPE, nested(64, '[]'))).toBe('body_invalid')
    expect(refused(JSON_TYPE, '['.repeat(500_000) + ']'.repeat(500_000))).toBe('body_invalid')
  })

  it.each(['1e1000', '-1E+1000', '1e-1000', '{"a":[1e999999999]}', '1e99999999999999999999'])(
    'is refused with %s, which policy could count with for seconds',
    text => {
      expect(refused(JSON_TYPE, text)).toBe('body_invalid')
    },
  )

  const object = (names: number) => `{${Array.from({ length: names }, (_, i) => `"n${i}":":"`).join(',')}}`

  it('may have 512 names in each object', () => {
    const text = `[${object(512)},{"inner":${object(512)}}]`
    expect(body(JSON_TYPE, text).parsedBody).toBe(text)
  })

  it('is refused with more names in one, the same name over and over included', () => {
    expect(refused(JSON_TYPE, `[${object(513)}]`)).toBe('body_invalid')
    expect(refused(JSON_TYPE, `{"a":${object(513)}}`)).toBe('body_invalid')
    expect(refused(JSON_TYPE, `{${'"a":1,'.repeat(512)}"a":1}`)).toBe('body_invalid')
  })

  it('may have 65,536 values at whatever depth, names apart, and no more', () => {
    const values = (count: number) => `[${'{"a":"b"},'.repeat(count / 2 - 1)}1]`
    expect(refused(JSON_TYPE, values(65_536))).toMatch(/^read as/)
    expect(refused(JSON_TYPE, `[${values(65_536)}]`)).toBe('body_invalid')
    expect(refused(JSON_TYPE, `[${'[],'.repeat(65_535)}[]]`)).toBe('body_invalid')
    expect(refused(JSON_TYPE, `[${'null,'.repeat(65_535)}null]`)).toBe('body_invalid')
    expect(refused(JSON_TYPE, `{"a":[${'1,'.repeat(65_533)}1]}`)).toMatch(/^read as/)
    expect(refused(JSON_TYPE, `{"a":[${'1,'.repeat(65_533)}1],"b":1}`)).toBe('body_invalid')
  })

  it('may have such text in a string', () => {
    expect(body(JSON_TYPE, '"1e9999"').parsedBody).toBe('"1e9999"')
    expect(body(JSON_TYPE, String.raw`["\"1e9999",true]`).parsedBody).toBe(String.raw`["\"1e9999",true]`)
  })
})

describe('a form body', () => {
  it('is read as lists by name', () => {
    const { parsedBody } = body(FORM_TYPE, 'a=1&a=2&b=x+y%20z&c&d=')
    expect(JSON.parse(parsedBody)).toEqual({ a: ['1', '2'], b: ['x y z'], c: [''], d: [''] })
  })

  it('is null when empty', () => {
    expect(body(FORM_TYPE, '')).toEqual(nothing)
  })

  it('may have 512 names, each as often as it likes, and no more', () => {
    const names = (count: number) => Array.from({ length: count }, (_, i) => `n${i}=&n${i}=1`).join('&')
    expect(Object.keys(JSON.parse(body(FORM_TYPE, names(512)).parsedBody))).toHaveLength(512)
    expect(refused(FORM_TYPE, names(513))).toBe('body_invalid')
  })

  it('may have 2,048 fields and no more, the same over and over included', () => {
    expect(JSON.parse(body(FORM_TYPE, `${'a=&'.repeat(2047)}a=`).parsedBody).a).toHaveLength(2048)
    expect(refused(FORM_TYPE, `${'a=&'.repeat(2048)}a=`)).toBe('body_invalid')
  })

  it.each(['a=1;b=2', 'a=%zz', '%ff=1'])('is refused as %s', text => {
    expect(refused(FORM_TYPE, text)).toBe('body_invalid')
  })
})
