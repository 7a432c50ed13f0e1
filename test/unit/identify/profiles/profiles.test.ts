import { createHmac } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { policyInput } from '../../../../src/decide/input.ts'
import { asDenied } from '../../../../src/denied.ts'
import { insistOnAgent } from '../../../../src/identify/identify.ts'
import { PROFILES } from '../../../../src/identify/profiles/profiles.ts'
import type { Identity } from '../../../../src/types.ts'
import { heldRequest } from '../../trail.ts'
import { type Key, NOW, newKey, ROUTE, startRoom } from '../issuer.ts'

type Claims = { readonly [claim: string]: unknown }

/** A token in the form in which its issuer writes it, with invented values, and what it has to be taken for. */
interface Fixture {
  /** Who saw this form: a server that was run, or somebody who printed a token; or the text that has it. */
  readonly shape: string
  readonly header: { readonly alg: string; readonly typ?: string; readonly kid: string }
  readonly payload: Claims & { readonly iss: string; readonly aud?: string | readonly string[] }
  /** As policy is told, and beside it the subjects of prior actors. */
  readonly says?: Claims & { readonly delegator?: string; readonly agent?: string }
  /** In place of `says`: the reason and the note of a refusal that no setting turns into an identity. */
  readonly refused?: string
}

const names = Object.keys(PROFILES)
const fixtures = names.flatMap(profile =>
  Object.entries(
    JSON.parse(readFileSync(join(import.meta.dirname, `fixtures/${profile}.json`), 'utf8')) as {
      [kind: string]: Fixture
    },
  ).map(([kind, fixture]) => ({ profile, kind, ...fixture })),
)

const folder = mkdtempSync(join(tmpdir(), 'profiles-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const keys = new Map<string, Key>()
beforeAll(async () => {
  for (const { header } of fixtures)
    if (header.alg === 'RS256' && !keys.has(header.kid))
      keys.set(header.kid, await newKey(header.kid, 'RS256'))
  writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys: [...keys.values()].map(({ jwk }) => jwk) }))
})

const rooms: { close(): void }[] = []
afterAll(() => {
  for (const room of rooms) room.close()
})

/** What a room with one issuer makes of a token, or its refusal as text. */
async function answer(
  { profile, header, payload }: Pick<Fixture, 'header' | 'payload'> & { profile: string },
  settings: object = {},
): Promise<Identity | string> {
  const { raw, room } = startRoom([
    {
      issuer: payload.iss,
      profile,
      jwks_file: join(folder, 'jwks.json'),
      // So that no token is refused just for having been meant for somebody else.
      audiences: [payload.aud ?? 'https://api.example.com'].flat(),
      max_lifetime: '24h',
      ...settings,
    },
  ])
  rooms.push(room)
  room.start()
  const key = keys.get(header.kid)
  const token = key ? await key.sign(payload, { typ: undefined, ...header }) : withSecret(header, payload)
  try {
    const identity = (await raw(token)) as Identity
    insistOnAgent(identity, ROUTE)
    return identity
  } catch (thrown) {
    const { reason, detail } = asDenied(thrown)
    return detail === undefined ? reason : `${reason}: ${detail}`
  }
}

