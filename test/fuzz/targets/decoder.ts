import { isUtf8 } from 'node:buffer'
import { Denied } from '../../../src/denied.ts'
import { decodeCheckRequest } from '../../../src/listen/wire/check-request.ts'
import { Reader } from '../../../src/listen/wire/reader.ts'
import type { HeldRequest } from '../../../src/types.ts'
import { fieldsOf, written } from '../../unit/listen/wire/fields.ts'
import { attributesOf } from '../../unit/listen/wire/oracle.ts'
import { CHECK_REQUEST } from '../../unit/listen/wire/shapes.ts'
import { hold, holdSame, orDenied } from '../held.ts'
import { isStrict, settled } from '../strict-message.ts'
import { createTarget } from '../target.ts'
import { messages } from '../wire-changes.ts'

/** Fields begun and bytes taken, over all messages: what is read twice is counted twice. */
let work = 0
const { next, text, bytes } = Reader.prototype
Object.assign(Reader.prototype, {
  next(this: Reader) {
    work++
    return next.call(this)
  },
  text(this: Reader) {
    const value = text.call(this)
    work += value.length
    return value
  },
  bytes(this: Reader) {
    const value = bytes.call(this)
    work += value.length
    return value
  },
})

/** The decoder of CheckRequest: held to protobufjs, and to what a strict reader takes. */
export const decoder = createTarget({
  name: 'decoder',
  least: 0.3,
  file: 'requests.yaml',
  inputs: messages,
  accepts(message) {
    work = 0
    const request = orDenied(() => decodeCheckRequest(message))
    hold(work <= 3 * message.length + 1, `no byte is read more than once: ${work} for ${message.length}`)
    const fields = fieldsOf(message, CHECK_REQUEST)
    const strict = isStrict(fields, CHECK_REQUEST)
    if (request instanceof Denied) {
      hold(request.reason === 'request_malformed', `refused with ${request.reason}`)
      hold(!strict, 'what is right is read')
      return false
    }
    hold(strict, 'what is not right is refused')
    hold(JSON.stringify(request.attributes).length <= 8 * message.length + 1_000, 'does not grow')
    const plain = asProtobufjsReads(written(settled(fields ?? [], CHECK_REQUEST)))
    if (!plain) return true
    holdSame(request.attributes, plain, 'is read as protobufjs reads it')
    holdLazyReadings(request, plain)
    return true
  },
  shown: message => message.toString('base64'),
  vector: message => ({ token: null, request: { message: { base64: message.toString('base64') } } }),
})

interface Header {
  readonly key?: string
  readonly value?: string
  readonly rawValue?: string
}

interface Attributes {
  readonly contextExtensions?: object
  readonly request?: {
    readonly http?: {
      readonly method?: string
      readonly path?: string
      readonly host?: string
      readonly headers?: { readonly [name: string]: string }
      readonly headerMap?: { readonly headers?: readonly Header[] }
      readonly body?: string
      readonly rawBody?: string
    }
  }
}

/** Undefined where it nests deeper than protobufjs goes, which is as deep as Envoy goes. */
function asProtobufjsReads(message: Buffer): Attributes | undefined {
  try {
    return attributesOf(message) ?? {}
  } catch (error) {
    if ((error as Error).message === 'maximum nesting depth exceeded') return undefined
    throw error
  }
}

function holdLazyReadings(request: HeldRequest, attributes: Attributes): void {
  const { method = '', path = '', host = '', headers = {}, ...http } = attributes.request?.http ?? {}
  holdSame([request.method, request.path, request.host], [method, path, host], 'method, path and host')
  holdSame(request.contextExtensions, attributes.contextExtensions ?? {}, 'context extensions')

  const listed = http.headerMap?.headers ?? []
  const all = [
    ...Object.entries(headers),
    ...listed.map(({ key = '', value, rawValue = '' }) => [key, value ?? fromBytes(rawValue)] as const),
  ].map(([name, value]) => [name.toLowerCase(), value] as const)
  holdSame(
    [...request.headerNames].sort(),
    [...new Set(all.map(([name]) => name))].sort(),
    'names of headers',
  )
  for (const name of request.headerNames) {
    const values = all.filter(([other]) => other === name).map(([, value]) => value)
    holdSame([...request.header(name)].sort(), values.sort(), 'values of a header')
  }

  const raw = Buffer.from(http.rawBody ?? '', 'base64')
  const body = http.body ?? raw.toString('utf8')
  const length = http.body === undefined ? raw.length : Buffer.byteLength(http.body)
  holdSame(request.body(), { text: body, bytes: length }, 'the body')

  const refused = orDenied(request.assertJudgeable)
  const first = listed.find(({ key }) => key === ':path')
  const isPathWhole = first?.rawValue === undefined || isUtf8(Buffer.from(first.rawValue, 'base64'))
  const wanted =
    all.length > 1_000 || Object.keys(headers).length + listed.length > 1_000
      ? 'request_too_large'
      : method === '' || path === ''
        ? 'request_malformed'
        : isPathWhole
          ? undefined
          : 'path_invalid'
  const reason = refused instanceof Denied ? refused.reason : undefined
  hold(reason === wanted, `judged ${reason} and not ${wanted}`)
}

function fromBytes(base64: string): string {
  const bytes = Buffer.from(base64, 'base64')
  return bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1')
}
