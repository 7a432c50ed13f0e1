import { isUtf8 } from 'node:buffer'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { Denied } from '../../../src/denied.ts'
import { parseBody } from '../../../src/gather/body.ts'
import { parsePath } from '../../../src/gather/path.ts'
import { edited } from '../../unit/identify/mutations.ts'
import { heldRequest } from '../../unit/trail.ts'
import { hold, holdSame, orDenied } from '../held.ts'
import { jsonTexts } from '../json-texts.ts'
import { readJson } from '../strict-json.ts'
import { createTarget } from '../target.ts'

type Kind = 'query' | 'json' | 'form' | 'multipart' | 'broken multipart'

interface Input {
  readonly kind: Kind
  readonly text: string
  /** What a form that is written without fault holds. */
  readonly fields?: readonly (readonly [name: string, value: string])[]
}

const PIECES = [
  'a',
  'b',
  '=',
  '&',
  '&',
  '=',
  '+',
  '%20',
  '%c3%a9',
  'é',
  '%F0%9F%98%80',
  '__proto__',
  '/',
  '%2F',
  '..',
]
const BAD_PIECES = ['%', '%zz', '%ff', '%c3', ';', '%ed%a0%80', '%00', '?', '#', '%u0041', '😀']
const encoded = fc
  .array(
    fc.oneof(
      { arbitrary: fc.constantFrom(...PIECES), weight: 30 },
      { arbitrary: fc.constantFrom(...BAD_PIECES), weight: 2 },
    ),
    { maxLength: 14 },
  )
  .map(pieces => pieces.join(''))
const crowded = fc
  .integer({ min: 510, max: 514 })
  .map(count => Array.from({ length: count }, (_, i) => `n${i}`).join('&'))
const forms = fc.oneof({ arbitrary: encoded, weight: 100 }, { arbitrary: crowded, weight: 1 })

