import { Agent, request } from 'undici'
import { isTrustworthyUrl } from './identify/identify.ts'
import { printable } from './printable.ts'
import { Unusable } from './unusable.ts'

const ISSUER = 'http://127.0.0.1:9400'
const PATIENCE_MS = 5_000
const MOST_READ = 64 * 1024

/** A token, or why the issuer makes none. */
export type Minted = { readonly token: string } | { readonly refused: string }

/**
 * Asks the development issuer, which `make up` runs, for a token; `wanted` is its form, in which what is
 * undefined is left to it. Unusable where the issuer is not on this machine, cannot be reached, or is no such
 * issuer: it mints anything for anybody, which nothing but a try may rest on.
 */
export async function mint(
  wanted: { readonly [field: string]: string | undefined },
  issuer = ISSUER,
): Promise<Minted> {
  if (!isTrustworthyUrl(issuer) || new URL(issuer).protocol !== 'http:')
    throw new Unusable(`--issuer must be http on loopback, such as ${ISSUER}: this is for development only`)
  const given = Object.entries(wanted).filter((field): field is [string, string] => field[1] !== undefined)
  const { status, answer } = await post(new URL('/token', issuer), new URLSearchParams(given))
  const { access_token: token, error, error_description: why = error } = answer
  if (status === 200 && typeof token === 'string' && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return { token }
  if (status === 400 && typeof why === 'string') return { refused: why.split('\n').map(printable).join('\n') }
  throw new Unusable(`${issuer} does not answer as the development issuer does`)
}

interface Answer {
  readonly [member: string]: unknown
}

async function post(url: URL, form: URLSearchParams): Promise<{ status: number; answer: Answer }> {
  // Its own: one for all may go through a proxy.
  const dispatcher = new Agent()
  try {
    const { statusCode, body } = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: form.toString(),
      signal: AbortSignal.timeout(PATIENCE_MS),
      dispatcher,
    })
    let text = ''
    for await (const piece of body.setEncoding('utf8')) {
      text += piece
      if (text.length > MOST_READ) break
    }
    return { status: statusCode, answer: parsed(text) }
  } catch (error) {
    const { code, name } = error as NodeJS.ErrnoException
    const what = `no development issuer answers at ${url.origin} (${code ?? name})`
    throw new Unusable(`${what}: make up starts one at ${ISSUER}`)
  } finally {
    await dispatcher.destroy()
  }
}

function parsed(text: string): Answer {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
