import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { fieldsOf, varint, type WireField, written } from '../unit/listen/wire/fields.ts'
import { encodeRequest } from '../unit/listen/wire/oracle.ts'
import { CHECK_REQUEST } from '../unit/listen/wire/shapes.ts'

/* Messages that Envoy sent, changed field by field: each is still protobuf, but for the last kinds of change. */

const recordings = join(import.meta.dirname, '../vectors/wire')
const texts = JSON.parse('{"a":"1","":"","__proto__":"2","ü":"é"}') as object
const fields = (entries: object) => ({ fields: entries })
const struct = fields({
  null: { nullValue: 0 },
  text: { stringValue: 'a' },
  number: { numberValue: -0.5 },
  yes: { boolValue: true },
  list: { listValue: { values: [{ numberValue: 1 }, { listValue: {} }, {}] } },
  inner: { structValue: fields({ a: { structValue: fields({ '': { boolValue: false } }) } }) },
})
const metadata = {
  filterMetadata: { corp: struct, empty: {} },
  typedFilterMetadata: { any: { type_url: 'a', value: Buffer.from([0, 255]) } },
}
const http = { method: 'GET', path: '/a?b=c', host: 'h' }
const listed = [
  { key: ':path', rawValue: Buffer.from('/a?b=c') },
  { key: 'Authorization', rawValue: Buffer.from('Bearer a') },
  { key: 'x-a', value: 'b' },
]

/** What no recording has. */
const COMPOSED = [
  {
    source: { address: { pipe: { path: '/run/a', mode: 384 } }, labels: texts },
    destination: { address: { socketAddress: { address: '::1', namedPort: 'web', ipv4Compat: true } } },
    request: { time: { seconds: '-1', nanos: -1 }, http: { ...http, headers: texts, size: '-1' } },
    contextExtensions: texts,
  },
  {
    source: { address: { envoyInternalAddress: { serverListenerName: 'a', endpointId: 'b' } } },
    request: { http: { ...http, headers: { a: 'b' }, headerMap: { headers: listed }, body: 'b' } },
    metadataContext: metadata,
    routeMetadataContext: metadata,
    tlsSession: { sni: 'a' },
  },
].map(attributes => encodeRequest({ attributes }))

const CORPUS = [
  ...readdirSync(recordings)
    .filter(name => name.endsWith('.bin'))
    .map(name => readFileSync(join(recordings, name))),
  ...COMPOSED,
]

const READ = CORPUS.map(bytes => fieldsOf(bytes, CHECK_REQUEST) as WireField[])
const KNOWN = READ.flatMap(fields => spotsOf(fields).map(field))

const VARINTS = [0n, 1n, 2n, 127n, 128n, 2n ** 31n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]
const DOUBLES = [0, -0, 0.1, 5e-324, 2 ** 53 + 2, 1e308, Number.NaN, Number.POSITIVE_INFINITY]
const TEXTS = [
  ...['', 'a', ':path', 'authorization', 'Authorization', 'x_agent_id', '__proto__', 'constructor', 'İ'],
  ...['\0', '\ufeff', '\ufffd', '\u{1f600}', 'é'.repeat(200)],
]
const BROKEN_TEXTS = ['ff', 'c080', 'eda080', 'f4908080', '61c3']

interface Spot {
  readonly list: WireField[]
  readonly at: number
}

/** What to do to the field at a spot; `n` says which of several ways. */
const CHANGES: { [name: string]: (spot: Spot, n: number) => void } = {
  'taken away': ({ list, at }) => list.splice(at, 1),
  twice: ({ list, at }, n) => list.splice(n % (list.length + 1), 0, copy(list[at] as WireField)),
  moved: ({ list, at }, n) => list.splice(n % list.length, 0, ...list.splice(at, 1)),
  'another in its place': ({ list, at }, n) => list.splice(at, 1, known(n)),
  'another beside it': ({ list, at }, n) => list.splice(at, 0, known(n)),
  'what another holds': (spot, n) => {
    const { value, inner } = known(n)
    Object.assign(field(spot), { value, inner })
  },
  'another number': (spot, n) => {
    field(spot).number = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 16, 2 ** 29 - 1][n % 14] as number
  },
  'an unknown field': ({ list, at }, n) => {
    const type = [0, 1, 2, 5][n % 4] as number
    list.splice(at, 0, { number: 7 + (n % 99) * 100, type, value: Buffer.alloc(type === 1 ? 8 : 4, n % 128) })
  },
  'another value': (spot, n) => {
    const { type } = field(spot)
    const value =
      type === 0
        ? varint(VARINTS[n % VARINTS.length] as bigint, n % 3)
        : type === 1
          ? double(DOUBLES[n % DOUBLES.length] as number)
          : Buffer.from(TEXTS[n % TEXTS.length] as string)
    if (!field(spot).inner) field(spot).value = value
  },
  'with padding': (spot, n) => {
    field(spot).padding = 1 + (n % 10)
  },
  deeper: ({ list, at }, n) => {
    const inside = list[at] as WireField
    for (let depth = n % 70; depth > 0; depth--) wrap(inside, depth % 2 === 0)
  },
  many: ({ list, at }, n) => {
    if (n % 50 === 0) list.splice(at, 0, ...Array(n % 1_100).fill(list[at]))
  },
}

