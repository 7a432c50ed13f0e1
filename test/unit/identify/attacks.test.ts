import { execFileSync } from 'node:child_process'
import { createHash, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Identity } from '../../../src/types.ts'
import { FORGERY_NAMES } from '../../vectors/forgeries.ts'
import { jwks, type KeyName, pair } from '../../vectors/keys.ts'
import { compact, GOOD_CLAIMS, GOOD_HEADER, ISSUER, type Signer, signed } from '../../vectors/token.ts'
import { heldRequest } from '../trail.ts'
import { json, patient, ROUTE, type Server, startRoom, startServer, until } from './issuer.ts'

/*
 * Attacks that are no vectors: they take a listener, several requests, or keys that change. The others are in
 * `test/vectors/token-*.yaml` and `delegation.yaml`.
 */

const MAIL = 'https://mail.example.com'
const PARTNER = 'https://idp.partner.example'

const folder = mkdtempSync(join(tmpdir(), 'attacks-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function fileOf(...names: KeyName[]): string {
  const file = join(folder, `${names.join('-')}.json`)
  writeFileSync(file, JSON.stringify(jwks(names)))
  return file
}

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

function started(issuers: readonly object[], options: Parameters<typeof startRoom>[1] = {}) {
  const made = startRoom(
    issuers.map(issuer => ({ audiences: [MAIL], ...issuer })),
    options,
  )
  open.push(made.room)
  made.room.start()
  return made
}
type Room = ReturnType<typeof started>

async function listening(answer: Server['answer']): Promise<Server> {
  const server = await startServer(answer)
  open.push(server)
  return server
}

function token({ header = {}, claims = {}, by = 'corp' as Signer } = {}): string {
  return compact(
    signed(JSON.stringify({ ...GOOD_HEADER, ...header }), JSON.stringify({ ...GOOD_CLAIMS, ...claims }), by),
  )
}

/** One and the same: each signing gives another signature. */
const good = token()

const told = ({ seen }: Room) => seen.events.filter(event => event === 'hit' || event === 'miss')

async function expectRefused(room: Room, presented: string, reason: string): Promise<void> {
  await expect(room.identify(presented)).rejects.toMatchObject({ name: 'Denied', reason })
}

// RFC 7515, 4.1.2 to 4.1.8; RFC 7519, 4.1.1; RFC 8725, 3.8 and 3.10
describe('a listener that a token names', () => {
  let home: Server
  let trap: Server
  let room: Room
  beforeEach(async () => {
    home = await listening(json(jwks(['corp'])))
    trap = await listening(json(jwks(['stranger'])))
    room = started([{ jwks_uri: `${home.url}/keys` }])
    await until('the keys', () => room.seen.events.includes('fetched corp ok'))
  })

  /** Whatever was sent before this request has arrived when this one is answered. */
  async function expectUnheard(): Promise<void> {
    expect(await (await fetch(`${trap.url}/marker`)).json()).toEqual(jwks(['stranger']))
    expect(trap.asked).toEqual(['/marker'])
    expect(new Set(home.asked)).toEqual(new Set(['/keys']))
  }

  it.each<[what: string, header: (url: string) => object, reason?: string]>([
    ['jku', url => ({ jku: `${url}/keys` })],
    ['jku and an unknown kid', url => ({ jku: `${url}/keys`, kid: 'k9' }), 'key_unknown'],
    ['jku and no kid', url => ({ jku: `${url}/keys`, kid: undefined })],
    ['x5u', url => ({ x5u: `${url}/certificate` })],
    ['x5u and x5t', url => ({ x5u: `${url}/certificate`, x5t: 'AA', 'x5t#S256': 'AA', kid: undefined })],
    ['jwk', url => ({ jwk: { ...pair('stranger').jwk, x5u: `${url}/certificate` } })],
    ['jwk and an unknown kid', () => ({ jwk: pair('stranger').jwk, kid: 'k9' }), 'key_unknown'],
    ['x5c', certificate],
    ['x5c and no kid', () => ({ ...certificate(), kid: undefined })],
    ['x5c that is a URL', url => ({ x5c: [`${url}/certificate`] })],
    ['kid', url => ({ kid: `${url}/keys` }), 'key_unknown'],
    ['all of them', url => ({ jku: url, x5u: url, jwk: pair('stranger').jwk, kid: url, url }), 'key_unknown'],
  ])('hears nothing of %s', async (_, header, reason = 'signature_invalid') => {
    const presented = token({ header: header(trap.url), by: 'stranger' })
    for (let i = 0; i < 2; i++) await expectRefused(room, presented, reason)
    await expectUnheard()
  })

  it.each(['', '/', '/.well-known/openid-configuration'])('hears nothing of iss with %j', async path => {
    const presented = token({ claims: { iss: `${trap.url}${path}` }, by: 'stranger' })
    await expectRefused(room, presented, 'issuer_unknown')
    await expectUnheard()
  })

  it('hears nothing of whom a good token names either', async () => {
    const claims = { act: { sub: 'mail-summary', iss: trap.url, act: { sub: 'planner', iss: trap.url } } }
    const header = { jku: trap.url, x5u: trap.url }
    expect(await room.identify(token({ header, claims }))).toMatchObject({ agent: { iss: trap.url } })
    await expectUnheard()
  })
})

/** A certificate of the stranger's own key, with its digest. */
function certificate(): { x5c: string[]; 'x5t#S256': string } {
  const key = join(folder, 'stranger.pem')
  writeFileSync(key, (pair('stranger').privateKey as KeyObject).export({ type: 'pkcs8', format: 'pem' }))
  const request = ['req', '-x509', '-new', '-key', key, '-subj', '/CN=corp', '-outform', 'DER']
  const der = execFileSync('openssl', request, { stdio: ['ignore', 'pipe', 'ignore'] })
  const digest = createHash('sha256').update(der).digest('base64url')
  return { x5c: [der.toString('base64')], 'x5t#S256': digest }
}

// RFC 7515, 5.2; RFC 8725, 3.1 and 3.3; BCP 225, 3.14
describe.each([1, 2])('a token that was seen %i times', times => {
  const [header, payload, signature] = good.split('.') as [string, string, string]
  let room: Room
  let known: Identity
  beforeEach(async () => {
    room = started([{ jwks_file: fileOf('corp') }])
    for (let i = 0; i < times; i++) known = await room.identify(good)
  })

  /** Nothing that is refused takes the good one's place. */
  async function expectRefusedBeside(presented: string, reason: string): Promise<void> {
    for (let i = 0; i < 2; i++) await expectRefused(room, presented, reason)
    expect(room.raw(good)).toBe(known)
  }

  it.each(['bearer', 'BEARER', 'bEaReR  '])('is the same behind %s', scheme => {
    const authorization = [`${scheme} ${good}`]
    expect(room.room.identify(heldRequest({ headers: { authorization } }), ROUTE, patient)).toBe(known)
  })

  it.each([
    ['padding behind it', `${good}==`],
    ['padding behind its header', `${header}=.${payload}.${signature}`],
    ['padding behind its claims', `${header}.${payload}==.${signature}`],
    ['a dot behind it', `${good}.`],
    ['a space behind it', `${good} `],
    ['a line break behind it', `${good}\n`],
    ['a line break within', `${header}.\r\n${payload}.${signature}`],
    ['a NUL behind it', `${good}\0`],
    ['quotes around it', `"${good}"`],
    ['the alphabet of plain base64', `${header}.${payload}.${signature.replace(/[A-Za-z]/, '+')}`],
    ['an escaped dot', good.replace('.', '%2E')],
  ])('is none with %s', async (_, presented) => {
    await expectRefusedBeside(presented, 'token_malformed')
  })

  it('has one last character in each of its parts', async () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const parts = [header, payload, signature]
    const twins = parts.flatMap((part, i) =>
      [...alphabet]
        .map(last => part.slice(0, -1) + last)
        .filter(twin => twin !== part && bytesOf(twin).equals(bytesOf(part)))
        .map(twin => parts.with(i, twin).join('.')),
    )
    expect(twins.length).toBeGreaterThan(15)
    for (const twin of twins) await expectRefusedBeside(twin, 'token_malformed')
  })

  it.each(FORGERY_NAMES.filter(name => !['none', 'high_s'].includes(name)))(
    'has no signature like %s',
    async by => {
      await expectRefusedBeside(token({ by }), 'signature_invalid')
    },
  )

  it.each(['stranger', 'partner'] as const)('has no signature by %s, whose key has its kid', async by => {
    await expectRefusedBeside(token({ by }), 'signature_invalid')
  })

  it('has its signature for itself alone', async () => {
    for (const other of [token({ claims: { sub: 'root' } }), token({ header: { x: 1 } })]) {
      const [itsHeader, itsPayload] = other.split('.')
      await expectRefusedBeside(`${itsHeader}.${itsPayload}.${signature}`, 'signature_invalid')
    }
  })

  it('is not its twin by the other s, which is right and has a place of its own', async () => {
    const twin = highS(good)
    const first = await room.identify(twin)
    expect(first).toEqual(known)
    expect(first).not.toBe(known)
    expect(room.raw(twin)).toBe(first)
    expect(room.raw(good)).toBe(known)
    expect(told(room).slice(times)).toEqual(['miss', 'hit', 'hit'])
  })
})

