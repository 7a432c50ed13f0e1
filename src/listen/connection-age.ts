import { constants, type Http2Server, type ServerHttp2Session } from 'node:http2'
import { CONNECTIONS_MS } from './drain.ts'

/** Those that were opened together do not end together. */
const SPREAD = 0.1
/** Of a GOAWAY that refuses no call yet: RFC 9113, section 6.8. */
const NO_LAST_STREAM = 2 ** 31 - 1

/**
 * Ends each connection when it is about `age` ms old, without losing a call. grpc-js would close it together
 * with its GOAWAY, and so refuse the calls that cross it.
 */
export function endAtAge(listener: Http2Server, age: number): void {
  listener.on('session', session => {
    const old = setTimeout(() => end(session), age * (1 - SPREAD + 2 * SPREAD * Math.random())).unref()
    session.once('close', () => clearTimeout(old))
  })
}

/** Once the peer has answered a ping it has read the GOAWAY before it, and begins nothing more here. */
function end(session: ServerHttp2Session): void {
  if (session.destroyed) return
  const cut = setTimeout(() => session.destroy(), CONNECTIONS_MS).unref()
  session.once('close', () => clearTimeout(cut))
  session.goaway(constants.NGHTTP2_NO_ERROR, NO_LAST_STREAM)
  const close = () => session.close()
  if (!session.ping(close)) close()
}
