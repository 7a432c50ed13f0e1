import { createServer, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { z } from 'zod'
import { listen } from './upstream.ts'

export interface Issuer {
  readonly url: string
  readonly port: number
  mint(wanted: Wanted): Promise<string>
  /** New tokens are signed with a new key; the keys before stay published. */
  rotate(): Promise<void>
  close(): Promise<void>
}

export interface Wanted {
  readonly sub: string
  /** Who acts, outermost first: the current actor, then those before it. */
  readonly act?: readonly string[]
  readonly aud: string
  readonly scope?: string
  /** Seconds; negative: expired already. */
  readonly ttl?: number
  readonly typ?: string
  readonly client_id?: string
  /** Only from the function, never over HTTP: tokens that must be refused. */
  readonly iss?: string
  readonly signedBy?: 'stranger'
  readonly claims?: { readonly [name: string]: unknown }
}

const LIFETIME_S = 300

const form = z.strictObject({
  sub: z.string().min(1),
  act: z
    .string()
    .optional()
    .transform(list => list?.split(',').filter(Boolean) ?? []),
  aud: z.string().min(1),
  scope: z.string().default(''),
  ttl: z.coerce.number().int().min(1).max(900).default(LIFETIME_S),
  typ: z.enum(['at+jwt', 'JWT']).default('at+jwt'),
  client_id: z.string().default('demo'),
})

/**
 * An issuer for development: discovery, keys, and `POST /token`, which mints any token for anybody who asks.
 * It checks nobody's identity. Never let it run where its tokens are trusted for more than a try.
 */
export async function startIssuer(port: number): Promise<Issuer> {
  const published: JWK[] = []
  const newKey = async (kid: string) => {
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } }
  }
  const publish = async () => {
    const key = await newKey(`key-${published.length + 1}`)
    published.push(key.jwk)
    return key
  }
  let current = await publish()
  const stranger = await newKey(current.kid)

  const server = createServer((request, response) => {
    answer(request).then(
      ([status, body]) => {
        response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
        response.end(`${JSON.stringify(body)}\n`)
      },
      () => response.destroy(),
    )
  })
  const bound = await listen(server, port)
  const url = `http://127.0.0.1:${bound.port}`
  return {
    url,
    port: bound.port,
    mint: wanted => mint(url, wanted.signedBy === 'stranger' ? stranger : current, wanted),
    async rotate() {
      current = await publish()
    },
    close: bound.close,
  }

  async function answer(request: IncomingMessage): Promise<[status: number, body: object]> {
    switch (`${request.method} ${request.url}`) {
      case 'GET /.well-known/openid-configuration':
        return [200, { issuer: url, jwks_uri: `${url}/keys`, token_endpoint: `${url}/token` }]
      case 'GET /keys':
        return [200, { keys: published }]
      case 'POST /token': {
        const { data, error } = form.safeParse(Object.fromEntries(new URLSearchParams(await text(request))))
        if (!data) return [400, { error: 'invalid_request', error_description: z.prettifyError(error) }]
        return [
          200,
          {
            access_token: await mint(url, current, data),
            issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
            token_type: 'Bearer',
            expires_in: data.ttl,
            scope: data.scope,
          },
        ]
      }
      default:
        return [404, { error: 'not_found' }]
    }
  }
}

/** An access token (RFC 9068) with a delegation (RFC 8693 section 4.1). */
function mint(issuer: string, key: { kid: string; privateKey: CryptoKey }, wanted: Wanted): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const exp = now + (wanted.ttl ?? LIFETIME_S)
  const act = (wanted.act ?? []).reduceRight<object | undefined>(
    (before, sub) => ({ sub, ...(before && { act: before }) }),
    undefined,
  )
  const claims = {
    iss: wanted.iss ?? issuer,
    sub: wanted.sub,
    aud: wanted.aud,
    iat: Math.min(now, exp - 1),
    exp,
    jti: crypto.randomUUID(),
    client_id: wanted.client_id ?? 'demo',
    ...(wanted.scope && { scope: wanted.scope }),
    ...(act && { act }),
    ...wanted.claims,
  }
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', kid: key.kid, typ: wanted.typ ?? 'at+jwt' })
    .sign(key.privateKey)
}