function bytesOf(part: string): Buffer {
  return Buffer.from(part, 'base64url')
}

/** What anyone can make of a token: the same r, and the order of P-256 less s. */
function highS(good: string): string {
  const [header, payload, signature] = good.split('.') as [string, string, string]
  const bytes = bytesOf(signature)
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const s = (order - BigInt(`0x${bytes.toString('hex', 32)}`)).toString(16).padStart(64, '0')
  const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s, 'hex')])
  return `${header}.${payload}.${twin.toString('base64url')}`
}

describe('a token that was refused', () => {
  it('keeps no good one out, and gets in behind none', async () => {
    const room = started([{ jwks_file: fileOf('corp') }])
    for (const by of ['stranger', 'corp', 'stranger', 'corp'] as const) {
      if (by === 'corp') expect(await room.identify(good)).toMatchObject({ issuer: 'corp' })
      else await expectRefused(room, token({ by }), 'signature_invalid')
    }
    expect(told(room)).toEqual(['miss', 'miss', 'miss', 'hit'])
  })
})

// RFC 7517, 4; RFC 8725, 3.8
describe('a key that changes under a known token', () => {
  let home: Server
  let room: Room
  beforeEach(async () => {
    home = await listening(json(jwks(['corp'])))
    room = started([{ jwks_uri: `${home.url}/keys` }])
    await until('the keys', () => room.seen.events.includes('fetched corp ok'))
    await room.identify(good)
    expect(room.raw(good)).not.toBeInstanceOf(Promise)
  })

  /** Publishes these keys, and has them read for the sake of a token that no key fits. */
  async function publish(keys: object): Promise<void> {
    home.answer = json(keys)
    await expect(room.identify(token({ header: { kid: 'k9' } }))).rejects.toThrow('key_unknown')
    expect(room.seen.events.filter(event => event === 'fetched corp ok')).toHaveLength(2)
  }

  it('is another one of that kid: the token is refused, and the new key’s is believed', async () => {
    await publish(jwks(['stranger']))
    await expectRefused(room, good, 'signature_invalid')
    expect(await room.identify(token({ by: 'stranger' }))).toMatchObject({ issuer: 'corp' })
  })

  it('is published twice under that kid: the token is refused', async () => {
    await publish({ keys: [{ ...pair('corp').jwk, alg: undefined }, pair('stranger').jwk] })
    await expectRefused(room, good, 'key_ambiguous')
  })

  it('is for encryption from now on: the token is refused', async () => {
    await publish({ keys: [{ ...pair('corp').jwk, use: 'enc' }, pair('corp_next').jwk] })
    await expectRefused(room, good, 'key_unknown')
  })

  it('has another kid from now on: the token is refused', async () => {
    await publish({ keys: [{ ...pair('corp').jwk, kid: 'k2' }] })
    await expectRefused(room, good, 'key_unknown')
  })

  it('is what another issuer has too: that changes nothing for either', async () => {
    const both = started([
      { jwks_file: fileOf('corp') },
      { name: 'partner', issuer: PARTNER, jwks_file: fileOf('corp') },
    ])
    expect(await both.identify(good)).toMatchObject({ issuer: 'corp' })
    expect(await both.identify(token({ claims: { iss: PARTNER } }))).toMatchObject({ issuer: 'partner' })
  })
})

