import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Upstream {
  readonly port: number
  close(): Promise<void>
}

/** What the upstream saw of one request. A header that came several times is a list. */
export interface Echo {
  readonly method: string
  readonly path: string
  readonly headers: { readonly [name: string]: string | readonly string[] }
}

/** An upstream that answers each request with what it received. */
export async function startUpstream(port: number): Promise<Upstream> {
  return listen(
    createServer((request, response) => {
      const headers = Object.fromEntries(
        Object.entries(request.headersDistinct).map(([name, values = []]) => [
          name,
          values.length === 1 ? values[0] : values,
        ]),
      )
      request.resume()
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(`${JSON.stringify({ method: request.method, path: request.url, headers }, null, 2)}\n`)
    }),
    port,
  )
}

/** Listens on loopback; port 0: any free one. */
export async function listen(
  server: Server,
  port: number,
): Promise<{ port: number; close(): Promise<void> }> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
