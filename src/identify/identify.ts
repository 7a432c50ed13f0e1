import { Denied } from '../denied.ts'
import type { Clock, Deadline, HeldRequest, Identity, JsonObject, Log, RouteSettings } from '../types.ts'
import { bearerToken } from './bearer.ts'
import { readCompact } from './compact.ts'
import { type Inspection, inspect } from './inspect.ts'
import { judge } from './judge.ts'
import { verifiedPayload } from './jwt-authn.ts'
import { createKeySource, type KeyEvents, type KeySource } from './keys/key-source.ts'
import type { IssuerSettings } from './settings.ts'
import { createTokenCache } from './token-cache.ts'
import { createTurns } from './turns.ts'
import { type Issuer, verify } from './verify.ts'

export type { Finding, Inspection } from './inspect.ts'
export { type IssuerSettings, issuersSettings, isTrustworthyUrl } from './settings.ts'

const USUAL_LIFETIME_MS = 15 * 60_000

/** What an operator counts. */
export interface IdentifyEvents extends KeyEvents {
  unknownKey(issuer: string): void
  tokenCache(result: 'hit' | 'miss'): void
}

export interface IssuerStatus {
  readonly issuer: string
  readonly required: boolean
  readonly keys: number
  readonly keys_read_at: string | null
  readonly error: string | null
}

export interface IdentifyRoom {
  /**
   * Who sends this request, by its Bearer token, or by what Envoy's `jwt_authn` verified where the route says
   * so; undefined without one where the route allows that. Refuses with a Denied, at once where nothing needs
   * to be waited for. Does not say whether an agent is needed: see `insistOnAgent`.
   */
  identify(
    request: HeldRequest,
    route: RouteSettings,
    deadline: Deadline,
  ): Identity | undefined | Promise<Identity>
  /** What every rule says of a token on this route, an agent where it wants one included; for people. */
  inspect(token: string, route: RouteSettings, deadline: Deadline): Promise<Inspection>
  status(): IssuerStatus[]
  /** Reads key files (Unusable when one is broken) and begins to fetch the others; does not wait for them. */
  start(): void
  close(): void
  /** The key sources, by what they depend on, for a successor to take over. */
  readonly sources: ReadonlyMap<string, KeySource>
}

/** Refuses an identity in which nobody acts, where the route, or else the issuer, wants an agent. */
export function insistOnAgent(
  { agent, requiresAgent }: Pick<Identity, 'agent' | 'requiresAgent'>,
  route: RouteSettings,
): void {
  if (agent === undefined && (route.requireAgent ?? requiresAgent)) throw new Denied('agent_missing')
}

/**
 * `previous`: the room that this one replaces; key sources that both want are taken over, so that no key is
 * lost.
 */
export function createIdentify(
  settings: readonly IssuerSettings[],
  deps: { clock: Clock; log: Log; events: IdentifyEvents; previous?: IdentifyRoom },
): IdentifyRoom {
  const { clock, log, events, previous } = deps
  const sources = new Map<string, KeySource>()
  const issuers = new Map<string, Issuer>()
  try {
    for (const issuer of settings) {
      const key = sourceKey(issuer)
      const source = previous?.sources.get(key)?.retain() ?? createKeySource(issuer, { clock, log, events })
      sources.set(key, source)
      issuers.set(issuer.issuer, { settings: issuer, source })
    }
  } catch (error) {
    for (const source of sources.values()) source.close()
    throw error
  }
  const tokens = createTokenCache(clock)
  const turns = createTurns()
  const issuerName = (iss: string) => issuers.get(iss)?.settings.name

  /** RFC 7519, section 4.1.1; RFC 8725, section 3.8: the issuer decides about all that follows. */
  function issuerOf({ iss }: JsonObject): Issuer {
    const issuer = typeof iss === 'string' ? issuers.get(iss) : undefined
    if (!issuer) throw new Denied('issuer_unknown')
    return issuer
  }

  async function verified(token: string, deadline: Deadline): Promise<Identity> {
    const unverified = readCompact(token)
    const issuer = issuerOf(unverified.claims)
    const unknownKey = () => events.unknownKey(issuer.settings.name)
    const needed = { clock, deadline, turns, unknownKey, issuerName }
    const { identity, keyText } = await verify(unverified, issuer, needed)
    tokens.set(token, { identity, keyText, source: issuer.source })
    return identity
  }

  function byToken(request: HeldRequest, deadline: Deadline): Identity | undefined | Promise<Identity> {
    const token = bearerToken(request)
    if (token === undefined) return undefined
    const known = tokens.get(token)
    events.tokenCache(known ? 'hit' : 'miss')
    return known ?? verified(token, deadline)
  }

  function byJwtAuthn(request: HeldRequest): Identity | undefined {
    const payload = verifiedPayload(request, settings)
    if (payload === undefined) return undefined
    const { claims, issuer } = payload
    // Envoy may have taken the token away: its type cannot tell an access token from others.
    return judge(claims, { ...issuer, types: ['JWT'] }, { now: clock(), issuerName })
  }

  return {
    identify(request, route, deadline) {
      const identity = route.source === 'jwt_authn' ? byJwtAuthn(request) : byToken(request, deadline)
      if (identity === undefined && route.identity === 'required') throw new Denied('token_missing')
      return identity
    },
    inspect: (token, route, deadline) =>
      inspect(token, deadline, {
        issuers,
        clock,
        issuerOf,
        issuerName,
        insistOnAgent: identity => insistOnAgent(identity, route),
        async prove() {
          const identity = await verified(token, deadline)
          insistOnAgent(identity, route)
          return identity
        },
      }),
    status: () =>
      [...issuers.values()].map(({ settings: { name, required }, source }) => {
        const { readAt, error } = source.status()
        return {
          issuer: name,
          required,
          keys: source.keys().length,
          keys_read_at: readAt === undefined ? null : new Date(readAt).toISOString(),
          error,
        }
      }),
    start() {
      for (const { name, max_lifetime } of settings)
        if (max_lifetime > USUAL_LIFETIME_MS)
          log.warn({ issuer: name }, 'max_lifetime is over 15m: a stolen token works for as long')
      for (const source of sources.values()) source.start()
    },
    close() {
      for (const source of sources.values()) source.close()
    },
    sources,
  }
}

function sourceKey({ name, issuer, jwks_uri, jwks_file, ca_file, proxy }: IssuerSettings): string {
  return JSON.stringify([name, issuer, jwks_uri, jwks_file, ca_file, proxy])
}
