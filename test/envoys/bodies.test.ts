import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ALICE } from '../e2e/stack.ts'
import { AS_ALICE, expectAllowed, expectEnvoysRefusal, expectRefusal, seenByPolicy } from './expectations.ts'
import { bearer, type Field, JSON_TYPE } from './http1.ts'
import { send2 } from './http2-client.ts'
import { ENCODINGS, inEachEncoding, type Listener } from './listeners.ts'
import { type Matrix, startMatrix } from './matrix.ts'
import { type Sent, send, utf8 } from './raw-client.ts'

/** Of the sample. */
const LIMIT = 65_536
const PARTIAL_LIMIT = 1024

/** Policy gets the first part of a longer body; and nothing takes the client's own word for it away. */
function partial({ hcm, authz }: Listener): void {
  Object.assign(authz.with_request_body, { allow_partial_message: true, max_request_bytes: PARTIAL_LIMIT })
  hcm.http_filters = hcm.http_filters.filter(({ name }) => name !== 'strip-trusted-headers')
}

let matrix: Matrix
let alice: Field
beforeAll(async () => {
  matrix = await startMatrix({
    ...inEachEncoding(),
    ...inEachEncoding(partial, encoding => `partial-${encoding}`),
  })
  alice = bearer(await matrix.issuer.mint(ALICE))
}, 60_000)
afterAll(() => matrix?.stop())

const FORM: Field = ['content-type', 'application/x-www-form-urlencoded']
const MULTIPART: Field = ['content-type', 'multipart/form-data; boundary=b']
const TEXT: Field = ['content-type', 'text/plain']
const MARKER = 'x-envoy-auth-partial-body'

/** JSON of so many bytes. */
function json(length: number, folder = 'inbox'): string {
  const empty = JSON.stringify({ folder, padding: '' }).length
  return JSON.stringify({ folder, padding: 'a'.repeat(length - empty) })
}

const post = (type: Field, body: string, also: Partial<Sent> = {}): Sent => ({
  method: 'POST',
  target: '/see',
  body,
  ...also,
  headers: [alice, type, ...(also.headers ?? [])],
})

describe.each(Object.keys(ENCODINGS))('%s', encoding => {
  const ask = (sent: Sent) => matrix.ask(encoding, port => send(port, sent))

  it.each([
    ['with its length', false],
    ['in chunks', true],
  ])('a body up to the limit is judged and arrives whole: %s', async (_, chunked) => {
    for (const length of [100, LIMIT - 1, LIMIT]) {
      const seen = expectAllowed(await ask(post(JSON_TYPE, json(length), { chunked })), AS_ALICE)
      expect(seen.body).toBe(json(length))
      expect(seenByPolicy(seen)).toMatchObject({
        body: { folder: 'inbox' },
        truncated: false,
        marked: ['false'],
      })
      const refused = await ask(post(JSON_TYPE, json(length, 'other'), { chunked, target: '/body' }))
      expectRefusal(refused, 403, 'policy_denied')
    }
  })

  it.each([
    ['with its length', false],
    ['in chunks', true],
  ])('a body over the limit is refused by Envoy, without asking: %s', async (_, chunked) => {
    for (const length of [LIMIT + 1, 2 * LIMIT])
      expectEnvoysRefusal(await ask(post(JSON_TYPE, json(length), { chunked })), 413)
  })

  // Envoy counts whole frames: with its last one, of up to 16 KiB, a body may go over the limit. Then it is cut for us.
  it('over HTTP/2 a body is judged, refused by Envoy, or known to be cut', async () => {
    const ask2 = (path: string, body: string) =>
      matrix.ask(encoding, port => {
        const headers = [alice, JSON_TYPE, [MARKER, 'false'] as Field]
        return send2(port, { method: 'POST', path, headers, body: Buffer.from(body) })
      })
    expectAllowed(await ask2('/body', json(LIMIT)), AS_ALICE)
    for (const length of [LIMIT + 1, LIMIT + 16_383]) {
      // Whole JSON up to the limit, and spaces.
      const body = '{"folder":"inbox"}'.padEnd(length)
      const seen = expectAllowed(await ask2('/see', body), AS_ALICE)
      expect(seen.body).toBe(body)
      expect(seenByPolicy(seen)).toMatchObject({ body: null, truncated: true, marked: ['true'] })
      expectRefusal(await ask2('/body', body), 403, 'policy_denied')
    }
    expectEnvoysRefusal(await ask2('/see', json(2 * LIMIT)), 413)
  })

  it.each<[what: string, type: () => Field, body: string, read: unknown]>([
    ['JSON', () => JSON_TYPE, '{"a":[1,2.50]}', { a: [1, 2.5] }],
    ['a form', () => FORM, 'a=1&a=%C3%A9', { a: ['1', 'é'] }],
    [
      'a form of several parts',
      () => MULTIPART,
      '--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
      { a: ['1'] },
    ],
    ['what policy does not read', () => TEXT, 'a\0\xff', null],
    ['text outside ASCII', () => JSON_TYPE, utf8('{"é":"☃"}'), { é: '☃' }],
  ])('arrives byte for byte, and policy reads it: %s', async (_, type, body, read) => {
    for (const method of ['POST', 'GET', 'OPTIONS']) {
      const seen = expectAllowed(await ask(post(type(), body, { method })), AS_ALICE)
      expect(seen).toMatchObject({ method, body })
      expect(seenByPolicy(seen)).toMatchObject({ body: read })
    }
  })

  it('is read with its bytes outside UTF-8 replaced, as pack_as_bytes says by what', async () => {
    const seen = expectAllowed(await ask(post(JSON_TYPE, '{"a":"\xff"}')), AS_ALICE)
    expect(seen.body).toBe('{"a":"\xff"}')
    expect(seenByPolicy(seen)).toMatchObject({ body: { a: ENCODINGS[encoding]?.bytes ? '\ufffd' : '!' } })
  })

  it.each<[what: string, type: () => Field, body: string]>([
    ['no JSON', () => JSON_TYPE, '{"a":'],
    ['JSON that is nested without end', () => JSON_TYPE, '['.repeat(10_000)],
    ['a form with a ;', () => FORM, 'a=1;b=2'],
    ['parts that never end', () => MULTIPART, '--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1'],
    ['two types', () => ['content-type', 'application/json, text/plain'], '{}'],
  ])('is refused by us: %s', async (_, type, body) => {
    expectRefusal(await ask(post(type(), body)), 400, 'body_invalid')
  })

  it('is asked for where the client waits for that', async () => {
    const seen = expectAllowed(
      await ask(post(JSON_TYPE, json(100), { headers: [['expect', '100-continue']] })),
      AS_ALICE,
    )
    expect(seen.body).toBe(json(100))
  })

  it('is not taken for cut because the client says so', async () => {
    const headers: Field[] = [[MARKER, 'true']]
    const seen = expectAllowed(await ask(post(JSON_TYPE, json(100), { headers })), AS_ALICE)
    expect(seenByPolicy(seen)).toMatchObject({
      body: { folder: 'inbox' },
      truncated: false,
      marked: ['false'],
    })
    expect(seen.headers).not.toHaveProperty(MARKER)
  })
})

