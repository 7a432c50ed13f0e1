/**
 * The nouns that travel between rooms. Each is plain data or a small reading of it; none holds bytes, and
 * only HeldRequest a raw token.
 */

export type Json = string | number | boolean | null | readonly Json[] | JsonObject
export type JsonObject = { readonly [key: string]: Json }

/** Of what JSON can say: neither null nor a list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** One header or query parameter. A repeated name stands as several fields, in order. */
export type Field = readonly [name: string, value: string]

/** One request as Envoy described it: decoded, nothing in it verified. */
export interface HeldRequest {
  /**
   * `attributes` in opa-envoy-plugin's shape: lowerCamelCase, defaults omitted, int64 and enums as numbers,
   * bytes in base64.
   */
  readonly attributes: JsonObject
  readonly method: string
  /** As received: with the query, nothing decoded. */
  readonly path: string
  readonly host: string
  /** Set by the operator per route; the only part of a request that a client cannot write. */
  readonly contextExtensions: { readonly [key: string]: string }
  /** Lower-case names as sent, from whichever of `headers` and `header_map` Envoy filled. */
  readonly headerNames: readonly string[]
  /** The values of a header by its lower-case name, one per field received; what is no UTF-8 as Latin-1. */
  header(name: string): readonly string[]
  /** The body as text, invalid UTF-8 replaced; empty without one. `bytes` is its length as received. */
  body(): { readonly text: string; readonly bytes: number }
  /**
   * Throws a Denied where it is too large, or lacks what every decision needs. Apart, since the route's
   * settings hold for it too.
   */
  assertJudgeable(): void
}

/** What may be set per route by Envoy's `context_extensions`, over the service's own settings. */
export interface RouteSettings {
  readonly mode: 'enforce' | 'observe'
  readonly identity: 'required' | 'optional'
  readonly authorization: 'remove' | 'keep'
  /** Who verified the token: we, or Envoy's own `jwt_authn` before us. */
  readonly source: 'token' | 'jwt_authn'
  /** Absent: as the token's issuer is configured. */
  readonly requireAgent?: boolean
}

export interface Actor {
  readonly sub: string
  readonly iss: string
}

/** Where the agent was named: in the token's `act`, as its client by the issuer's profile, or nowhere. */
export type ActorSource = 'act' | 'client' | 'none'

/** Whose token it is, as its issuer says. Of a token that was refused, as much as could be read. */
export interface Parties {
  /** The configured name of the issuer. */
  readonly issuer: string
  readonly delegator?: string
  /** The current actor; absent when nobody acts. */
  readonly agent?: Actor
  readonly actorSource?: ActorSource
  /** Outermost first. For audit only: RFC 8693 section 4.1 keeps them out of access decisions. */
  readonly priorActors?: readonly Actor[]
  readonly clientId?: string
  readonly tokenId?: string
}

/** Who acts for whom, from a verified token. Never the raw token. */
export interface Identity extends Parties {
  /** The `iss` of the token. */
  readonly iss: string
  readonly actorSource: ActorSource
  readonly priorActors: readonly Actor[]
  /** The issuer's setting; a route may say otherwise. */
  readonly requiresAgent: boolean
  readonly scopes: readonly string[]
  /** The verified claims, prior actors taken out. */
  readonly claims: JsonObject
  /** Seconds since the epoch. */
  readonly expiresAt: number
  /** The trusted headers of this identity, encoded; those of TRUSTED_HEADERS that are absent are removed. */
  readonly headers: readonly Field[]
}

/** The headers that an upstream may trust: on every allow each is set by us or removed. */
export const TRUSTED_HEADERS = [
  'x-delegator-id',
  'x-delegator-issuer',
  'x-agent-id',
  'x-agent-issuer',
  'x-agent-chain',
  'x-authz-decision-id',
] as const

/**
 * The trusted header that a name could be taken for: to CGI-like upstreams every character but letters and
 * digits is the same.
 */
