import { asDenied, Denied } from '../denied.ts'
import type { Clock, Deadline, Identity } from '../types.ts'
import { exactClaims, type Unverified } from './compact.ts'
import { checkHeader } from './header.ts'
import { judge } from './judge.ts'
import { chooseKey, type VerificationKey } from './keys/key-set.ts'
import type { KeySource } from './keys/key-source.ts'
import type { IssuerSettings } from './settings.ts'
import { checkSignature } from './signature.ts'
import type { IssuerName } from './trusted-headers.ts'
import type { Turns } from './turns.ts'
import { until } from './until.ts'

export interface Issuer {
  readonly settings: IssuerSettings
  readonly source: KeySource
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
    turns: Turns
    unknownKey: () => void
    issuerName: IssuerName
  },
): Promise<{ identity: Identity; keyText: string }> {
  const { header, token } = unverified
  const { alg, kid } = checkHeader(header, settings)
  const key = await keyFor(source, alg, kid, deps)
  const checking = deps.turns.take(() => checkSignature(token, key, alg), deps.deadline.signal())
  await until(checking, deps.deadline.signal()).catch((thrown: unknown) => {
    // The key may have been replaced under its kid: not waited for, since most such tokens are forged.
    if (asDenied(thrown).reason === 'signature_invalid') void source.refetch()
    throw thrown
  })
  const claims = exactClaims(unverified)
  const identity = judge(claims, settings, { now: deps.clock(), issuerName: deps.issuerName })
  return { identity, keyText: key.text }
}

/** A key that is not known may be new: one fetch, where one is allowed, is waited for until the deadline. */
export async function keyFor(
  source: KeySource,
  alg: string,
  kid: string | undefined,
  { deadline, unknownKey }: { deadline: Deadline; unknownKey: () => void },
): Promise<VerificationKey> {
  const known = chooseKey(source.keys(), alg, kid)
  if (known) return known
  const fetching = source.refetch()
  if (fetching !== undefined) {
    await until(fetching, deadline.signal()).catch((thrown: unknown) => {
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
