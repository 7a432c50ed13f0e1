import { createHmac } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { insistOnAgent } from '../../../src/identify/identify.ts'
import type { Identity } from '../../../src/types.ts'
import { Unusable } from '../../../src/unusable.ts'
import { replaceFile } from '../replace-file.ts'
import { heldRequest, identity as someone } from '../trail.ts'
import {
  AFTER_PLANNER,
  AGENT,
  claims,
  ISSUER,
  type Key,
  NOW,
  newKey,
  PLANNED,
  patient,
  ROUTE,
  startRoom,
  until,
} from './issuer.ts'

const folder = mkdtempSync(join(tmpdir(), 'identify-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
/** A file with this text, put in its place at once. */
function write(text: string, file = join(folder, `jwks-${files++}.json`)): string {
  replaceFile(file, text)
  return file
}
const jwks = (...keys: Key[]) => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) })

let key: Key
let rsa: Key
let stranger: Key
let file: string
beforeAll(async () => {
  ;[key, rsa, stranger] = await Promise.all([newKey('k1'), newKey('r1', 'RS256'), newKey('k1')])
  file = write(jwks(key, rsa))
})

const rooms: { close(): void }[] = []
afterAll(() => {
  for (const room of rooms) room.close()
})
function started(...args: Parameters<typeof startRoom>) {
  const made = startRoom(...args)
  rooms.push(made.room)
  made.room.start()
  return made
}

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

