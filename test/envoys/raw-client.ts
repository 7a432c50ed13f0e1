import { connect, type Socket } from 'node:net'
import { type Field, type Headers, type Message, readMessage } from './http1.ts'

/** A request as it goes onto the wire: every text has one character for each byte. */
export interface Sent {
  readonly method?: string
  readonly target?: string
  readonly host?: string
  readonly headers?: readonly Field[]
  readonly body?: string
  /** The body without its length, in two chunks. */
  readonly chunked?: boolean
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** A connection that was upgraded. */
export interface Upgraded extends Answer {
  /** Sends these bytes and gives the first that come back. */
  exchange(bytes: Buffer): Promise<Buffer>
  close(): void
}

/** What asks for a WebSocket. */
export const WEBSOCKET: readonly Field[] = [
  ['connection', 'Upgrade'],
  ['upgrade', 'websocket'],
  ['sec-websocket-version', '13'],
  ['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ=='],
]

/** UTF-8, one character for each byte. */
export const utf8 = (text: string) => Buffer.from(text).toString('latin1')

/** One request on a connection of its own. Nothing is checked, corrected or added but `Host` and how long the body is. */
export async function send(port: number, sent: Sent): Promise<Answer> {
  const { socket, answer } = await asked(port, sent)
  socket.destroy()
  return answer
}

/** The same, where the connection may go on as something else. */
export async function upgrade(port: number, sent: Sent): Promise<Upgraded> {
  const { socket, answer } = await asked(port, sent)
  return {
    ...answer,
    exchange: bytes =>
      new Promise((resolve, reject) => {
        socket.once('data', resolve).once('close', () => reject(new Error('the connection was closed')))
        socket.write(bytes)
      }),
    close: () => void socket.destroy(),
  }
}

function asked(port: number, sent: Sent): Promise<{ socket: Socket; answer: Answer }> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    let failure = new Error('the connection was closed without an answer')
    const socket = connect(port, '127.0.0.1', () => socket.write(written(sent), 'latin1'))
    const read = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      const message = final(received, sent.method !== 'HEAD')
      if (!message) return
      socket.off('data', read)
      resolve({
        socket,
        answer: { status: statusOf(message), headers: message.headers, body: message.body },
      })
    }
    socket
      .on('data', read)
      // One who refuses a body may close while it is still being sent: what was answered before counts.
      .on('error', error => {
        failure = error
      })
      .on('close', () => reject(failure))
  })
}

function written({ method = 'GET', target = '/', host = 'mail.example.com', ...sent }: Sent): string {
  const { headers = [], body = '', chunked = false } = sent
  const length: Field[] = chunked
    ? [['transfer-encoding', 'chunked']]
    : body === ''
      ? []
      : [['content-length', `${body.length}`]]
  const lines = [['host', host] as Field, ...length, ...headers].map(([name, value]) => `${name}: ${value}`)
  const half = Math.ceil(body.length / 2)
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`
  const whole = chunked ? `${chunk(body.slice(0, half))}${chunk(body.slice(half))}0\r\n\r\n` : body
  return `${[`${method} ${target} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n${whole}`
}

/** The answer behind those that only say "go on" (RFC 9110, section 15.2). */
function final(bytes: Buffer, mayHaveBody: boolean): Message | undefined {
  const message = readMessage(bytes, mayHaveBody)
  return message && statusOf(message) === 100 ? final(message.rest, mayHaveBody) : message
}

function statusOf({ start }: Message): number {
  return Number(start.split(' ')[1])
}
