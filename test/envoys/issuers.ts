import { randomUUID } from 'node:crypto'
import type { ServiceConfig } from '../../deploy/demo/service.ts'
import { claims, json, type Key, newKey, startServer } from '../unit/identify/issuer.ts'

/** Changes to a good token; undefined takes a claim or a header away. */
export interface Changes {
  readonly claims?: object
  readonly header?: object
  readonly by?: keyof Keys
}

interface Keys {
  readonly own: Key
  /** By the kid of `own`. */
  readonly stranger: Key
  readonly other_algorithm: Key
  readonly nameless: Key
}

export interface Issuers {
  /** Adds the issuers to a configuration. */
  configure(config: ServiceConfig): void
  token(changes?: Changes): Promise<string>
  /** A good token with other words in its header, which its signature does not cover. */
  relabelled(header: object): Promise<string>
  close(): Promise<void>
}

const OWN = 'https://own.example.com'
/** Has two keys, and its tokens do not say which. */
export const SEVERAL = 'https://several.example.com'
/** Nobody listens where its keys are. */
export const GONE = 'https://gone.example.com'
/** Asked for its keys a second time, it never answers: a check of a token with a kid that it does not have waits. */
export const SLOW = 'https://slow.example.com'

/** Issuers whose tokens can be wrong in every way. */
export async function startIssuers(): Promise<Issuers> {
  const [own, stranger, other_algorithm, nameless, second] = await Promise.all([
    newKey('k1'),
    newKey('k1'),
    newKey('k1', 'ES384'),
    newKey(undefined),
    newKey(undefined),
  ])
  const keys: Keys = { own, stranger, other_algorithm, nameless }
  const published = await startServer(json({ keys: [own.jwk] }))
  const several = await startServer(json({ keys: [nameless.jwk, second.jwk] }))
  const silent = await startServer((request, response) => {
    json({ keys: [own.jwk] })(request, response)
    silent.answer = () => undefined
  })
  const gone = await startServer()
  await gone.close()

  const token = ({ claims: changed = {}, header = {}, by = 'own' }: Changes = {}) => {
    const now = Math.floor(Date.now() / 1000)
    const fresh = {
      iss: OWN,
      aud: 'https://mail.example.com',
      iat: now - 1,
      exp: now + 300,
      jti: randomUUID(),
    }
    return keys[by].sign(claims({ ...fresh, ...changed }), header)
  }
  return {
    token,
    async relabelled(header) {
      const [, ...rest] = (await token()).split('.')
      return [Buffer.from(JSON.stringify(header)).toString('base64url'), ...rest].join('.')
    },
    configure(config) {
      const like = config.issuers[0]
      const rules = { clients: ['console'], required_claims: ['scope'], jwt_authn_payload: 'own' }
      config.issuers.push(
        { ...like, name: 'own', issuer: OWN, jwks_uri: `${published.url}/keys`, ...rules },
        { ...like, name: 'several', issuer: SEVERAL, jwks_uri: `${several.url}/keys` },
        { ...like, name: 'gone', issuer: GONE, jwks_uri: `${gone.url}/keys` },
        { ...like, name: 'slow', issuer: SLOW, jwks_uri: `${silent.url}/keys` },
      )
    },
    async close() {
      for (const server of [published, several, silent]) await server.close()
    },
  }
}