describe('a verified token', () => {
  it('says who acts for whom, and nothing of itself', async () => {
    const { identify } = started([{ jwks_file: file }])
    const token = await key.sign(claims({ act: PLANNED }))
    const identity = await identify(token)
    expect(identity).toEqual(AFTER_PLANNER)
    for (const piece of token.split('.')) expect(JSON.stringify(identity)).not.toContain(piece)
  })

  it.each([
    [undefined, []],
    ['', []],
    ['a', ['a']],
    [' a  b ', ['a', 'b']],
    [
      ['a', 'b c'],
      ['a', 'b c'],
    ],
  ])('with scope %j has the scopes %j', async (scope, scopes) => {
    const { identify } = started([{ jwks_file: file }])
    expect((await identify(await key.sign(claims({ scope })))).scopes).toEqual(scopes)
  })

  it.each([1, null, {}, [1], [['a']]])('is refused with scope %j', async scope => {
    const { identify } = started([{ jwks_file: file }])
    await expect(identify(await key.sign(claims({ scope })))).rejects.toThrow('claim_invalid')
  })

  it.each(['RS256', 'RS512', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'])(
    'may be signed with %s',
    async alg => {
      const signer = await newKey('k', alg)
      const { identify } = started([{ jwks_file: write(jwks(signer)), algorithms: [alg] }])
      expect(await identify(await signer.sign(claims()))).toMatchObject(AGENT)
    },
  )

  it('needs no kid where one key fits', async () => {
    const { identify } = started([{ jwks_file: file }])
    const without = await newKey(undefined)
    expect(await identify(await key.sign(claims(), { kid: undefined }))).toMatchObject(AGENT)
    await expect(identify(await without.sign(claims()))).rejects.toThrow('signature_invalid')
  })
})

describe('a request', () => {
  it('needs a token, unless the route does without', async () => {
    const { room } = started([{ jwks_file: file }])
    const none = heldRequest({ headers: { authorization: ['Basic YTpi'] } })
    expect(() => room.identify(none, ROUTE, patient)).toThrow('token_missing')
    expect(room.identify(none, { ...ROUTE, identity: 'optional' }, patient)).toBeUndefined()
  })

  it('is refused with a bad token where it needs none', async () => {
    const { raw } = started([{ jwks_file: file }])
    await expect(raw('garbage', { route: { ...ROUTE, identity: 'optional' } })).rejects.toThrow(
      'token_malformed',
    )
  })

  it('needs an agent by the route, or else by the issuer', () => {
    const { agent: _, ...nobody } = someone
    const insist = (identity: Identity, requireAgent?: boolean) => () =>
      insistOnAgent(identity, { ...ROUTE, ...(requireAgent !== undefined && { requireAgent }) })
    expect(insist({ ...nobody, requiresAgent: true })).toThrow('agent_missing')
    expect(insist({ ...nobody, requiresAgent: true }, false)).not.toThrow()
    expect(insist({ ...nobody, requiresAgent: false })).not.toThrow()
    expect(insist({ ...nobody, requiresAgent: false }, true)).toThrow('agent_missing')
    expect(insist({ ...someone, requiresAgent: true }, true)).not.toThrow()
  })
})

describe('a token that was verified before', () => {
  it('is known at once, without a promise', async () => {
    const { raw, seen } = started([{ jwks_file: file }])
    const token = await key.sign(claims())
    const first = raw(token)
    expect(first).toBeInstanceOf(Promise)
    const identity = await first
    expect(raw(token)).toBe(identity)
    expect(seen.events.filter(event => event === 'hit' || event === 'miss')).toEqual(['miss', 'hit'])
  })

  it('is never known past its exp, and refused when the skew is over too', async () => {
    const { raw, identify, time } = started([{ jwks_file: file }])
    const token = await key.sign(claims())
    await identify(token)
    time.now = (NOW + 300) * 1000
    for (let i = 0; i < 2; i++) {
      const again = raw(token)
      expect(again).toBeInstanceOf(Promise)
      expect(await again).toMatchObject(AGENT)
    }
    time.now = (NOW + 330) * 1000
    await expect(identify(token)).rejects.toThrow('token_expired')
  })

  it('is not kept where it was refused', async () => {
    const { raw } = started([{ jwks_file: file }])
    const token = await stranger.sign(claims())
    for (let i = 0; i < 2; i++) await expect(raw(token)).rejects.toThrow('signature_invalid')
  })
})

describe('a flood of tokens that were never seen', () => {
  const forged = (number: number) =>
    `${part({ alg: 'ES256', typ: 'at+jwt', kid: 'k1' })}.${part(claims({ jti: `${number}` }))}.${'A'.repeat(86)}`

  it('does not keep known ones from being known at once', async () => {
    const { raw } = started([{ jwks_file: file }])
    const token = await key.sign(claims())
    const identity = await raw(token)
    const flood = Array.from({ length: 3_000 }, (_, i) => raw(forged(i)) as Promise<unknown>)
    expect(raw(token)).toBe(identity)
    const reasons = (await Promise.allSettled(flood)).map(
      outcome => outcome.status === 'rejected' && outcome.reason.reason,
    )
    expect(raw(token)).toBe(identity)
    const count = (reason: string) => reasons.filter(each => each === reason).length
    expect([count('signature_invalid'), count('overloaded')]).toEqual([16 + 1_024, 3_000 - 16 - 1_024])
  })

  it('keeps a good one waiting, and no longer than its deadline', async () => {
    const { raw } = started([{ jwks_file: file }])
    const [patientToken, hurriedToken] = await Promise.all(
      ['patient', 'hurried'].map(jti => key.sign(claims({ jti }))),
    )
    const late = new AbortController()
    const deadline = { ...patient, signal: () => late.signal }
    const flood = Promise.allSettled(Array.from({ length: 500 }, (_, i) => raw(forged(i))))
    const waits = raw(patientToken as string)
    const leaves = expect(raw(hurriedToken as string, { deadline })).rejects.toThrow('deadline')
    late.abort(new Denied('deadline'))
    await leaves
    expect(await waits).toMatchObject(AGENT)
    await flood
  })
})

describe('a token that is not right', () => {
  it.each([
    ['an unknown issuer', { iss: 'https://nobody.example.com' }, 'issuer_unknown'],
    ['its issuer with a slash more', { iss: `${ISSUER}/` }, 'issuer_unknown'],
    ['its issuer in capitals', { iss: ISSUER.toUpperCase() }, 'issuer_unknown'],
    ['no issuer', { iss: undefined }, 'issuer_unknown'],
    ['a list of issuers', { iss: [ISSUER] }, 'issuer_unknown'],
    ['a name that every object has', { iss: 'constructor' }, 'issuer_unknown'],
    ['an exp that is past', { exp: NOW - 60, iat: NOW - 90 }, 'token_expired'],
    ['another audience', { aud: 'https://elsewhere.example.com' }, 'audience_mismatch'],
    ['an agent that is its delegator', { act: { sub: 'alice@example.com' } }, 'actor_is_delegator'],
    ['a subject too long for a header', { sub: 'é'.repeat(100) }, 'header_too_large'],
    ['the name of an issuer as the agent’s issuer', { act: { sub: 'a', iss: 'corp' } }, 'actor_invalid'],
  ])('is refused with %s', async (_, changes, reason) => {
    const { identify } = started([{ jwks_file: file }])
    await expect(identify(await key.sign(claims(changes)))).rejects.toThrow(reason)
  })

  it('of one issuer is refused with the key of another, whatever its kid', async () => {
    const OTHER = 'https://other.example.com'
    const other = await newKey('k2')
    const { identify } = started([
      { jwks_file: file },
      { name: 'other', issuer: OTHER, jwks_file: write(jwks(other)) },
    ])
    expect(await identify(await other.sign(claims({ iss: OTHER })))).toMatchObject({ issuer: 'other' })
    await expect(identify(await other.sign(claims()))).rejects.toThrow('key_unknown')
    await expect(identify(await other.sign(claims(), { kid: 'k1' }))).rejects.toThrow('signature_invalid')
    await expect(identify(await key.sign(claims({ iss: OTHER }), { kid: 'k2' }))).rejects.toThrow(
      'signature_invalid',
    )
  })

  it('is refused where the public key was taken for a shared secret', async () => {
    const { identify } = started([{ jwks_file: file }])
    const { n } = rsa.jwk as { n: string }
    for (const secret of [JSON.stringify(rsa.jwk), n, Buffer.from(n, 'base64url')]) {
      const signed = `${part({ alg: 'HS256', typ: 'at+jwt', kid: 'r1' })}.${part(claims())}`
      const mac = createHmac('sha256', secret).update(signed).digest('base64url')
      await expect(identify(`${signed}.${mac}`)).rejects.toThrow('token_algorithm')
    }
  })

  it('says the reason and constant words, never what was in it', async () => {
    const { identify } = started([{ jwks_file: file }])
    const marked = [
      { sub: 'mallory-1'.repeat(100) },
      { iss: 'mallory-1' },
      { aud: 'mallory-1' },
      { act: { sub: 'a', iss: 'mallory-1' } },
      { scope: { 'mallory-1': 1 } },
    ]
    for (const changes of marked) {
      const refused = await identify(await key.sign(claims(changes))).catch(
        (error: unknown) => error as Denied,
      )
      expect(refused).toHaveProperty('name', 'Denied')
      const { reason, detail, message } = refused as Denied
      expect([reason, detail, message].join()).not.toContain('mallory')
    }
  })
})

describe('a file of keys', () => {
  it.each([
    ['absent', () => join(folder, 'absent.json'), /ENOENT/],
    ['not JSON', () => write('keys'), /JSON/],
    ['no JWK Set', () => write('{"key": []}'), /JWK Set/],
    ['without a key', () => write('{"keys": []}'), /no usable key/],
    ['with a secret only', () => write('{"keys": [{"kty": "oct", "k": "AAAA"}]}'), /no usable key/],
  ])('ends the start when it is %s, naming issuer and file', async (_, place, message) => {
    const jwks_file = place()
    const { room } = startRoom([{ jwks_file }])
    const failure = await (async () => room.start())().catch((error: unknown) => error)
    room.close()
    expect(failure).toBeInstanceOf(Unusable)
    for (const part of [message, 'corp', jwks_file]) expect((failure as Error).message).toMatch(part)
  })

  it('is read again when it is replaced: what the old key verified is forgotten', async () => {
    const place = write(jwks(key))
    const { identify, raw, seen } = started([{ jwks_file: place }])
    const token = await key.sign(claims())
    await identify(token)
    expect(raw(token)).not.toBeInstanceOf(Promise)
    const next = await newKey('k2')
    write(jwks(next), place)
    await until('the new file to be read', () => seen.events.filter(e => e === 'loaded corp 1').length > 1)
    await expect(identify(token)).rejects.toThrow('key_unknown')
    expect(await identify(await next.sign(claims()))).toMatchObject(AGENT)
  })

  it('leaves the keys before when it is replaced by a broken one, with one warning', async () => {
    const place = write(jwks(key))
    const { identify, seen, room } = started([{ jwks_file: place }])
    write('broken', place)
    await until('the broken file to be read', () => seen.events.includes('fetched corp malformed'))
    expect(await identify(await key.sign(claims()))).toMatchObject(AGENT)
    expect(seen.logged.filter(({ level }) => level === 'warn')).toHaveLength(1)
    expect(room.status()).toMatchObject([{ issuer: 'corp', keys: 1 }])
    expect(room.status()[0]?.error).not.toBeNull()
    write(jwks(key, rsa), place)
    await until('the mended file to be read', () => seen.events.includes('loaded corp 2'))
    expect(room.status()).toMatchObject([{ error: null }])
  })
})

describe('a lifetime over 15 minutes', () => {
  it('is allowed, and warned of at the start', async () => {
    const { seen } = started([{ jwks_file: file, max_lifetime: '1h' }])
    expect(seen.logged).toMatchObject([{ level: 'warn', fields: { issuer: 'corp' } }])
    expect(started([{ jwks_file: file }]).seen.logged).toEqual([])
  })
})
