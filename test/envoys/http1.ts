export type Field = readonly [name: string, value: string]

export const bearer = (token: string): Field => ['authorization', `Bearer ${token}`]
export const JSON_TYPE: Field = ['content-type', 'application/json']

/** All values of each header, by its name in lower case. */
export interface Headers {
  readonly [name: string]: readonly string[]
}

/** One HTTP/1 message. Every text has one character for each byte, so that none is lost or changed. */
export interface Message {
  /** The request line or the status line. */
  readonly start: string
  readonly headers: Headers
  readonly body: string
  /** What came behind it. */
  readonly rest: Buffer
}

/** The first message of these bytes, or undefined while it is not whole. Without a length it has no body. */
export function readMessage(bytes: Buffer, hasBody = true): Message | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [start = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const headers = headersOf(
    lines.map(line => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).trim()]
    }),
  )
  const behind = bytes.subarray(end + 4)
  const body = hasBody ? readBody(behind, headers) : { body: '', rest: behind }
  return body && { start, headers, ...body }
}

export function headersOf(fields: Iterable<Field>): Headers {
  const grouped: { [name: string]: string[] } = Object.create(null)
  for (const [name, value] of fields) {
    const values = grouped[name.toLowerCase()] ?? []
    values.push(value)
    grouped[name.toLowerCase()] = values
  }
  return grouped
}

type Body = Pick<Message, 'body' | 'rest'>

function readBody(bytes: Buffer, headers: Headers): Body | undefined {
  if (headers['transfer-encoding']?.includes('chunked')) return readChunks(bytes)
  const length = Number(headers['content-length']?.[0] ?? 0)
  if (bytes.length < length) return undefined
  return { body: bytes.toString('latin1', 0, length), rest: bytes.subarray(length) }
}

/** Trailers are passed over. */
function readChunks(bytes: Buffer): Body | undefined {
  let body = ''
  let at = 0
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    if (size === 0) {
      const end = bytes.indexOf('\r\n\r\n', at)
      return end < 0 ? undefined : { body, rest: bytes.subarray(end + 4) }
    }
    at = lineEnd + 2
    if (bytes.length < at + size + 2) return undefined
    body += bytes.toString('latin1', at, at + size)
    at += size + 2
  }
}
