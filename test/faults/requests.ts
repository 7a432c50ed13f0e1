import { type Key, newKey } from '../unit/identify/issuer.ts'
import type { FaultyIssuer, Token } from './faulty-issuer.ts'

/** What requests are made of; a cell changes it while it breaks something. */
export interface Subjects {
  readonly issuer: FaultyIssuer
  /** Configured, and never heard of. */
  readonly silent: FaultyIssuer
  /** Seen by the service before anything broke. */
  readonly known: Token
  /** The key that the issuer rotates to. */
  readonly next: Key
  /** Has the id of the issuer's first key, and is another. */
  readonly stranger: Key
  /** In milliseconds, as the service reads it. */
  now(): number
}

export interface Asked {
  readonly method?: string
  /** The first part of the path. */
  readonly path: string
  readonly token?: Token
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string
  /** Instead of a CheckRequest. */
  readonly bytes?: Buffer
  /** How much of the decision log it takes, about. */
  readonly fat?: boolean
}

export interface Kind {
  readonly name: string
  /** Without Envoy, which stands in for any other client of the gRPC port. */
  readonly direct?: true
  ask(subjects: Subjects): Asked | Promise<Asked>
  /** What comes out once it is known who asks: allow, or the reason, by the revision of the policy. */
  readonly wanted: (revision: string) => string
  /** Refusals that are as right. */
  readonly or?: readonly string[]
  /** Its route lets refusals through. */
  readonly observed?: true
  /** Nobody needs to be known for it. */
  readonly anonymous?: true
}

const always = (outcome: string) => () => outcome
const ALLOW = always('allow')
const JSON_TYPE = [['content-type', 'application/json']] as const

const fresh = ({ issuer }: Subjects) => issuer.mint()
const to =
  (path: string, more: Partial<Asked> = {}): Kind['ask'] =>
  async subjects => ({ path, token: await fresh(subjects), ...more })

export const KNOWN: Kind = {
  name: 'good, known',
  ask: ({ known }) => ({ path: 'allowed', token: known }),
  wanted: ALLOW,
}

export const FRESH: Kind = { name: 'good, never seen', ask: to('allowed'), wanted: ALLOW }

export const ROTATED: Kind = {
  name: 'good, of the next key',
  ask: async ({ issuer, next }) => ({ path: 'allowed', token: await issuer.mint({ key: next }) }),
  wanted: ALLOW,
  // Until it is published, and for as long as no fetch is allowed.
  or: ['key_unknown'],
}

export const DATED: Kind = {
  name: 'good by our clock',
  ask: async ({ issuer, now }) => ({ path: 'allowed', token: await issuer.mint({ now: now() }) }),
  wanted: ALLOW,
}

/** Of the same key and times as one that was let through. */
const CHANGED: Kind = {
  name: 'good, known, its signature changed',
  ask({ known }) {
    const from = known.jwt.lastIndexOf('.') + 1
    const other = known.jwt[from] === 'A' ? 'B' : 'A'
    const jwt = known.jwt.slice(0, from) + other + known.jwt.slice(from + 1)
    return { path: 'allowed', token: { ...known, jwt, good: () => false } }
  },
  wanted: always('signature_invalid'),
}

export const BEFORE: Kind = {
  name: 'the second policy refuses',
  ask: to('before'),
  wanted: revision => (revision === 'second' ? 'policy_denied' : 'allow'),
}

export const AFTER: Kind = {
  name: 'the second policy allows',
  ask: to('after'),
  wanted: revision => (revision === 'second' ? 'allow' : 'policy_denied'),
}

export const DIRECT: Kind = { ...KNOWN, name: 'good, known, without Envoy', direct: true }

/** Waits for keys until they are published. */
export const WAITING: Kind = { ...ROTATED, name: 'good, of the next key, without Envoy', direct: true }

/** Its client waits no longer than an answer takes for its way back. */
export const HURRIED: Kind = { ...DIRECT, name: 'good, known, in a hurry', wanted: always('deadline') }

