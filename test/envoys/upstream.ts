import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { type Headers, headersOf, type Message, readMessage } from './http1.ts'
import { pairs } from './http2-client.ts'

/** What arrived of one request. Every text has one character for each byte. */
export interface Seen {
  readonly method: string
  readonly target: string
  readonly headers: Headers
  readonly body: string
}

export interface Upstream {
  readonly http1: number
  readonly http2: number
  /** What arrived since this was asked last, on either port. */
  taken(): Seen[]
  close(): Promise<void>
}

export const BODY = 'from the upstream'

/**
 * An upstream that keeps what really arrives, byte by byte, and answers anything: HTTP/1 with WebSocket, which sends back
 * what it is sent, and gRPC over HTTP/2, which answers with the message that it was asked with.
 */
export async function startUpstream(): Promise<Upstream> {
  let seen: Seen[] = []
  const sockets = new Set<Socket>()
  const http1 = createServer(socket => serve(socket, one => seen.push(one)))
  const http2 = createHttp2Server().on('stream', (stream, headers, _, raw) => {
    const chunks: Buffer[] = []
    stream.on('error', () => undefined)
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      const body = Buffer.concat(chunks)
      const [method, target] = [`${headers[':method']}`, `${headers[':path']}`]
      seen.push({ method, target, headers: headersOf(pairs(raw)), body: body.toString('latin1') })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.end(body)
    })
  })
  for (const server of [http1, http2] as Server[]) {
    server.on('connection', socket => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
  }
  return {
    http1: (http1.address() as AddressInfo).port,
    http2: (http2.address() as AddressInfo).port,
    taken() {
      const taken = seen
      seen = []
      return taken
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await Promise.all([http1, http2].map(server => new Promise(closed => server.close(closed))))
    },
  }
}

function serve(socket: Socket, note: (seen: Seen) => void): void {
  let received = Buffer.alloc(0)
  const read = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    for (let message = readMessage(received); message; message = readMessage(received)) {
      const { headers, body, rest } = message
      const [method = '', target = ''] = message.start.split(' ')
      received = Buffer.from(rest)
      note({ method, target, headers, body })
      if (headers.upgrade?.includes('websocket')) {
        socket.off('data', read)
        socket.write(switching(message), 'latin1')
        socket.pipe(socket)
        return
      }
      const head = `HTTP/1.1 200 OK\r\ncontent-length: ${BODY.length}\r\n\r\n`
      socket.write(method === 'HEAD' ? head : `${head}${BODY}`, 'latin1')
    }
  }
  socket.on('data', read).on('error', () => undefined)
}

/** RFC 6455, section 4.2.2. */
function switching({ headers }: Message): string {
  const accept = createHash('sha1')
    .update(`${headers['sec-websocket-key']?.[0]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64')
  return [
    'HTTP/1.1 101 Switching Protocols',
    'upgrade: websocket',
    'connection: upgrade',
    `sec-websocket-accept: ${accept}`,
    '\r\n',
  ].join('\r\n')
}
