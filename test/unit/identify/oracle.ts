import type { Actor } from '../../../src/types.ts'
import { GOOD_CLAIMS, ISSUER, NOW } from '../../vectors/token.ts'

export const AUDIENCE = GOOD_CLAIMS.aud

type Claims = { readonly [name: string]: unknown }

interface Specified {
  readonly delegator: string
  readonly agent: Actor | undefined
  readonly priorActors: readonly Actor[]
  readonly scopes: readonly string[]
  readonly clientId: string | undefined
  readonly tokenId: string | undefined
  readonly expiresAt: number
}

/**
 * Who acts for whom by these claims of an issuer of profile rfc8693 with settings as they are by default; undefined
 * where they must be refused. Written from the texts, not from the code, and as plainly as it goes.
 */
export function specified(claims: unknown): Specified | undefined {
  if (!isObject(claims) || !isReadable(claims)) return undefined
  const { iss, sub, aud, exp, nbf = NOW, iat = NOW, jti, client_id, azp, scope = [] } = claims
  const scopes = typeof scope === 'string' ? scope.split(' ').filter(Boolean) : scope
  const actors = Object.hasOwn(claims, 'act') ? chain(claims.act) : []
  const holds =
    iss === ISSUER &&
    isName(sub) &&
    isTime(exp) &&
    isTime(nbf) &&
    isTime(iat) &&
    NOW - exp < 30 &&
    nbf - NOW <= 30 &&
    iat - NOW <= 30 &&
    exp - iat <= 15 * 60 &&
    (typeof aud === 'string' || isTexts(aud)) &&
    [aud].flat().includes(AUDIENCE) &&
    (jti === undefined || typeof jti === 'string') &&
    [client_id, azp].every(name => name === undefined || isName(name)) &&
    // RFC 9068, section 2.2: nobody but the client is behind such a token.
    (client_id ?? azp) !== sub &&
    isTexts(scopes) &&
    ['cnf', 'nonce', 'at_hash', 'c_hash', 'events'].every(name => !Object.hasOwn(claims, name))
  if (!holds || !actors || !isSound(actors, sub)) return undefined
  const [agent, ...priorActors] = actors
  const written = [sub, agent?.sub, agent?.iss, priorActors.map(actor => actor.sub).join('')]
  const commas = Math.max(0, priorActors.length - 1)
  if (written.some((text = '', i) => width(text) + (i === 3 ? commas : 0) > 512)) return undefined
  return {
    delegator: sub,
    agent,
    priorActors,
    scopes,
    clientId: (client_id ?? azp) as string | undefined,
    tokenId: isName(jti) ? jti : undefined,
    expiresAt: exp,
  }
}

/** What the keys of the issuer may sign. */
const KEYS: { readonly [signer: string]: { readonly alg: string; readonly kid: string } } = {
  corp: { alg: 'ES256', kid: 'k1' },
  rsa: { alg: 'RS256', kid: 'r1' },
}

/** Whether a token with this header may be believed where this key of the issuer, or of another, signed it. */
export function isRightHeader(header: { readonly [name: string]: unknown }, signer: string): boolean {
  const { alg, typ, kid } = header
  const key = KEYS[signer]
  return (
    isReadable(header) &&
    key !== undefined &&
    alg === key.alg &&
    // Without one, a single key fits.
    (kid === undefined || kid === key.kid) &&
    typeof typ === 'string' &&
    ['jwt', 'at+jwt', 'application/jwt', 'application/at+jwt'].includes(typ.toLowerCase()) &&
    !Object.hasOwn(header, 'crit') &&
    !Object.hasOwn(header, 'b64')
  )
}

function chain(act: unknown): Actor[] | undefined {
  if (!isObject(act) || !isName(act.sub) || !isName(act.iss ?? ISSUER) || act.iss === null) return undefined
  const prior = Object.hasOwn(act, 'act') ? chain(act.act) : []
  return prior && [{ sub: act.sub, iss: (act.iss ?? ISSUER) as string }, ...prior]
}

/** Four at the most, nobody twice, the agent neither the delegator nor of an issuer that has no URI. */
function isSound(actors: readonly Actor[], sub: string): boolean {
  const everybody = new Set(actors.map(actor => JSON.stringify(actor)))
  const [agent] = actors
  return (
    actors.length <= 4 &&
    everybody.size === actors.length &&
    !(agent?.iss === ISSUER && agent.sub === sub) &&
    (agent === undefined || agent.iss.includes(':'))
  )
}

/** The bytes of a header value in which this stands percent-encoded. */
function width(text: string): number {
  return [...Buffer.from(text)]
    .map(byte => (byte > 0x20 && byte < 0x7f && byte !== 0x25 && byte !== 0x2c ? 1 : 3))
    .reduce((sum: number, bytes) => sum + bytes, 0)
}

function isObject(value: unknown): value is Claims {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

function isReadable(part: Claims): boolean {
  return (
    everyText(part).every(text => text.isWellFormed()) &&
    depth(part) <= 32 &&
    everyName(part).every(name => JSON.stringify(name) === `"${name}"`)
  )
}

function everyName(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  const own = Array.isArray(value) ? [] : Object.keys(value)
  return [...own, ...Object.values(value).flatMap(everyName)]
}

function everyText(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) => [name, ...everyText(inner)])
}

function depth(value: unknown): number {
  return typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depth)) : 0
}
