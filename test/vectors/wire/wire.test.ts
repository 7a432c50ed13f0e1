import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { decodeCheckRequest } from '../../../src/listen/wire/check-request.ts'
import { attributesOf } from '../../unit/listen/wire/oracle.ts'

/** What `record.ts` sent, as a HeldRequest must tell it. Ids, ports and times differ from one recording to the next. */
interface Sent {
  readonly method: string
  readonly path: string
  /** Every value of a name, in order; an empty list: there is no such header. */
  readonly headers: { readonly [name: string]: readonly string[] }
  readonly body?: { readonly text: string; readonly bytes: number }
  readonly contextExtensions?: { readonly [key: string]: string }
}

const HOST = 'mail.example.com'
const SEARCH = '{"folder":"inbox","limit":12345678901234567890}'

const SENT: { readonly [name: string]: Sent } = {
  'get-query-h1': {
    method: 'GET',
    path: '/v1/folders/inbox/messages?unread=true&label=a%20b&label=c',
    headers: { accept: ['text/html,application/json'], 'x-empty': [''], authorization: [] },
  },
  'get-query-h2': {
    method: 'GET',
    path: '/v1/folders/inbox/messages?unread=true',
    headers: { accept: ['application/json'] },
  },
  'get-not-utf8-h1': { method: 'GET', path: '/v1/menu', headers: { 'x-dish': ['caf!'] } },
  'post-body-h1': {
    method: 'POST',
    path: '/v1/search',
    headers: {
      'content-type': ['application/json'],
      'content-length': ['47'],
      'x-envoy-auth-partial-body': ['false'],
    },
    body: { text: SEARCH, bytes: 47 },
  },
  'post-raw-body-h2': {
    method: 'POST',
    path: '/v1/upload',
    headers: { 'content-type': ['application/octet-stream'], 'x-envoy-auth-partial-body': ['false'] },
    body: { text: '\u0000\ufffd\ufffdA\ufffd', bytes: 5 },
  },
  'post-partial-body-h1': {
    method: 'POST',
    path: '/v1/search',
    headers: { 'content-length': ['47'], 'x-envoy-auth-partial-body': ['true'] },
    body: { text: SEARCH.slice(0, 16), bytes: 16 },
  },
  'raw-headers-h1': {
    method: 'GET',
    path: '/v1/menu',
    // Envoy itself joins a repeated Authorization, and keeps what HTTP lets stand apart.
    headers: { authorization: ['Bearer one,Bearer two'], 'x-dish': ['caf\xe9', 'caf\xe9'] },
  },
  'raw-headers-h2': { method: 'GET', path: '/v1/menu', headers: { 'x-dish': ['soup', 'bread'] } },
  'context-extensions-h1': {
    method: 'GET',
    path: '/extended',
    headers: {},
    contextExtensions: { agent_authz_mode: 'observe', team: 'blue' },
  },
  'metadata-h2': { method: 'GET', path: '/v1/menu', headers: {} },
  'mtls-h2': { method: 'GET', path: '/v1/menu', headers: { 'x-forwarded-proto': ['https'] } },
}

const files = readdirSync(import.meta.dirname)
const names = (ending: string) =>
  files.filter(name => name.endsWith(ending)).map(name => name.slice(0, -ending.length))

describe('the recordings', () => {
  it('are there, each as bytes, as attributes and as what was sent', () => {
    const cases = Object.keys(SENT).toSorted()
    expect(cases.length).toBeGreaterThan(0)
    expect(names('.bin').toSorted()).toEqual(cases)
    expect(names('.json').toSorted()).toEqual(cases)
  })
})

describe.each(Object.entries(SENT))('%s', (name, sent) => {
  const bytes = readFileSync(join(import.meta.dirname, `${name}.bin`))
  const recorded = JSON.parse(readFileSync(join(import.meta.dirname, `${name}.json`), 'utf8')) as unknown
  const request = decodeCheckRequest(bytes)

  it('is read to its attributes, by us and by protobufjs', () => {
    expect(JSON.parse(JSON.stringify(request.attributes))).toEqual(recorded)
    expect(attributesOf(bytes)).toEqual(recorded)
  })

  it('tells what was sent', () => {
    expect(request).toMatchObject({ method: sent.method, path: sent.path, host: HOST })
    expect(request.contextExtensions).toEqual(sent.contextExtensions ?? {})
    expect(request.body()).toEqual(sent.body ?? { text: '', bytes: 0 })
  })

  it('has its headers by name, Envoy’s own among them', () => {
    const headers = { ':method': [sent.method], ':path': [sent.path], ':authority': [HOST], ...sent.headers }
    for (const [header, values] of Object.entries(headers)) {
      expect(request.header(header)).toEqual(values)
      expect(request.headerNames.includes(header)).toBe(values.length > 0)
    }
    expect(request.headerNames).toEqual([...new Set(request.headerNames)])
    for (const header of request.headerNames) expect(request.header(header).length).toBeGreaterThan(0)
  })
})
