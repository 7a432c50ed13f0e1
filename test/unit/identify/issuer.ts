import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import {
  createIdentify,
  type IdentifyEvents,
  type IssuerSettings,
  issuersSettings,
} from '../../../src/identify/identify.ts'
import { issuerSettings } from '../../../src/identify/settings.ts'
import type { Deadline, Identity, JsonObject, RouteSettings } from '../../../src/types.ts'
import { heldRequest } from '../trail.ts'

/** Seconds since the epoch at which these tests begin. */
export const NOW = 1_790_000_000
export const ISSUER = 'https://idp.example.com'
/** Who acts by the claims of a good token. */
export const AGENT = { agent: { sub: 'mail-summary' } }

const PLANNER = { sub: 'planner', iss: 'https://other.example.com' }
/** An actor to whom another handed on, and who acts by good claims with it. */
export const PLANNED = { sub: 'mail-summary', act: PLANNER }
export const AFTER_PLANNER: Identity = {
  issuer: 'corp',
  iss: ISSUER,
  delegator: 'alice@example.com',
  agent: { sub: 'mail-summary', iss: ISSUER },
  actorSource: 'act',
  requiresAgent: true,
  scopes: ['read:mail:inbox', 'read:mail:archive'],
  clientId: 'console',
  priorActors: [PLANNER],
  claims: claims() as JsonObject,
  tokenId: 'token-1',
  expiresAt: NOW + 300,
  headers: [
    ['x-delegator-id', 'alice@example.com'],
    ['x-delegator-issuer', 'corp'],
    ['x-agent-id', 'mail-summary'],
    ['x-agent-issuer', 'corp'],
    ['x-agent-chain', 'planner'],
  ],
}

export const ROUTE: RouteSettings = {
  mode: 'enforce',
  identity: 'required',
  authorization: 'remove',
  source: 'token',
}

export const patient: Deadline = {
  at: Number.POSITIVE_INFINITY,
  cancelled: () => false,
  signal: () => new AbortController().signal,
}

/** The settings of one issuer as its schema leaves them. */
export function settings(changes: object = {}): IssuerSettings {
  return issuerSettings.parse({
    name: 'corp',
    issuer: ISSUER,
    jwks_file: '/absent',
    audiences: ['https://api.example.com'],
    ...changes,
  })
}

export interface Key {
  readonly jwk: JWK
  sign(claims: object, header?: object): Promise<string>
}

export async function newKey(kid: string | undefined, alg = 'ES256', options = {}): Promise<Key> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true, ...options })
  const named = kid === undefined ? {} : { kid }
  return {
    jwk: { ...(await exportJWK(publicKey)), ...named, alg, use: 'sig' },
    sign: (claims, header = {}) =>
      new SignJWT({ ...claims })
        .setProtectedHeader(present({ alg, typ: 'at+jwt', ...named, ...header }) as { alg: string })
        .sign(privateKey),
  }
}

/** The claims of a good token with changes; undefined takes one away. */
export function claims(changes: object = {}): Record<string, unknown> {
  return present({
    iss: ISSUER,
    sub: 'alice@example.com',
    aud: 'https://api.example.com',
    exp: NOW + 300,
    iat: NOW - 10,
    jti: 'token-1',
    client_id: 'console',
    scope: 'read:mail:inbox read:mail:archive',
    act: { sub: 'mail-summary' },
    ...changes,
  })
}

function present(object: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}

export interface Server {
  readonly url: string
  /** The paths that were asked for, in order. */
  readonly asked: string[]
  answer: (request: IncomingMessage, response: ServerResponse) => void
  close(): Promise<void>
}

/** An HTTP server on a free port of this machine. */
export async function startServer(answer: Server['answer'] = () => undefined, port = 0): Promise<Server> {
  const asked: string[] = []
  const http = createServer((request, response) => {
    asked.push(request.url as string)
    server.answer(request, response)
  })
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject)
    http.listen(port, '127.0.0.1', resolve)
  })
  const server: Server = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    asked,
    answer,
    close: () =>
      new Promise(resolve => {
        http.close(() => resolve())
        http.closeAllConnections()
      }),
  }
  return server
}

/** Answers with a document, whatever is asked. */
export function json(document: unknown): Server['answer'] {
  return (_, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(document))
  }
}

export interface Seen {
  readonly events: string[]
  readonly logged: { level: string; message: string; fields: object }[]
}

/** A room with a clock that a test moves, and everything it told. */
export function startRoom(
  issuers: readonly object[],
  {
    previous,
    at = NOW * 1000,
    metrics,
  }: { previous?: ReturnType<typeof createIdentify>; at?: number; metrics?: IdentifyEvents } = {},
) {
  const seen: Seen = { events: [], logged: [] }
  const time = { now: at }
  const level = (name: string) => (fields: object, message: string) =>
    seen.logged.push({ level: name, fields, message })
  const parsed = issuersSettings.parse(
    issuers.map(issuer => ({
      name: 'corp',
      issuer: ISSUER,
      audiences: ['https://api.example.com'],
      ...issuer,
    })),
  )
  const room = createIdentify(parsed, {
    clock: () => time.now,
    log: { info: level('info'), warn: level('warn'), error: level('error') },
    events: {
      keysFetched(issuer, outcome) {
        metrics?.keysFetched(issuer, outcome)
        seen.events.push(`fetched ${issuer} ${outcome}`)
      },
      keysLoaded(issuer, count, at) {
        metrics?.keysLoaded(issuer, count, at)
        seen.events.push(`loaded ${issuer} ${count}`)
      },
      keysIgnored(issuer, count) {
        metrics?.keysIgnored(issuer, count)
        seen.events.push(`ignored ${issuer} ${count}`)
      },
      unknownKey(issuer) {
        metrics?.unknownKey(issuer)
        seen.events.push(`unknown ${issuer}`)
      },
      tokenCache: result => seen.events.push(result),
    },
    ...(previous && { previous }),
  })
  const raw = (token: string, { route = ROUTE, deadline = patient } = {}) =>
    room.identify(heldRequest({ headers: { authorization: [`Bearer ${token}`] } }), route, deadline)
  return {
    room,
    seen,
    time,
    raw,
    identify: async (token: string, deadline = patient) => (await raw(token, { deadline })) as Identity,
  }
}

/** Waits for what happens outside of this process's hands. */
export async function until(what: string, holds: () => unknown): Promise<void> {
  const patience = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > patience) throw new Error(`never came: ${what}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}
