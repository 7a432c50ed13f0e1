import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import type { Identity } from '../../../src/types.ts'
import { jwks } from '../../vectors/keys.ts'
import { compact, GOOD_CLAIMS, GOOD_HEADER, NOW, type Signer, signed } from '../../vectors/token.ts'
import { startRoom } from './issuer.ts'
import { changedClaims, changedHeader, edited } from './mutations.ts'
import { AUDIENCE, isRightHeader, specified } from './oracle.ts'

/*
 * A good token, changed in every way that chance finds. MUTATIONS=100 makes a hundred times as many of them.
 */

const TIMES = Number(process.env.MUTATIONS ?? 1)
const runs = (count: number) => ({ numRuns: count * TIMES })

const folder = mkdtempSync(join(tmpdir(), 'mutations-'))
const file = join(folder, 'jwks.json')
writeFileSync(file, JSON.stringify(jwks(['corp', 'rsa'])))

function started() {
  const room = startRoom([{ jwks_file: file, audiences: [AUDIENCE] }], { at: NOW * 1000 })
  room.room.start()
  return room
}
type Room = ReturnType<typeof started>

/** The one sees nothing but what is changed; the other has just seen the good token. */
const cold = started()
const warm = started()
afterAll(() => {
  for (const { room } of [cold, warm]) room.close()
  rmSync(folder, { recursive: true })
})

const good = token(GOOD_HEADER, GOOD_CLAIMS)
const goodByRsa = token({ ...GOOD_HEADER, alg: 'RS256', kid: 'r1' }, GOOD_CLAIMS, 'rsa')
const kept = good.split('.')[2] as string

/** By this key, or the signature of the good token. */
type Signature = Signer | 'kept'

function token(header: object, claims: object, signer: Signature = 'corp'): string {
  const [first, second] = [JSON.stringify(header), JSON.stringify(claims)] as const
  if (signer !== 'kept') return compact(signed(first, second, signer))
  return compact({ ...signed(first, second, 'corp'), signature: kept })
}

type Outcome = Identity | Denied

/** Whatever else is thrown fails the property. */
async function outcome({ identify }: Room, presented: string): Promise<Outcome> {
  try {
    return await identify(presented)
  } catch (thrown) {
    if (thrown instanceof Denied) return thrown
    throw thrown
  }
}

/** What both rooms say, which is the same, and leaves the token that is known as it was. */
async function judged(presented: string, known = good): Promise<Outcome> {
  const before = await outcome(warm, known)
  const answers = [await outcome(cold, presented), await outcome(warm, presented)] as const
  expect(toldOf(answers[1])).toEqual(toldOf(answers[0]))
  expect(before).toMatchObject({ delegator: GOOD_CLAIMS.sub, agent: { sub: GOOD_CLAIMS.act.sub } })
  expect(await outcome(warm, known)).toEqual(before)
  expect(warm.seen.events.at(-1)).toBe('hit')
  return answers[0]
}

const toldOf = (answer: Outcome) =>
  answer instanceof Denied
    ? { reason: answer.reason, detail: answer.detail, parties: answer.parties }
    : answer

const src = join(import.meta.dirname, '../../../src/identify')
const source = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
  .map(name => readFileSync(join(src, name), 'utf8'))
  .join('\n')

/** By a reason about the token, and with a phrase that the code has written out. */
function expectRefused(answer: Outcome): asserts answer is Denied {
  expect(answer).toBeInstanceOf(Denied)
  const { reason, detail, message } = answer as Denied
  expect(message).toBe(reason)
  expect(['internal_error', 'deadline', 'overloaded', 'keys_unavailable']).not.toContain(reason)
  if (detail !== undefined) expect(source).toContain(`'${detail}'`)
}

/** A refusal of what nobody we know has signed names nobody. */
function expectRefusedUnsigned(answer: Outcome): void {
  expectRefused(answer)
  expect(answer.parties).toBeUndefined()
}

const patience = { timeout: 60_000 * TIMES }

describe('a token with any change', patience, () => {
  it('is refused, also where the good one is known', async () => {
    const pairs = fc.constantFrom(good, goodByRsa).chain(known => fc.tuple(fc.constant(known), edited(known)))
    await fc.assert(
      fc.asyncProperty(pairs, async ([known, changed]) => {
        // The space between Bearer and the token may be long.
        if (changed.replace(/^ +/, '') === known) return
        expectRefusedUnsigned(await judged(changed, known))
      }),
      runs(800),
    )
  })

  it('of its claims is refused with the signature of the good one, and with that of another key', async () => {
    const signers = fc.constantFrom<Signature[]>('kept', 'stranger', 'rsa')
    await fc.assert(
      fc.asyncProperty(changedClaims, signers, async (claims, signer) => {
        const changed = token(GOOD_HEADER, claims, signer)
        if (changed !== good) expectRefusedUnsigned(await judged(changed))
      }),
      runs(200),
    )
  })

  it('of its header is refused, unless the issuer made one that says what it must', async () => {
    const signers = fc.constantFrom<Signature[]>('corp', 'rsa', 'stranger', 'kept')
    await fc.assert(
      fc.asyncProperty(changedHeader, signers, async (header, signer) => {
        const changed = token(header, GOOD_CLAIMS, signer)
        if (changed === good) return
        const answer = await judged(changed)
        if (isRightHeader(JSON.parse(JSON.stringify(header)), signer)) expectAsSpecified(answer, GOOD_CLAIMS)
        else expectRefusedUnsigned(answer)
      }),
      runs(400),
    )
  })
})

describe('what the issuer itself signed', patience, () => {
  it('is who its claims say, or is refused, as the texts say', async () => {
    await fc.assert(
      fc.asyncProperty(changedClaims, async claims => {
        expectAsSpecified(await judged(token(GOOD_HEADER, claims)), JSON.parse(JSON.stringify(claims)))
      }),
      runs(600),
    )
  })

  it('is who it says, or is refused, where the text of its claims has any change', async () => {
    await fc.assert(
      fc.asyncProperty(edited(JSON.stringify(GOOD_CLAIMS)), async changed => {
        const text = changed.toWellFormed()
        const answer = await judged(compact(signed(JSON.stringify(GOOD_HEADER), text, 'corp')))
        if (answer instanceof Denied) expectRefused(answer)
        else expectAsSpecified(answer, JSON.parse(text))
      }),
      runs(400),
    )
  })

  it('is refused where its claims are any bytes', async () => {
    const bytes = fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from), fc.string().map(Buffer.from))
    await fc.assert(
      fc.asyncProperty(bytes, async payload => {
        expectRefusedUnsigned(
          await judged(compact(signed(JSON.stringify(GOOD_HEADER), Buffer.from(payload), 'corp'))),
        )
      }),
      runs(200),
    )
  })
})

function expectAsSpecified(answer: Outcome, claims: { act?: { sub?: unknown }; sub?: unknown }): void {
  const expected = specified(claims)
  if (expected === undefined) {
    expectRefused(answer)
    const { delegator = claims.sub, agent = claims.act } = answer.parties ?? {}
    expect([delegator, agent?.sub]).toEqual([claims.sub, claims.act?.sub])
    return
  }
  expect(answer).not.toBeInstanceOf(Denied)
  const { headers, delegator, agent, priorActors, scopes, clientId, tokenId, expiresAt } = answer as Identity
  expect({ delegator, agent, priorActors, scopes, clientId, tokenId, expiresAt }).toEqual(expected)
  for (const [, value] of headers) expect(value).toMatch(/^[\x21-\x7e]{1,512}$/)
}