export function trustedHeaderLike(name: string): string | undefined {
  const alike = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
  return TRUSTED_HEADERS.find(trusted => trusted === alike)
}

/**
 * How deep metadata may be nested: Envoy reads at most 100 messages inside one another, and an object is
 * three of them.
 */
export const DEEPEST_METADATA = 32

/** What was learned about one call before policy is asked. */
export interface CallContext {
  readonly request: HeldRequest
  readonly identity: Identity | undefined
  /** Percent-decoded, then split on `/`. */
  readonly parsedPath: readonly string[]
  readonly parsedQuery: { readonly [name: string]: readonly string[] }
  /** JSON text: numbers keep every digit. `null` where the body is absent, cut or of a type not read. */
  readonly parsedBody: string
  readonly truncatedBody: boolean
  /** Milliseconds since the epoch. */
  readonly now: number
}

export type Decision = Allow | Deny

/** Which policy decided. */
export interface PolicyRef {
  readonly entrypoint: string
  readonly revision: string
}

interface Decided {
  /** A code of the closed set: our own reasons and `policy.reasons`. */
  readonly reason: string
  /** Policy's own words where they are no listed code; for the log only. */
  readonly note?: string
  readonly metadata: JsonObject
  readonly policy?: PolicyRef
}

/** Made in one place only, `decide/verdict.ts`, from a complete positive result. */
export interface Allow extends Decided {
  readonly outcome: 'allow'
  readonly headers: readonly Field[]
  readonly responseHeaders: readonly Field[]
  readonly requestHeadersToRemove: readonly string[]
  readonly queryToSet: readonly Field[]
  readonly queryToRemove: readonly string[]
}

export interface Deny extends Decided {
  readonly outcome: 'deny'
  readonly status: number
  readonly headers: readonly Field[]
  /** Absent: the standard body. */
  readonly body?: string
  /** The scopes that would have sufficed (RFC 6750 section 3). */
  readonly challengeScope?: string
}

/** The answer to Envoy, before it becomes bytes. */
export type Reply = AllowReply | DenyReply

export interface AllowReply {
  readonly kind: 'allow'
  /** Overwritten in the request; a repeated name is appended after its first. */
  readonly headers: readonly Field[]
  readonly headersToRemove: readonly string[]
  readonly responseHeaders: readonly Field[]
  readonly queryToSet: readonly Field[]
  readonly queryToRemove: readonly string[]
  readonly metadata: JsonObject
}

export interface DenyReply {
  readonly kind: 'deny'
  readonly status: number
  readonly headers: readonly Field[]
  readonly body: string
  readonly metadata: JsonObject
}

export type Stage = 'identify' | 'gather' | 'decide' | 'respond'

/** How long one check may take. */
export interface Deadline {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Whether the caller has stopped waiting. */
  cancelled(): boolean
  /** Aborts with a Denied (`deadline` or `cancelled`). Made on first use, so only by a check that waits. */
  signal(): AbortSignal
}

/** What is known of one check so far; `record` turns it into an audit record whatever happened. */
export interface Trail {
  readonly decisionId: string
  /** Milliseconds since the epoch, with a fraction. */
  readonly startedAt: number
  request?: HeldRequest
  route: RouteSettings
  identity?: Identity
  /** Whose token was refused though its issuer wrote it; for the log only. */
  refused?: Parties
  /** From the start a refusal of ours; what is decided takes its place. */
  decision: Decision
  /** The stage that runs, and since when, in milliseconds since the epoch. */
  entered?: { readonly stage: Stage; readonly at: number }
  /** Microseconds spent in each stage that was entered. */
  readonly durations: { [stage in Stage]?: number }
}

/**
 * The whole service as its listeners see it: a refusal where anything fails; it throws only where refusing
 * fails too. `read` may throw a Denied.
 */
export type Check = (read: () => HeldRequest, deadline: Deadline) => Reply | Promise<Reply>

/** The service log. Fields are named one by one; none may hold a token, a header value or a tool argument. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Milliseconds since the epoch. */
export type Clock = () => number
