import { X509Certificate } from 'node:crypto'
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { readNamedFile } from '../../named-file.ts'
import { Unusable } from '../../unusable.ts'
import { type IssuerSettings, isTrustworthyUrl } from '../settings.ts'
import { KeysUnreadable } from './keys-unreadable.ts'

/** For discovery and keys together: with the pause of 10 s, a rotated key is known within 15 s. */
const PATIENCE_MS = 5_000
/** Many times what issuers need, with certificates beside their keys. */
const LONGEST = 256 * 1024

/**
 * Reads an issuer's JWK Set over HTTP, from `jwks_uri` or by OpenID Connect Discovery 1.0, sections 4.1 to
 * 4.3, whose document must name exactly this issuer. Follows no redirect, unpacks nothing, ignores the
 * content type, reads at most 256 KiB a document, waits 5 s. Rejects with KeysUnreadable. Unusable at once
 * for a CA file or HTTPS_PROXY that cannot be used.
 */
export function createKeyFetch(issuer: IssuerSettings): { fetch(): Promise<unknown>; close(): void } {
  const dispatcher = createDispatcher(issuer)
  return {
    async fetch() {
      const how = { dispatcher, signal: AbortSignal.timeout(PATIENCE_MS) }
      return getJson(issuer.jwks_uri ?? (await discover(issuer.issuer, how)), how)
    },
    close: () => void dispatcher.destroy(),
  }
}

interface How {
  readonly dispatcher: Dispatcher
  readonly signal: AbortSignal
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
    })
  } catch {
    // Its text is not shown: it may hold a password.
    throw new Unusable(`issuer ${name}: HTTPS_PROXY is no URL such as http://proxy.example.com:3128`)
  }
}

function readCa(name: string, file: string): Buffer {
  try {
    const pem = readNamedFile(file)
    new X509Certificate(pem)
    return pem
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException
    const why = syscall === undefined ? 'it does not begin with a PEM certificate' : code
    throw new Unusable(`issuer ${name}: cannot use ca_file ${file} (${why})`)
  }
}

async function discover(issuer: string, how: How): Promise<string> {
  const place = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const document = (await getJson(place, how)) as { issuer?: unknown; jwks_uri?: unknown } | null
  if (document?.issuer !== issuer) throw new KeysUnreadable('wrong_issuer', 'discovery names another issuer')
  const { jwks_uri: uri } = document
  // Plain http is for an issuer on this machine itself: no other may point us at what runs here.
  if (typeof uri !== 'string' || !isTrustworthyUrl(uri) || (isPlain(uri) && !isPlain(issuer)))
    throw new KeysUnreadable('malformed', 'discovery has no https jwks_uri')
  return uri
}

function isPlain(url: string): boolean {
  return new URL(url).protocol === 'http:'
}

async function getJson(url: string, how: How): Promise<unknown> {
  try {
    return JSON.parse(await get(url, how))
  } catch (error) {
    if (error instanceof KeysUnreadable) throw error
    if (error instanceof SyntaxError) throw new KeysUnreadable('malformed', 'the answer is not JSON')
    throw unanswered(error, how.signal)
  }
}

async function get(url: string, how: How): Promise<string> {
  const { statusCode, body } = await request(url, { ...how, headers: { accept: 'application/json' } })
  // A body that is given up emits its own error, which would end the process if nobody listened.
  body.on('error', () => undefined)
  if (statusCode !== 200) {
    body.destroy()
    throw new KeysUnreadable('status', 'the answer is not 200')
  }
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > LONGEST) throw new KeysUnreadable('too_large', 'the answer is over 256 KiB')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Of the error only its code is told: its text may hold a name, an address or a password. */
function unanswered(error: unknown, signal: AbortSignal): KeysUnreadable {
  const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException }
  const why = cause?.code ?? code
  if (signal.aborted) return new KeysUnreadable('timeout', 'there is no whole answer within 5 s')
  if (/CERT|SIGNATURE|INVALID_CA/.test(why ?? ''))
    return new KeysUnreadable('certificate', 'its certificate is not to be trusted', why)
  return new KeysUnreadable('unreachable', 'it cannot be reached', why)
}