const BOUNDARY = 'xYz'
const contents = fc.constantFrom(
  '',
  'a',
  'é',
  '--',
  '--x',
  '\r\n',
  'a\r\nb',
  '\r\n--',
  `\r\n--${BOUNDARY}`,
  `--${BOUNDARY}--`,
  '"',
  '{"a":1}',
  'x-y',
)
const fields = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'é', '__proto__', 'a b'), contents), {
  minLength: 1,
  maxLength: 4,
})
const multipart = fields.map(all => ({
  kind: 'multipart' as const,
  fields: all,
  text: `${all
    .map(
      ([name, value]) =>
        `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    )
    .join('')}--${BOUNDARY}--\r\n`,
}))
const SAMPLE = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="a"; filename=b\r\ncontent-type: application/json\r\n\r\n{"a":[1e2]}\r\n--${BOUNDARY} \r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: form-data; name=c\r\n\r\nd\r\n--${BOUNDARY}--`

const of = (kind: Kind, texts: fc.Arbitrary<string>): fc.Arbitrary<Input> =>
  texts.map(text => ({ kind, text }))
const inputs: fc.Arbitrary<Input> = fc.oneof(
  of(
    'query',
    fc.tuple(encoded, forms).map(([path, query]) => `/${path}?${query}`),
  ),
  of('form', forms),
  of('json', jsonTexts(['{"a":[1,{"b":"c"}]}', '{"id":12345678901234567890}'])),
  multipart,
  of(
    'broken multipart',
    edited(SAMPLE).map(text => text.toWellFormed()),
  ),
)

const TYPES: { readonly [kind in Kind]: string } = {
  query: '',
  json: 'application/json; charset=utf-8',
  form: 'application/x-www-form-urlencoded',
  multipart: `multipart/form-data; boundary=${BOUNDARY}`,
  'broken multipart': `multipart/form-data; boundary="${BOUNDARY}"`,
}

/** What policy is told of path, query and body. */
export const gather = createTarget<Input>({
  name: 'gather',
  least: 0.3,
  file: 'bodies.yaml',
  inputs,
  accepts(input) {
    return input.kind === 'query' ? holdTarget(input.text) : holdBody(input)
  },
  shown: input => input,
  vector: ({ kind, text }) =>
    kind === 'query'
      ? { request: { path: text } }
      : { request: { method: 'POST', headers: { 'content-type': TYPES[kind] }, body: text } },
})

function holdTarget(target: string): boolean {
  const mark = target.indexOf('?')
  const [path, query] = [target.slice(0, mark), target.slice(mark + 1)]
  const read = orDenied(() => parsePath(target))
  const wanted = formOf(query)
  const isRight = isEncoded(path) && wanted !== undefined
  if (read instanceof Denied) {
    hold(!isRight && read.reason === 'path_invalid', `a target that is right is refused: ${read.reason}`)
    return false
  }
  hold(isRight, 'a target that is not right is refused')
  holdSame(read.parsedQuery, wanted, 'the query')
  const plain = Buffer.from(percentDecoded(path)).toString().replace(/^\/*/, '')
  holdSame(read.parsedPath, plain.split('/'), 'the path')
  return true
}

function holdBody({ kind, text, fields }: Input): boolean {
  const body = { text, bytes: Buffer.byteLength(text) }
  const read = orDenied(() =>
    parseBody(heldRequest({ headers: { 'content-type': [TYPES[kind]] }, body: () => body })),
  )
  const wanted = text === '' ? { value: null } : wantedOf(kind, text, fields)
  if (read instanceof Denied) {
    hold(read.reason === 'body_invalid', `refused with ${read.reason}`)
    hold(wanted === undefined || wanted.value === ANYTHING, 'a body that is right is read')
    return false
  }
  hold(wanted !== undefined && !read.truncatedBody, 'a body that is not right is refused')
  const told = readJson(read.parsedBody)
  hold(told !== undefined && !told.broken, 'what policy gets is JSON of whole characters')
  if (wanted.value !== ANYTHING) hold(isDeepStrictEqual(told.value, wanted.value), `reads ${read.parsedBody}`)
  return true
}

/** An object whose members are lists, or a refusal. */
const ANYTHING = Symbol('anything')

/** Undefined where it must be refused. */
function wantedOf(kind: Kind, text: string, fields: Input['fields']): { value: unknown } | undefined {
  if (kind === 'json') {
    const json = readJson(text)
    const isRight = json && json.depth <= 64 && json.mostNames <= 512 && json.largestExponent <= 999
    return isRight ? { value: whole(json.value) } : undefined
  }
  if (kind === 'form') {
    const form = formOf(text)
    return form && { value: new Map(Object.entries(form)) }
  }
  if (kind === 'broken multipart') return { value: ANYTHING }
  // What looks like a boundary within a value ends it, and the rest is no form.
  if (fields?.some(([, value]) => `\r\n${value}`.includes(`\r\n--${BOUNDARY}`))) return { value: ANYTHING }
  return { value: grouped(fields ?? []) }
}

/** As the URL standard reads it; undefined where readers differ, or there are over 512 names. */
function formOf(text: string): { [name: string]: string[] } | undefined {
  const pairs = text.split('&').filter(pair => pair !== '')
  if (pairs.some(pair => pair.includes(';') || !pair.split('=').every(isEncoded))) return undefined
  const form = grouped([...new URLSearchParams(`&${text}`)])
  return form.size > 512 ? undefined : Object.fromEntries(form)
}

function grouped(pairs: readonly (readonly [string, string])[]): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const [name, value] of pairs) groups.set(name, [...(groups.get(name) ?? []), value])
  return groups
}

/** Every `%` begins two hex digits, and the bytes are UTF-8. */
function isEncoded(text: string): boolean {
  return !/%(?![\da-fA-F]{2})/.test(text) && isUtf8(percentDecoded(text))
}

function percentDecoded(text: string): Buffer {
  const bytes = text
    .split(/(%[\da-fA-F]{2})/)
    .map((piece, i) => Buffer.from(i % 2 === 1 ? piece.slice(1) : piece, i % 2 === 1 ? 'hex' : 'utf8'))
  return Buffer.concat(bytes)
}

/** With a replacement character for each half of a surrogate pair, which the policy engine cannot take. */
function whole(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed()
  if (Array.isArray(value)) return value.map(whole)
  if (value instanceof Map)
    return new Map([...value].map(([name, inner]) => [name.toWellFormed(), whole(inner)]))
  return value
}
