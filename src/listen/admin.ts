import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { cannotListen } from './address.ts'

export interface AdminDeps {
  metrics(): Promise<{ contentType: string; text: string }>
  readiness(): { ready: boolean; detail: object }
}

export interface Admin {
  readonly address: string
  close(): Promise<void>
}

const MOST_CONNECTIONS = 128
/** On one connection: what is sent in one piece is read in one, and nothing else comes in between. */
const MOST_REQUESTS = 100

interface Page {
  readonly status: number
  readonly contentType: string
  readonly text: string
}

/**
 * `/metrics`, `/healthz` and `/readyz`, read-only and without authentication. Unusable when the address
 * cannot be bound.
 */
export async function createAdmin(address: string, { metrics, readiness }: AdminDeps): Promise<Admin> {
  let rendering: ReturnType<typeof metrics> | undefined
  const rendered = () => {
    rendering ??= metrics().finally(() => {
      rendering = undefined
    })
    return rendering
  }
  const pages: Record<string, () => Page | Promise<Page>> = {
    '/metrics': async () => ({ status: 200, ...(await rendered()) }),
    '/healthz': () => plain(200, 'ok\n'),
    '/readyz': () => {
      const { ready, detail } = readiness()
      return {
        status: ready ? 200 : 503,
        contentType: 'application/json',
        text: `${JSON.stringify(detail)}\n`,
      }
    },
  }
  const pageFor = async ({ url = '', method = '' }: IncomingMessage): Promise<Page> => {
    const path = url.split('?', 1)[0] as string
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined
    if (!page) return plain(404, 'not found: /metrics, /healthz and /readyz are here\n')
    return method === 'GET' || method === 'HEAD' ? page() : plain(405, 'only GET and HEAD\n')
  }
  const server = createServer(
    { maxHeaderSize: 8 * 1024, requestTimeout: 10_000 },
    async (request, response) => {
      const { status, contentType, text } = await pageFor(request).catch(() => plain(500, 'error\n'))
      response.writeHead(status, {
        'content-type': contentType,
        'content-length': Buffer.byteLength(text),
        ...(status === 405 && { allow: 'GET, HEAD' }),
      })
      response.end(request.method === 'HEAD' ? undefined : text)
    },
  )
  server.maxConnections = MOST_CONNECTIONS
  server.maxRequestsPerSocket = MOST_REQUESTS
  return { address: await bind(server, address), close: () => close(server) }
}

function plain(status: number, text: string): Page {
  return { status, contentType: 'text/plain; charset=utf-8', text }
}

function bind(server: Server, address: string): Promise<string> {
  const [, host, port] = /^(.*):(\d+)$/.exec(address) as unknown as [string, string, string]
  return new Promise((resolve, reject) => {
    server.once('error', error => {
      const { code } = error as NodeJS.ErrnoException
      reject(cannotListen('listen.admin', address, code))
    })
    server.listen(Number(port), host.replace(/^\[(.*)\]$/, '$1'), () =>
      resolve(`${host}:${(server.address() as AddressInfo).port}`),
    )
  })
}

function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise(resolve => server.close(() => resolve()))
}
