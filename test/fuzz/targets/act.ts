import fc from 'fast-check'
import { Denied } from '../../../src/denied.ts'
import { readDelegation } from '../../../src/identify/delegation.ts'
import { judge } from '../../../src/identify/judge.ts'
import type { IssuerSettings } from '../../../src/identify/settings.ts'
import { trustedHeaders } from '../../../src/identify/trusted-headers.ts'
import type { Identity } from '../../../src/types.ts'
import { settings } from '../../unit/identify/issuer.ts'
import { changedClaims } from '../../unit/identify/mutations.ts'
import { AUDIENCE, specified } from '../../unit/identify/oracle.ts'
import { GOOD_CLAIMS, ISSUER, NOW } from '../../vectors/token.ts'
import { hold, holdSame, orDenied } from '../held.ts'
import { readJson } from '../strict-json.ts'
import { createTarget } from '../target.ts'
import { whoActs } from '../who-acts.ts'

type Claims = { [name: string]: never }

const PARTNER = 'https://partner.example.com'
/** The other issuer that is configured: its accounts show its name. */
const NAMES: { readonly [iss: string]: string | undefined } = { [ISSUER]: 'corp', [PARTNER]: 'partner' }
const issuerName = (iss: string) => (Object.hasOwn(NAMES, iss) ? NAMES[iss] : undefined)

const PROFILES = ['rfc8693', 'keycloak', 'okta', 'auth0', 'entra'] as const
const ISSUERS = PROFILES.flatMap(profile =>
  [
    { max_depth: 4, require_delegator: true },
    { max_depth: 4, require_delegator: false },
    { max_depth: 1, require_delegator: false },
    { max_depth: 16, require_delegator: true },
  ].map(changes => settings({ profile, audiences: [AUDIENCE], ...changes })),
)

const COMMON = { iss: ISSUER, aud: GOOD_CLAIMS.aud, exp: GOOD_CLAIMS.exp, iat: GOOD_CLAIMS.iat }

const names = fc.oneof(
  {
    arbitrary: fc.constantFrom('alice', 'console', 'planner', 'mail-summary', 'a@clients', 'corp'),
    weight: 12,
  },
  { arbitrary: fc.nat(9).map(number => `agent-${number}`), weight: 12 },
  {
    arbitrary: fc.constantFrom(
      'ü%',
      'a,b',
      'a%2Cb',
      ' ',
      '\r\nx-agent-id: root',
      '\u{1f600}',
      'a'.repeat(511),
      'é'.repeat(86),
    ),
    weight: 4,
  },
  { arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 4 }), weight: 2 },
  { arbitrary: fc.constantFrom('', 1, null, ['alice'], { sub: 'alice' }, true), weight: 1 },
)
const issuers = fc.oneof(
  { arbitrary: fc.constant(undefined), weight: 6 },
  { arbitrary: fc.constantFrom(ISSUER, PARTNER, `${ISSUER}/`, 'urn:a', 'https://é.example.com'), weight: 5 },
  { arbitrary: fc.constantFrom('corp', 'partner', '', 1, null, '__proto__', 'constructor'), weight: 1 },
)
const actor = fc.record({
  sub: names,
  iss: issuers,
  exp: fc.constantFrom(undefined, 0),
  aud: fc.constantFrom(undefined, 'a'),
})
const end = fc.oneof(
  { arbitrary: fc.constant(undefined), weight: 30 },
  { arbitrary: fc.constantFrom(null, '', [], {}, 1, ['a'], { act: { sub: 'a' } }), weight: 1 },
)
const act = fc
  .tuple(
    fc.oneof(
      { arbitrary: fc.array(actor, { maxLength: 4 }), weight: 12 },
      { arbitrary: fc.array(actor, { minLength: 4, maxLength: 17 }), weight: 1 },
    ),
    end,
  )
  .map(([actors, last]) => actors.reduceRight<unknown>((act, actor) => ({ ...actor, act }), last))

/** By the claims that any profile looks at. */
const said = fc.record(
  {
    sub: names,
    oid: names,
    azp: names,
    appid: names,
    cid: names,
    client_id: names,
    uid: fc.constantFrom('u', 1),
    sid: fc.constantFrom('s', 1, ''),
    jti: fc.constantFrom('token-1', 'trrtcc:1', 'abcc:1', '\ncccc:', 1),
    preferred_username: fc.constantFrom('alice', 'service-account-console', 'Service-Account-x', '', 1),
    clientHost: fc.constantFrom('h', null),
    sub_profile: fc.constantFrom('user', 'ai_agent', 'ai_agent user', ['user'], ''),
    gty: fc.constantFrom('client-credentials', ['client-credentials'], 'password', null, [
      ['client-credentials'],
    ]),
    idtyp: fc.constantFrom('user', 'app', 1),
    scp: fc.constantFrom('read', '', '/', ' / ', '\u00a0', ['read']),
    xms_sub_fct: fc.constantFrom('2', '11', '2 13', 11, null),
    act,
  },
  { requiredKeys: ['sub', 'oid', 'act'] },
)
const few = fc.tuple(said, fc.nat()).map(([claims, mask]) => {
  const kept = Object.entries(claims).filter(
    ([name], i) => ['sub', 'oid', 'act'].includes(name) || (mask >> i) % 4 === 0,
  )
  return { ...COMMON, ...Object.fromEntries(kept) }
})
const inputs = fc.record({
  issuer: fc.constantFrom(...ISSUERS),
  // As it comes off a token: nothing undefined, nothing but JSON.
  claims: fc.oneof({ arbitrary: few, weight: 3 }, { arbitrary: changedClaims, weight: 1 }).map(asJson),
})

