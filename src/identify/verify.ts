import { compactVerify, errors } from 'jose'
import { asDenied, Denied } from '../denied.ts'
import type { Clock, Deadline, Identity } from '../types.ts'
import { checkClaims, checkHeader, clientOf } from './claims.ts'
import type { Unverified } from './compact.ts'
import type { KeySource } from './key-source.ts'
import { chooseKey, type VerificationKey } from './keys.ts'
import { type Delegation, readDelegation } from './profiles/rfc8693.ts'
import type { IssuerSettings } from './settings.ts'
import { trustedHeaders } from './trusted-headers.ts'

export interface Issuer {
  readonly settings: IssuerSettings
  readonly source: KeySource
}

const PROFILES: { readonly [profile in IssuerSettings['profile']]: typeof readDelegation } = {
  rfc8693: readDelegation,
}

/**
 * The identity that a token proves, checked in this order: header, key, signature, claims, delegation,
 * trusted headers. Rejects with a Denied at the first that is not right. Does not look at revocation.
 */
export async function verify(
  unverified: Unverified,
  { settings, source }: Issuer,
  deps: {
    clock: Clock
    deadline: Deadline
    unknownKey: () => void
    issuerName: (iss: string) => string | undefined
  },
): Promise<{ identity: Identity; key: string }> {
  const { header, claims, token } = unverified
  const { alg, kid } = checkHeader(header, settings)
  const key = await keyFor(source, alg, kid, deps)
  await until(checkSignature(token, key, alg), deps.deadline).catch((thrown: unknown) => {
    // The key may have been replaced under its kid: not waited for, since most such tokens are forged.
    if (asDenied(thrown).reason === 'signature_invalid') void source.refetch()
    throw thrown
  })
  checkClaims(claims, settings, deps.clock())
  const delegation = PROFILES[settings.profile](claims, settings)
  const identity = identityOf(unverified, delegation, settings)
  return { identity: { ...identity, headers: trustedHeaders(identity, deps.issuerName) }, key: key.text }
}

/** A key that is not known may be new: one fetch, where one is allowed, is waited for until the deadline. */
async function keyFor(
  source: KeySource,
  alg: string,
  kid: string | undefined,
  { deadline, unknownKey }: { deadline: Deadline; unknownKey: () => void },
): Promise<VerificationKey> {
  const known = chooseKey(source.keys(), alg, kid)
  if (known) return known
  const fetching = source.refetch()
  if (fetching !== undefined) {
    await until(fetching, deadline).catch((thrown: unknown) => {
      // Without any key it is the issuer that cannot be reached, however long a check would wait.
      const late = asDenied(thrown).reason === 'deadline' && source.keys().length === 0
      throw late ? new Denied('keys_unavailable') : thrown
    })
    const fetched = chooseKey(source.keys(), alg, kid)
    if (fetched) return fetched
  }
  if (source.keys().length === 0) throw new Denied('keys_unavailable')
  unknownKey()
  throw new Denied('key_unknown')
}

/** What is waited for goes on, for others or for nobody, when this check stops waiting. */
function until<T>(work: Promise<T>, deadline: Deadline): Promise<T> {
  const signal = deadline.signal()
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

async function checkSignature(token: string, { key }: VerificationKey, alg: string): Promise<void> {
  try {
    await compactVerify(token, key, { algorithms: [alg] })
  } catch (error) {
    if (error instanceof errors.JOSEError) throw new Denied('signature_invalid')
    throw error
  }
}

function identityOf(
  { claims }: Unverified,
  { delegator, actors: [agent, ...priorActors], claims: shown }: Delegation,
  settings: IssuerSettings,
): Omit<Identity, 'headers'> {
  const clientId = clientOf(claims)
  return {
    issuer: settings.name,
    iss: settings.issuer,
    ...(delegator !== undefined && { delegator }),
    ...(agent && { agent: agent.sub, agentIss: agent.iss }),
    actorSource: agent ? 'act' : 'none',
    requiresAgent: settings.require_agent,
    scopes: scopesOf(claims.scope),
    ...(clientId !== undefined && { clientId }),
    depth: agent ? priorActors.length + 1 : 0,
    priorActors,
    claims: shown,
    ...(claims.jti !== undefined && { tokenId: claims.jti as string }),
    expiresAt: claims.exp as number,
  }
}

/** RFC 8693, section 4.2: space-separated text; some issuers write a list. */
function scopesOf(scope: unknown): string[] {
  if (scope === undefined) return []
  if (typeof scope === 'string') return scope.split(' ').filter(part => part !== '')
  if (Array.isArray(scope) && scope.every(part => typeof part === 'string')) return scope
  throw new Denied('claim_invalid', 'scope')
}