// RFC 7519, 4.1.1; RFC 8725, 3.8 and 3.9
describe('a token that is known under one issuer', () => {
  const SQL = 'https://sql.example.com'
  let room: Room
  beforeEach(async () => {
    room = started([
      { jwks_file: fileOf('corp') },
      { name: 'partner', issuer: PARTNER, audiences: [SQL], jwks_file: fileOf('partner') },
    ])
    expect(await room.identify(good)).toMatchObject({ issuer: 'corp', iss: ISSUER })
  })

  it('is not known under another, with its signature or with that one’s', async () => {
    const [header, , signature] = good.split('.')
    const theirs = token({ claims: { iss: PARTNER }, by: 'partner' })
    await expectRefused(room, `${header}.${theirs.split('.')[1]}.${signature}`, 'signature_invalid')
    await expectRefused(room, theirs, 'audience_mismatch')
    await expectRefused(room, token({ by: 'partner' }), 'signature_invalid')
  })

  it('takes no other’s place', async () => {
    const theirs = token({ claims: { iss: PARTNER, aud: SQL }, by: 'partner' })
    for (let i = 0; i < 2; i++) {
      expect(await room.identify(theirs)).toMatchObject({ issuer: 'partner', iss: PARTNER })
      expect(await room.identify(good)).toMatchObject({ issuer: 'corp', iss: ISSUER })
    }
  })

  it.each<[what: string, settings: object, reason: string]>([
    ['audience', { audiences: [SQL] }, 'audience_mismatch'],
    ['algorithm', { algorithms: ['RS256'] }, 'token_algorithm'],
    ['type', { types: ['JWT'] }, 'token_type'],
    ['client', { clients: ['other'] }, 'client_not_allowed'],
    ['claim', { required_claims: ['email'] }, 'claim_missing'],
    ['lifetime', { max_lifetime: '1m' }, 'token_lifetime'],
    ['key', { jwks_file: fileOf('corp_next') }, 'key_unknown'],
    ['issuer', { issuer: PARTNER }, 'issuer_unknown'],
    ['profile', { profile: 'keycloak' }, 'token_type'],
  ])('is refused where the configuration that follows wants another %s', async (_, settings, reason) => {
    const next = started([{ jwks_file: fileOf('corp'), ...settings }], { previous: room.room })
    await expectRefused(next, good, reason)
    expect(told(next)).toEqual(['miss'])
    expect(room.raw(good)).not.toBeInstanceOf(Promise)
  })
})
