import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { Unusable } from '../unusable.ts'
import { type IssuerSettings, isTrustworthyUrl } from './settings.ts'

const PATIENCE_MS = 5_000
const LONGEST = 1024 * 1024

/** Why keys could not be read; a constant phrase, for the log and `/readyz`. */
export class FetchFailed extends Error {}

/**
 * Reads an issuer's JWK Set over HTTP, from `jwks_uri` or by OpenID Connect Discovery 1.0, sections 4.1 to
 * 4.3, whose document must name exactly this issuer. Follows no redirect, reads at most 1 MiB, waits 5 s.
 * Rejects with FetchFailed. Unusable at once for a CA file or HTTPS_PROXY that cannot be used.
 */
export function createKeyFetch(issuer: IssuerSettings): { fetch(): Promise<unknown>; close(): void } {
  const dispatcher = createDispatcher(issuer)
  return {
    async fetch() {
      return getJson(issuer.jwks_uri ?? (await discover(issuer.issuer, dispatcher)), dispatcher)
    },
    close: () => void dispatcher.destroy(),
  }
}

function createDispatcher({ name, ca_file, proxy }: IssuerSettings): Dispatcher {
  const tls = ca_file === undefined ? {} : { ca: readCa(name, ca_file) }
  try {
    return new EnvHttpProxyAgent({
      // Keys over plain HTTP are believed only because they do not leave this machine: no proxy for them.
      httpProxy: '',
      ...(proxy !== undefined && { httpsProxy: proxy, noProxy: '' }),
      connect: { timeout: PATIENCE_MS, ...tls },
      requestTls: tls,
      headersTimeout: PATIENCE_MS,
      bodyTimeout: PATIENCE_MS,
    })
  } catch {
    // Its text is not shown: it may hold a password.
    throw new Unusable(`issuer ${name}: HTTPS_PROXY is no URL such as http://proxy.example.com:3128`)
  }
}

function readCa(name: string, file: string): Buffer {
  try {
    const pem = readFileSync(file)
    new X509Certificate(pem)
    return pem
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException
    const why = syscall === undefined ? 'it does not begin with a PEM certificate' : code
    throw new Unusable(`issuer ${name}: cannot use ca_file ${file} (${why})`)
  }
}

async function discover(issuer: string, dispatcher: Dispatcher): Promise<string> {
  const place = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const document = (await getJson(place, dispatcher)) as { issuer?: unknown; jwks_uri?: unknown } | null
  if (document?.issuer !== issuer) throw new FetchFailed('discovery names another issuer')
  const { jwks_uri: uri } = document
  if (typeof uri !== 'string' || !isTrustworthyUrl(uri))
    throw new FetchFailed('discovery has no https jwks_uri')
  return uri
}

async function getJson(url: string, dispatcher: Dispatcher): Promise<unknown> {
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS)
    const { statusCode, body } = await request(url, {
      dispatcher,
      signal,
      headers: { accept: 'application/json' },
    })
    // A body that is given up emits its own error, which would end the process if nobody listened.
    body.on('error', () => undefined)
    if (statusCode !== 200) {
      body.destroy()
      throw new FetchFailed('the answer is not 200')
    }
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > LONGEST) throw new FetchFailed('the answer is over 1 MiB')
      chunks.push(chunk)
    }
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (error) {
    if (error instanceof FetchFailed) throw error
    throw new FetchFailed(error instanceof SyntaxError ? 'the answer is not JSON' : 'it cannot be reached')
  }
}