/** Leaves a line as long as lines get. */
export const FAT: Kind = {
  name: 'a long line',
  direct: true,
  ask: () => ({ path: 'allowed', fat: true }),
  wanted: always('token_missing'),
}

export const KINDS: readonly Kind[] = [
  KNOWN,
  FRESH,
  ROTATED,
  DATED,
  CHANGED,
  BEFORE,
  AFTER,
  DIRECT,
  {
    name: 'good, with a body',
    ask: to('body', { method: 'POST', headers: JSON_TYPE, body: '{"folder":"inbox"}' }),
    wanted: ALLOW,
  },
  { name: 'good, HEAD', ask: to('allowed', { method: 'HEAD' }), wanted: ALLOW },
  { name: 'nobody, HEAD', ask: () => ({ path: 'allowed', method: 'HEAD' }), wanted: always('token_missing') },
  { name: 'nobody', ask: () => ({ path: 'allowed' }), wanted: always('token_missing') },
  {
    name: 'another scheme',
    ask: () => ({ path: 'allowed', headers: [['authorization', 'Basic YTpi']] }),
    wanted: always('token_missing'),
  },
  {
    name: 'two headers',
    ask: ({ known }) => ({ path: 'allowed', token: known, headers: [['authorization', 'Bearer x']] }),
    wanted: always('authorization_repeated'),
  },
  { name: 'nobody, where that is allowed', anonymous: true, ask: () => ({ path: 'public' }), wanted: ALLOW },
  {
    name: 'forged, where nobody is allowed',
    ask: async ({ issuer, stranger }) => ({ path: 'public', token: await issuer.mint({ key: stranger }) }),
    wanted: always('signature_invalid'),
  },
  {
    name: 'forged',
    ask: async ({ issuer, stranger }) => ({ path: 'allowed', token: await issuer.mint({ key: stranger }) }),
    wanted: always('signature_invalid'),
  },
  {
    name: 'expired',
    ask: async ({ issuer }) => ({ path: 'allowed', token: await issuer.mint({ expires: -60 }) }),
    wanted: always('token_expired'),
  },
  {
    name: 'expired by our clock',
    ask: async ({ issuer, now }) => ({
      path: 'allowed',
      token: await issuer.mint({ now: now(), expires: -60 }),
    }),
    wanted: always('token_expired'),
  },
  {
    name: "of nobody's key",
    ask: async ({ issuer, stranger }) => {
      const header = { kid: crypto.randomUUID() }
      return { path: 'allowed', token: await issuer.mint({ key: stranger, header }) }
    },
    wanted: always('key_unknown'),
  },
  {
    name: 'of an issuer never heard of',
    ask: async ({ silent }) => ({ path: 'allowed', token: await silent.mint() }),
    wanted: always('keys_unavailable'),
  },
  { name: 'policy says no', ask: to('no'), wanted: always('policy_denied') },
  { name: 'policy says why', ask: to('not-today'), wanted: always('not_today') },
  { name: 'policy throws', ask: to('throws'), wanted: always('policy_error') },
  { name: 'policy makes no sense', ask: to('malformed'), wanted: always('policy_error') },
  { name: 'policy has no answer', ask: to('elsewhere'), wanted: always('policy_undefined') },
  { name: 'observed', observed: true, ask: to('observe'), wanted: always('not_today') },
  {
    name: 'observed, forged',
    observed: true,
    ask: async ({ issuer, stranger }) => ({ path: 'observe', token: await issuer.mint({ key: stranger }) }),
    wanted: always('signature_invalid'),
  },
  { name: 'a misspelt route', ask: to('misspelt'), wanted: always('route_invalid') },
  {
    name: 'a body that is none',
    ask: to('body', { method: 'POST', headers: JSON_TYPE, body: '{"folder":' }),
    wanted: always('body_invalid'),
  },
  {
    name: 'no CheckRequest',
    direct: true,
    ask: () => ({ path: 'none', bytes: Buffer.from('no such message') }),
    wanted: always('request_malformed'),
  },
]

/** A key under the id of another. */
export const strangerTo = (issuer: FaultyIssuer): Promise<Key> => newKey(issuer.first.jwk.kid)
