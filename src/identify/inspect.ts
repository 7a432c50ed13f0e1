import { Denied } from '../denied.ts'
import type { Clock, Deadline, Identity, JsonObject } from '../types.ts'
import { claimRules } from './claims.ts'
import { checkSize, exactClaims, readCompact } from './compact.ts'
import { readDelegation } from './delegation.ts'
import { HEADER_RULES } from './header.ts'
import { scopesOf } from './profiles/profiles.ts'
import type { Named } from './rule.ts'
import { checkSignature } from './signature.ts'
import { type IssuerName, trustedHeaders } from './trusted-headers.ts'
import { type Issuer, keyFor } from './verify.ts'

const SIZE: Named = { name: 'size', section: 'README, Answers' }
const FORM: Named = { name: 'form and JSON', section: 'RFC 7515, 7.1; RFC 7519, 4; BCP 225, 3.7 and 3.14' }
const ISSUER: Named = { name: 'issuer', section: 'RFC 7519, 4.1.1; BCP 225, 3.8' }
const KEY: Named = { name: 'key', section: 'RFC 7517, 4; BCP 225, 3.5' }
const SIGNATURE: Named = { name: 'signature', section: 'RFC 7515, 5.2; BCP 225, 3.3' }
const NUMBERS: Named = { name: 'numbers', section: 'RFC 8259, 6' }
const DELEGATION: Named = { name: 'delegation', section: 'RFC 8693, 4.1' }
const SCOPES: Named = { name: 'scopes', section: 'RFC 8693, 4.2' }
const TRUSTED_HEADERS: Named = { name: 'trusted headers', section: 'README, Answers' }
const AGENT: Named = { name: 'agent', section: 'README, Configuration' }

/** The rules of the header without which no key can be looked for. */
const CHOOSES_KEY = ['algorithm', 'kid']

export interface Finding {
  readonly rule: string
  readonly section: string
  /** Not known: something that it needs does not hold. */
  readonly found: 'holds' | 'not known' | Denied
}

export interface Inspection {
  /** In the order in which a token is checked: the first that refuses is the verdict. */
  readonly findings: readonly Finding[]
  readonly verdict: Identity | Denied
}

/**
 * What every rule says of a token, also behind the first that refuses, as far as it can be known. The verdict
 * is no sum of these: `prove` gives it, as for a request. The claims of a token whose signature is not right
 * are anybody's. Rejects with what is no Denied.
 */
export async function inspect(
  token: string,
  deadline: Deadline,
  room: {
    readonly issuers: ReadonlyMap<string, Issuer>
    readonly clock: Clock
    issuerOf(claims: JsonObject): Issuer
    readonly issuerName: IssuerName
    insistOnAgent(identity: Pick<Identity, 'agent' | 'requiresAgent'>): void
    prove(): Promise<Identity>
  },
): Promise<Inspection> {
  const findings: Finding[] = []

  const sized = await look(SIZE, token, text => {
    checkSize(text)
    return text
  })
  const parts = await look(FORM, sized, readCompact)
  const issuer = await look(ISSUER, parts, ({ claims }) => room.issuerOf(claims))
  const read = parts && issuer && { ...parts, ...issuer }
  for (const rule of HEADER_RULES)
    await look(rule, read, ({ header, settings }) => rule.check(header, settings))

  const { alg, kid } = (read?.header ?? {}) as { alg: string; kid: string | undefined }
  const choosing = CHOOSES_KEY.every(name =>
    findings.some(({ rule, found }) => rule === name && found === 'holds'),
  )
  const key = await look(KEY, choosing ? read : undefined, ({ source }) =>
    keyFor(source, alg, kid, { deadline, unknownKey: () => undefined }),
  )
  await look(SIGNATURE, key, key => checkSignature(token, key, alg))
  const exact = await look(NUMBERS, read, parts => ({ ...parts, claims: exactClaims(parts) }))

  // Named whoever the issuer is: all have most of them in common.
  const [first] = room.issuers.values()
  const now = room.clock() / 1000
  for (const rule of claimRules((issuer ?? (first as Issuer)).settings))
    await look(rule, exact, ({ claims, settings }) => rule.check(claims, settings, now))
  const identity = await look(DELEGATION, exact, ({ claims, settings }) => ({
    ...readDelegation(claims, settings),
    issuer: settings.name,
    requiresAgent: settings.require_agent,
  }))
  await look(SCOPES, exact, ({ claims, settings }) => scopesOf(claims, settings))
  await look(TRUSTED_HEADERS, identity, identity => trustedHeaders(identity, room.issuerName))
  await look(AGENT, identity, room.insistOnAgent)

  return { findings, verdict: await room.prove().catch(onlyDenied) }

  /** Adds what a rule finds, and gives what it found out for those that need it. */
  async function look<Needed, Result>(
    { name, section }: Named,
    needed: Needed | undefined,
    check: (needed: Needed) => Result | Promise<Result>,
  ): Promise<Result | undefined> {
    let found: Finding['found'] = 'not known'
    try {
      if (needed === undefined) return undefined
      const result = await check(needed)
      found = 'holds'
      return result
    } catch (thrown) {
      found = onlyDenied(thrown)
      return undefined
    } finally {
      findings.push({ rule: name, section, found })
    }
  }
}

function onlyDenied(thrown: unknown): Denied {
  if (thrown instanceof Denied) return thrown
  throw thrown
}