/** Those with which nothing is a message, but by chance. */
const BREAKING: typeof CHANGES = {
  'another type': (spot, n) => {
    field(spot).type = n % 8
  },
  'a wrong length': (spot, n) => {
    field(spot).lie = [1, -1, 127, 2 ** 31][n % 4] as number
  },
  'broken text': (spot, n) => {
    delete field(spot).inner
    field(spot).value = Buffer.from(BROKEN_TEXTS[n % BROKEN_TEXTS.length] as string, 'hex')
  },
  'another byte': (spot, n) => {
    const { value } = field(spot)
    delete field(spot).inner
    field(spot).value = Buffer.from(value.map((byte, at) => (at === n % value.length ? byte ^ n : byte)))
  },
  cut: (spot, n) => {
    const { value } = field(spot)
    delete field(spot).inner
    field(spot).value = value.subarray(0, n % (value.length + 1))
  },
  'a number too long': (spot, n) => {
    const { type } = field(spot)
    if (type === 0)
      field(spot).value = Buffer.from(
        ['ffffffffffffffffff02', '8080808080808080808000'][n % 2] as string,
        'hex',
      )
    if (type === 1) field(spot).value = double(n % 2 === 0 ? Number.NaN : Number.NEGATIVE_INFINITY)
  },
  'no field': (spot, n) => {
    field(spot).number = n % 2 === 0 ? 0 : 2 ** 29
  },
}

const changeOf = (kinds: typeof CHANGES) =>
  fc.record({ what: fc.constantFrom(...Object.keys(kinds)), at: fc.nat(), n: fc.nat() })

const quiet = changeOf(CHANGES)
const breaking = changeOf(BREAKING)

/** Bytes of a CheckRequest, or what comes close to it. */
export const messages: fc.Arbitrary<Buffer> = fc.oneof(
  { arbitrary: changed(fc.array(quiet, { maxLength: 6 })), weight: 10 },
  {
    arbitrary: changed(
      fc.tuple(fc.array(quiet, { maxLength: 3 }), breaking).map(([all, last]) => [...all, last]),
    ),
    weight: 8,
  },
  { arbitrary: fc.uint8Array({ maxLength: 48 }).map(array => Buffer.from(array)), weight: 1 },
)

function changed(changes: fc.Arbitrary<{ what: string; at: number; n: number }[]>): fc.Arbitrary<Buffer> {
  return fc.tuple(fc.constantFrom(...READ), changes).map(([fields, list]) => {
    const message = fields.map(copy)
    for (const { what, at, n } of list) {
      const spots = spotsOf(message)
      const spot = spots[at % Math.max(1, spots.length)]
      if (spot) (CHANGES[what] ?? BREAKING[what])?.(spot, n)
    }
    return written(message)
  })
}

function spotsOf(list: WireField[], spots: Spot[] = []): Spot[] {
  list.forEach(({ inner }, at) => {
    spots.push({ list, at })
    if (inner) spotsOf(inner, spots)
  })
  return spots
}

function field({ list, at }: Spot): WireField {
  return list[at] as WireField
}

function known(n: number): WireField {
  return copy(KNOWN[n % KNOWN.length] as WireField)
}

function copy({ inner, ...rest }: WireField): WireField {
  return inner ? { ...rest, inner: inner.map(copy) } : rest
}

/** As a `google.protobuf.Value` within a list, or within an object, within this field. */
function wrap(field: WireField, inList: boolean): void {
  const value = field.inner ? written(field.inner) : field.value
  delete field.inner
  const held = { type: 2, padding: 0 }
  const item = written([{ ...held, number: inList ? 1 : 2, value }])
  const holder = inList ? item : written([{ ...held, number: 1, value: item }])
  field.value = written([{ ...held, number: inList ? 6 : 5, value: holder }])
}

function double(number: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(number)
  return bytes
}
