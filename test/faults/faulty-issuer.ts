import type { IncomingMessage, ServerResponse } from 'node:http'
import { json, type Key, newKey, type Server, startServer } from '../unit/identify/issuer.ts'

const AUDIENCE = 'https://mail.example.com'
const LIFETIME_S = 300
/** `clock_skew`. */
export const SKEW_S = 30

export interface Token {
  readonly jwt: string
  readonly delegator: string
  /** The trusted headers that it stands for, the decision id apart. */
  readonly headers: { readonly [name: string]: string }
  /** Whether it may be believed by the clock of the service: its key was published to it, and its times are right. */
  good(now: number): boolean
}

export interface Minting {
  readonly key?: Key
  /** By which it is dated, in milliseconds. */
  readonly now?: number
  /** Seconds from then. */
  readonly expires?: number
  readonly header?: object
}

type Answering = Server['answer']
/** Answers a request, or leaves it to what the issuer would say. */
export type Spoilt = (request: IncomingMessage, response: ServerResponse, whole: Answering) => void

/** An issuer with discovery and keys, whose answers can be spoilt. */
export interface FaultyIssuer {
  readonly name: string
  readonly url: string
  readonly first: Key
  /** Answers in place of the right ones, each fetch the next of them; none: it is whole. */
  spoil(...answers: Spoilt[]): void
  /** How many fetches were begun since it was spoilt. */
  fetches(): number
  publish(...keys: Key[]): void
  /** From here on only what is published now may be believed: the service has read it. */
  forget(): void
  mint(minting?: Minting): Promise<Token>
  /** Its port is closed. */
  gone(): Promise<void>
  back(): Promise<void>
}

/** Every fetch begins with it. */
export const isDiscovery = ({ url = '' }: IncomingMessage): boolean => url.startsWith('/.well-known')

export async function startFaultyIssuer(name: string): Promise<FaultyIssuer> {
  const first = await newKey(`${name}-1`)
  let published = [first]
  let believable = new Set(published)
  let spoilt: Spoilt[] = []
  let fetches = 0
  let minted = 0
  let server: Server

  const whole: Answering = (request, response) => {
    if (isDiscovery(request)) return json({ issuer: url, jwks_uri: `${url}/keys` })(request, response)
    for (const key of published) believable.add(key)
    json({ keys: published.map(({ jwk }) => jwk) })(request, response)
  }
  const answer: Answering = (request, response) => {
    if (isDiscovery(request)) fetches++
    const instead = spoilt[(fetches - 1) % spoilt.length]
    if (instead) instead(request, response, whole)
    else whole(request, response)
  }
  server = await startServer(answer)
  const { url } = server
  const port = Number(new URL(url).port)

  return {
    name,
    url,
    first,
    spoil(...answers) {
      spoilt = answers
      fetches = 0
    },
    fetches: () => fetches,
    publish(...keys) {
      published = keys
    },
    forget() {
      believable = new Set(published)
    },
    async mint({ key = first, now = Date.now(), expires = LIFETIME_S, header = {} } = {}) {
      const delegator = `${name}-${++minted}@example.com`
      const exp = Math.floor(now / 1000) + expires
      const iat = Math.min(Math.floor(now / 1000), exp) - 1
      const jwt = await key.sign(
        {
          iss: url,
          sub: delegator,
          act: { sub: 'mail-summary' },
          aud: AUDIENCE,
          client_id: 'faults',
          jti: delegator,
          iat,
          exp,
        },
        header,
      )
      return {
        jwt,
        delegator,
        headers: {
          'x-delegator-id': delegator,
          'x-delegator-issuer': name,
          'x-agent-id': 'mail-summary',
          'x-agent-issuer': name,
        },
        good: at => believable.has(key) && at / 1000 < exp + SKEW_S && at / 1000 >= iat - SKEW_S,
      }
    },
    gone: () => server.close(),
    async back() {
      server = await startServer(answer, port)
    },
  }
}