/** Who acts for whom by claims that are believed, and the headers that say it. */
export const actParser = createTarget({
  name: 'act',
  least: 0.2,
  file: 'delegation.yaml',
  inputs,
  accepts({ issuer, claims }) {
    const wanted = whoActs(claims, {
      profile: issuer.profile,
      iss: ISSUER,
      maxDepth: issuer.max_depth,
      requireDelegator: issuer.require_delegator,
    })
    const read = orDenied(() => readDelegation(claims, issuer))
    if (read instanceof Denied) {
      hold(wanted === undefined, `refused, and not ${JSON.stringify(wanted)}: ${read.reason}`)
      return false
    }
    const { delegator, agent, actorSource, priorActors } = read
    const actors = agent ? [agent, ...priorActors] : []
    holdSame({ delegator, actors, source: actorSource }, wanted, 'who acts for whom')
    hold(actors.length <= issuer.max_depth, 'the chain is bounded')
    hold(!agent || agent.iss !== ISSUER || agent.sub !== delegator, 'nobody acts for themselves')
    hold(
      read.claims.act === undefined || !Object.hasOwn(read.claims.act as object, 'act'),
      'policy sees no prior actor',
    )
    const headers = orDenied(() => trustedHeaders({ issuer: 'corp', ...read }, issuerName))
    holdHeaders(headers, read)
    holdJudged(claims, issuer)
    return !(headers instanceof Denied)
  },
  shown: ({ issuer: { profile, max_depth, require_delegator }, claims }) => ({
    issuer: { profile, max_depth, require_delegator },
    claims,
  }),
  vector: ({ issuer: { profile, max_depth, require_delegator }, claims }) => ({
    config: { issuers: { corp: { profile, max_depth, require_delegator } } },
    token: { payload: JSON.stringify(claims) },
  }),
})

function asJson(claims: object): Claims {
  const text = JSON.stringify(claims)
  return JSON.parse(text.isWellFormed() && !/\\ud[89a-f]/i.test(text) ? text : '{}')
}

type Read = Pick<Identity, 'delegator' | 'agent' | 'priorActors'>

/** Read backwards they say what went in, so that no two identities give the same; visible ASCII, and short. */
function holdHeaders(headers: readonly (readonly [string, string])[] | Denied, read: Read): void {
  const { delegator, agent, priorActors } = read
  const named = agent && issuerName(agent.iss)
  const stranger = agent !== undefined && named === undefined && !agent.iss.includes(':')
  if (headers instanceof Denied) {
    const long = [delegator, agent?.sub, named ?? agent?.iss, priorActors.map(({ sub }) => sub).join()].some(
      (text = '') => encodeURIComponent(text).length > 512,
    )
    hold(headers.reason === (stranger ? 'actor_invalid' : 'header_too_large'), `headers: ${headers.reason}`)
    hold(long || stranger, 'headers that are right are made')
    return
  }
  hold(!stranger, 'an issuer that is no URI could pass for a configured name')
  hold(new Set(headers.map(([name]) => name)).size === headers.length, 'no header twice')
  for (const [, value] of headers)
    hold(/^[\x21-\x7e]{1,512}$/.test(value), `visible ASCII, and short: ${value}`)
  const decoded = Object.fromEntries(
    headers.map(([name, value]) => [
      name,
      name === 'x-agent-chain' ? value.split(',').map(decodeURIComponent) : decodeURIComponent(value),
    ]),
  )
  holdSame(
    decoded,
    {
      ...(delegator !== undefined && { 'x-delegator-id': delegator, 'x-delegator-issuer': 'corp' }),
      ...(agent && { 'x-agent-id': agent.sub, 'x-agent-issuer': named ?? agent.iss }),
      ...(priorActors.length > 0 && { 'x-agent-chain': priorActors.map(({ sub }) => sub) }),
    },
    'headers say what the identity says',
  )
}

/** The whole reading of claims, rules for times, audience and client included; the other oracle knows rfc8693 only. */
function holdJudged(claims: Claims, issuer: IssuerSettings): void {
  const judged = orDenied(() => judge(claims, issuer, { now: NOW * 1000, issuerName }))
  if (judged instanceof Denied) hold(judged.reason !== 'internal_error', `internal error: ${judged.cause}`)
  if (issuer.profile !== 'rfc8693' || issuer.max_depth !== 4 || !issuer.require_delegator) return
  const wanted = specified(claims)
  if (judged instanceof Denied) {
    hold(wanted === undefined, `a token that is right is refused: ${judged.reason}`)
    return
  }
  // What is looked at before: the issuer, how deep claims nest, and names that need escapes.
  const { depth = 0, namesNeedEscapes } = readJson(JSON.stringify(claims)) ?? {}
  if (claims.iss !== ISSUER || depth > 32 || namesNeedEscapes) return
  const { delegator, agent, priorActors, scopes, clientId, tokenId, expiresAt } = judged
  holdSame(
    { delegator, agent, priorActors, scopes, clientId, tokenId, expiresAt },
    wanted,
    'what a token says',
  )
}