function withSecret(header: object, payload: object): string {
  const text = [header, payload]
    .map(part => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  return `${text}.${createHmac('sha512', 'of the issuer').update(text).digest('base64url')}`
}

/** The identity as policy is told, without what the token says word for word. */
function told(identity: Identity): Claims {
  const input = policyInput(
    {
      request: heldRequest(),
      identity,
      parsedPath: [],
      parsedQuery: {},
      parsedBody: 'null',
      truncatedBody: false,
      now: NOW * 1000,
    },
    { credentials: false },
  )
  const { issuer, iss, claims, ...rest } = JSON.parse(new TextDecoder().decode(input)).identity
  const prior = identity.priorActors.map(({ sub }) => sub)
  return { ...rest, ...(prior.length > 0 && { prior_actors: prior }) }
}

/** Okta’s own servers leave `typ` out, which is a refusal; all else is looked at as if they wrote it. */
function withType<F extends { header: Fixture['header'] }>(fixture: F): F {
  return { ...fixture, header: { typ: 'JWT', ...fixture.header } }
}

const all = fixtures.map(fixture => [`${fixture.profile}: ${fixture.kind}`, fixture] as const)
const ALL_LOOSE = { require_delegator: false, require_agent: false }

describe.each(all.filter(([, { says }]) => says))('%s', (_, fixture) => {
  const { says = {}, payload } = fixture

  it('says who acts for whom', async () => {
    const identity = (await answer(withType(fixture), ALL_LOOSE)) as Identity
    expect(told(identity)).toEqual(says)
    const { act, ...claims } = payload as { act?: object }
    expect(identity).toMatchObject({ issuer: 'corp', iss: payload.iss, claims })
    const { act: prior, ...current } = (act ?? {}) as { act?: object }
    expect(identity.claims.act).toEqual(act && current)
    const tokenId = payload.jti ?? payload.uti
    expect(identity.tokenId).toBe(tokenId)
  })

  it.each([
    ['both', {}, !says.delegator ? 'delegator_missing' : !says.agent ? 'agent_missing' : undefined],
    ['an agent', { require_delegator: false }, says.agent ? undefined : 'agent_missing'],
    ['a delegator', { require_agent: false }, says.delegator ? undefined : 'delegator_missing'],
  ])('is refused where it lacks what is required: %s', async (_, settings, reason) => {
    const given = await answer(withType(fixture), settings)
    if (reason === undefined) expect(told(given as Identity)).toEqual(says)
    else expect(given).toBe(reason)
  })
})

describe.each(all.filter(([, { refused }]) => refused))('%s', (_, fixture) => {
  it.each([{}, { require_delegator: false }, { require_agent: false }, ALL_LOOSE])(
    'is refused, whatever is required: %j',
    async settings => {
      expect(await answer(withType(fixture), settings)).toBe(fixture.refused)
    },
  )
})

it('every fixture says what becomes of it, and where its form is from', () => {
  for (const { kind, shape, says, refused } of fixtures) {
    expect([kind, shape]).not.toContain('')
    expect([kind, [says, refused].filter(Boolean).length]).toEqual([kind, 1])
  }
  expect(new Set(fixtures.map(({ profile }) => profile))).toEqual(new Set(names))
})

it.each(all.filter(([, { header }]) => header.typ === undefined))(
  '%s: as it is written, without typ, it is refused',
  async (_, fixture) => {
    expect(await answer(fixture, ALL_LOOSE)).toBe('token_type')
  },
)

describe('the same agent for the same person', () => {
  const alike = (profile: string, kind: string) => {
    const found = fixtures.find(each => each.profile === profile && each.kind === kind)
    if (!found) throw new Error(`no fixture ${profile}: ${kind}`)
    return withType(found)
  }

  it('is the same identity, with the same headers, whichever cloud wrote the token', async () => {
    const shapes = [
      alike('rfc8693', 'an agent for a person'),
      alike('keycloak', 'exchanged for a person'),
      alike('okta', 'an agent for a person'),
      alike('auth0', 'an agent with an identity of its own, for a person'),
      alike('entra', 'an agent identity for a person, v1'),
    ]
    const seen = await Promise.all(shapes.map(shape => answer(shape) as Promise<Identity>))
    const plain = seen.map(identity => {
      const { delegator, agent, clientId, iss } = identity
      const named = new Map([
        [iss, 'ISSUER'],
        [delegator, 'ALICE'],
        [agent?.sub, 'AGENT'],
        [clientId, clientId === agent?.sub ? 'AGENT' : 'CLIENT'],
      ])
      const { claims, scopes, tokenId, clientId: _, actorSource, expiresAt, ...rest } = identity
      return JSON.parse(JSON.stringify(rest), (_, value) => named.get(value) ?? value)
    })
    expect(plain).toEqual(
      Array(5).fill({
        issuer: 'corp',
        iss: 'ISSUER',
        delegator: 'ALICE',
        agent: { sub: 'AGENT', iss: 'ISSUER' },
        requiresAgent: true,
        priorActors: [],
        headers: [
          ['x-delegator-id', 'ALICE'],
          ['x-delegator-issuer', 'corp'],
          ['x-agent-id', 'AGENT'],
          ['x-agent-issuer', 'corp'],
        ],
      }),
    )
    expect(seen.map(({ actorSource }) => actorSource)).toEqual(['act', 'client', 'act', 'act', 'client'])
  })
})
