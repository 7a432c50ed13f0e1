import type { Http2Server } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'

/** Connections that are in the middle of TLS. */
const MOST_HANDSHAKES = 1_024

/** The connection that TLS runs over, which the types of node:tls do not name. */
interface Internals {
  readonly _parent: Socket
}

/** Closes what is in the middle of TLS, for a server that leaves. */
type Leave = () => void

/** Closes what comes beyond `most` connections, and tells `refused` of each. */
export function limitConnections(listener: Http2Server, most: number, refused: () => void): Leave {
  listener.maxConnections = most
  listener.on('drop', refused)
  return () => undefined
}

/**
 * The same where TLS comes first: of `most` are those that have finished its handshake, so that whoever has
 * shown no certificate takes no place from who has. Of those in the middle of it, the oldest is closed for
 * the newest.
 */
export function limitTlsConnections(listener: Http2Server, most: number, refused: () => void): Leave {
  const handshakes = new Set<Socket>()
  let connections = 0
  listener.on('connection', (socket: Socket) => {
    handshakes.add(socket)
    socket.once('close', () => handshakes.delete(socket))
    const [oldest] = handshakes
    if (handshakes.size > MOST_HANDSHAKES) refuse(oldest as Socket)
  })
  listener.prependListener('secureConnection', (socket: TLSSocket) => {
    handshakes.delete((socket as unknown as Internals)._parent)
    if (connections >= most) return refuse(socket)
    connections++
    socket.once('close', () => connections--)
  })

  return () => {
    for (const socket of handshakes) socket.destroy()
  }

  function refuse(socket: Socket): void {
    handshakes.delete(socket)
    socket.destroy()
    refused()
  }
}