describe.each(Object.keys(ENCODINGS))('partial bodies, %s', encoding => {
  const ask = (sent: Sent) => matrix.ask(`partial-${encoding}`, port => send(port, sent))

  it('policy sees one that fits', async () => {
    for (const length of [100, PARTIAL_LIMIT]) {
      const seen = expectAllowed(await ask(post(JSON_TYPE, json(length))), AS_ALICE)
      expect(seenByPolicy(seen)).toMatchObject({
        body: { folder: 'inbox' },
        truncated: false,
        marked: ['false'],
      })
      expectAllowed(await ask(post(JSON_TYPE, json(length), { target: '/body' })), AS_ALICE)
    }
  })

  it('policy knows that one was cut, and reads nothing of it, while the upstream gets it whole', async () => {
    for (const length of [PARTIAL_LIMIT + 1, 5000, 2 * LIMIT])
      for (const chunked of [false, true]) {
        const seen = expectAllowed(await ask(post(JSON_TYPE, json(length), { chunked })), AS_ALICE)
        expect(seen.body).toBe(json(length))
        expect(seenByPolicy(seen)).toMatchObject({ body: null, truncated: true, marked: ['true'] })
        expect(seen.headers).not.toHaveProperty(MARKER)
      }
  })

  it('a policy that decides by the body refuses one that was cut', async () => {
    expectRefusal(await ask(post(JSON_TYPE, json(5000), { target: '/body' })), 403, 'policy_denied')
    // One that is whole up to the cut: `{"folder":"inbox"}` and spaces, and then something else.
    const whole = `{"folder":"inbox"}${' '.repeat(PARTIAL_LIMIT)}`
    expectRefusal(await ask(post(JSON_TYPE, whole, { target: '/body' })), 403, 'policy_denied')
  })

  it('a client that says that it is whole is not believed', async () => {
    for (const headers of [
      [[MARKER, 'false']],
      [
        [MARKER, 'false'],
        [MARKER, 'false'],
      ],
    ] as Field[][]) {
      const seen = expectAllowed(await ask(post(JSON_TYPE, json(5000), { headers })), AS_ALICE)
      expect(seenByPolicy(seen)).toMatchObject({ body: null, truncated: true, marked: ['true'] })
    }
  })
})
