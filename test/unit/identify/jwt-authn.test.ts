import { beforeAll, describe, expect, it } from 'vitest'
import { verifiedPayload } from '../../../src/identify/jwt-authn.ts'
import { decodeCheckRequest } from '../../../src/listen/wire/check-request.ts'
import type { HeldRequest, Identity, RouteSettings } from '../../../src/types.ts'
import { encodeRequest } from '../listen/wire/oracle.ts'
import { heldRequest } from '../trail.ts'
import {
  AFTER_PLANNER,
  claims,
  ISSUER,
  type Key,
  NOW,
  newKey,
  PLANNED,
  patient,
  ROUTE,
  settings,
  startRoom,
} from './issuer.ts'

const PARTNER = 'https://idp.partner.example'
const corp = settings({ jwt_authn_payload: 'corp' })
const partner = settings({ name: 'partner', issuer: PARTNER, jwt_authn_payload: 'partner' })

/** A request after Envoy's jwt_authn, which wrote these payloads by name. */
function request(payloads: object | undefined, ...authorization: string[]): HeldRequest {
  const written = payloads && { 'envoy.filters.http.jwt_authn': payloads }
  const metadata = { metadataContext: { ...(written && { filterMetadata: written }) } }
  return heldRequest({ attributes: metadata as never, headers: { authorization } })
}

/** What is thrown, or undefined. */
function refusal(sent: HeldRequest, issuers = [corp, partner]): unknown {
  try {
    verifiedPayload(sent, issuers)
    return undefined
  } catch (error) {
    return error
  }
}

const SEVERAL = { reason: 'token_unverified', detail: 'payloads of several issuers' }
const ANOTHER = { reason: 'token_unverified', detail: 'another token' }

let key: Key
let token: string
beforeAll(async () => {
  key = await newKey('k1')
  token = await key.sign(claims())
})

describe('the payload that Envoy verified', () => {
  it('is taken where its name is that of an issuer', () => {
    expect(verifiedPayload(request({ corp: claims(), other: { a: 1 } }), [corp, partner])).toEqual({
      issuer: corp,
      claims: claims(),
    })
  })

  it('is read as it comes over the wire', () => {
    const fields = { iss: { stringValue: ISSUER }, exp: { numberValue: NOW }, aud: list('a', 'b'), none: {} }
    const payloads = { fields: { corp: { structValue: { fields } } } }
    const metadataContext = { filterMetadata: { 'envoy.filters.http.jwt_authn': payloads } }
    const sent = decodeCheckRequest(encodeRequest({ attributes: { metadataContext } }))
    expect(verifiedPayload(sent, [corp])?.claims).toEqual({
      iss: ISSUER,
      exp: NOW,
      aud: ['a', 'b'],
      none: null,
    })
  })

  it('is nothing where Envoy wrote none and nobody sent a token', () => {
    for (const payloads of [
      undefined,
      {},
      { other: claims() },
      { failed: { code: '3', message: 'expired' } },
    ])
      for (const authorization of [[], [''], ['Basic YTpi']])
        expect(verifiedPayload(request(payloads, ...authorization), [corp, partner])).toBeUndefined()
  })

  it.each<[what: string, attributes: object]>([
    ['another filter', { metadataContext: { filterMetadata: { 'envoy.lb': { corp: claims() } } } }],
    ['a namespace of its own', { metadataContext: { filterMetadata: { corp: claims() } } }],
    ['the route', { routeMetadataContext: { filterMetadata: written() } }],
    ['a typed message', { metadataContext: { typedFilterMetadata: written() } }],
    ['the context extensions', { contextExtensions: { 'envoy.filters.http.jwt_authn': 'corp' } }],
  ])('is not taken from %s', (_, attributes) => {
    expect(verifiedPayload(heldRequest({ attributes: attributes as never }), [corp])).toBeUndefined()
  })

  it('is a fault of the route where no issuer says under which name it stands', () => {
    expect(refusal(request({ corp: claims() }), [settings()])).toMatchObject({
      reason: 'route_invalid',
      detail: 'no issuer has jwt_authn_payload',
    })
  })

  it.each<[what: string, payloads: object]>([
    ['of two issuers', { corp: claims(), partner: claims({ iss: PARTNER }) }],
    ['of two issuers, one empty', { corp: claims(), partner: {} }],
  ])('is refused where there are those %s', (_, payloads) => {
    expect(refusal(request(payloads))).toMatchObject(SEVERAL)
  })

  it('is refused where two issuers expect it under one name', () => {
    const alike = settings({ name: 'alike', issuer: PARTNER, jwt_authn_payload: 'corp' })
    expect(refusal(request({ corp: claims() }), [corp, alike])).toMatchObject(SEVERAL)
  })

  it.each<[what: string, payload: unknown]>([
    ['no object', 'claims'],
    ['null', null],
    ['a list', [claims()]],
    ['nested over 32 deep', claims({ deep: nested(32) })],
    ['with half a surrogate pair', claims({ name: '\ud800' })],
  ])('is refused where it is %s', (_, payload) => {
    expect(refusal(request({ corp: payload }))).toMatchObject({
      reason: 'token_malformed',
      detail: 'the payload is not a strict JSON object',
    })
  })

  it('may be nested up to 32 deep', () => {
    expect(refusal(request({ corp: claims({ deep: nested(31) }) }))).toBeUndefined()
  })

  it.each([2 ** 53, -(2 ** 53), 1e300])('is refused where a number may have been rounded: %d', number => {
    for (const payload of [claims({ account: number }), claims({ accounts: [{ id: number }] })])
      expect(refusal(request({ corp: payload }))).toMatchObject({
        reason: 'claim_invalid',
        detail: 'a number that Envoy may have rounded',
      })
  })

  it.each([2 ** 53 - 1, -(2 ** 53 - 1), 0.5, 0])('may hold the number %d', number => {
    expect(refusal(request({ corp: claims({ account: number }) }))).toBeUndefined()
  })
})

describe('a Bearer token beside the payload', () => {
  it('may be the verified one', () => {
    expect(refusal(request({ corp: claims() }, `Bearer ${token}`))).toBeUndefined()
    expect(refusal(request({ corp: reversed(claims()) }, `bearer ${token}`))).toBeUndefined()
  })

  it.each(['read:mail:inbox read:mail:archive', ' read:mail:inbox  read:mail:archive '])(
    'may have its scopes made a list by Envoy: "%s"',
    async scope => {
      const sent = `Bearer ${await key.sign(claims({ scope }))}`
      const listed = claims({ scope: ['read:mail:inbox', 'read:mail:archive'] })
      expect(refusal(request({ corp: listed }, sent))).toBeUndefined()
      for (const other of [['read:mail:inbox'], ['read:mail:archive', 'read:mail:inbox'], [], [scope]])
        expect(refusal(request({ corp: claims({ scope: other }) }, sent))).toMatchObject(ANOTHER)
    },
  )

  it.each<[what: string, changes: object]>([
    ['iss', { iss: PARTNER }],
    ['sub', { sub: 'bob@example.com' }],
    ['aud', { aud: ['https://api.example.com', 'https://other.example.com'] }],
    ['exp', { exp: NOW + 301 }],
    ['jti', { jti: 'token-2' }],
    ['act', { act: { sub: 'mail-summary', act: { sub: 'planner' } } }],
    ['an actor less', { act: undefined }],
    ['client_id', { client_id: 'other' }],
    ['scope', { scope: 'admin' }],
    ['a claim more', { roles: ['admin'] }],
    ['a claim less', { scope: undefined }],
    ['null for nothing', { roles: null }],
    ['a claim named __proto__', JSON.parse('{"__proto__":{"sub":"root"}}')],
  ])('is refused where it says another thing than the verified one: %s', async (_, changes) => {
    const different = claims(changes)
    const sent = `Bearer ${await key.sign(different)}`
    expect(refusal(request({ corp: claims() }, sent))).toMatchObject(ANOTHER)
    expect(refusal(request({ corp: different }, `Bearer ${token}`))).toMatchObject(ANOTHER)
  })

  it.each<[what: string, header: object, reason: string]>([
    ['of another type', { typ: 'dpop+jwt' }, 'token_type'],
    ['without a type', { typ: undefined }, 'token_type'],
    ['with an algorithm that is not accepted', { alg: 'HS256' }, 'token_algorithm'],
    ['without an algorithm', { alg: 'none' }, 'token_algorithm'],
    ['with a critical header', { crit: ['exp'], exp: 1 }, 'token_critical_header'],
    ['with a kid that is no text', { kid: 1 }, 'token_malformed'],
  ])('is refused where it is one %s', (_, changes, reason) => {
    const header = { alg: 'ES256', typ: 'at+jwt', kid: 'k1', ...changes }
    const [, payload, signature] = token.split('.')
    const sent = `Bearer ${base64url(header)}.${payload}.${signature}`
    expect(refusal(request({ corp: claims() }, sent))).toMatchObject({ reason })
  })

  it('is held to what the issuer of the payload accepts', () => {
    const strict = settings({ name: 'strict', issuer: PARTNER, jwt_authn_payload: 'strict', types: ['JWT'] })
    expect(refusal(request({ corp: claims() }, `Bearer ${token}`), [strict, corp])).toBeUndefined()
    expect(refusal(request({ strict: claims() }, `Bearer ${token}`), [strict, corp])).toMatchObject({
      reason: 'token_type',
    })
  })

  it.each<[what: string, authorization: string[], reason: string]>([
    ['none after Bearer', ['Bearer'], 'token_malformed'],
    ['two in one header', ['Bearer a.b.c, Bearer a.b.c'], 'authorization_repeated'],
    ['two headers', ['Bearer a.b.c', 'Bearer a.b.c'], 'authorization_repeated'],
    ['Basic beside it', ['Basic YTpi', 'Bearer a.b.c'], 'authorization_repeated'],
    ['text after it', ['Bearer a.b.c d'], 'token_malformed'],
    ['no JWS', ['Bearer garbage'], 'token_malformed'],
    ['letters before it', ['xBearer a.b.c'], 'token_malformed'],
    ['another scheme before it', ['Basic x Bearer a.b.c'], 'token_malformed'],
    ['over 16 KiB', [`Bearer ${'a'.repeat(20_000)}`], 'token_too_large'],
  ])('is refused in a form that two readers may take differently: %s', (_, authorization, reason) => {
    expect(refusal(request({ corp: claims() }, ...authorization))).toMatchObject({ reason })
  })

  it('is refused where it is padded or has a name twice, though it says the same', () => {
    const [header, , signature] = token.split('.')
    const twice = Buffer.from(JSON.stringify(claims()).replace('{', '{"jti":"token-1",')).toString(
      'base64url',
    )
    for (const sent of [`${token}=`, `${header}.${twice}.${signature}`])
      expect(refusal(request({ corp: claims() }, `Bearer ${sent}`))).toMatchObject({
        reason: 'token_malformed',
      })
  })

  it('may be another scheme’s header, which is no token', () => {
    expect(refusal(request({ corp: claims() }, 'Basic YTpi'))).toBeUndefined()
  })
})

describe('a Bearer token without a payload', () => {
  it.each([[undefined], [{}], [{ other: claims() }], [{ failed: { code: '3' } }]])(
    'is refused, whatever else Envoy wrote: %j',
    payloads => {
      for (const sent of [token, 'garbage'])
        expect(refusal(request(payloads, `Bearer ${sent}`))).toMatchObject({
          reason: 'token_unverified',
          detail: 'no payload',
        })
    },
  )
})

describe('who sends a request on a route whose source is jwt_authn', () => {
  const VERIFIED: RouteSettings = { ...ROUTE, source: 'jwt_authn' }
  const { room, seen } = startRoom([
    { jwks_file: '/absent', jwt_authn_payload: 'corp', types: ['at+jwt'] },
    { jwks_file: '/absent', jwt_authn_payload: 'partner', name: 'partner', issuer: PARTNER },
  ])
  const identify = (sent: HeldRequest, route = VERIFIED) => room.identify(sent, route, patient)
  const reasonOf = (sent: HeldRequest, route = VERIFIED): string | undefined => {
    try {
      void identify(sent, route)
      return undefined
    } catch (error) {
      return (error as { reason: string }).reason
    }
  }

  it('is known at once, without a key', () => {
    expect(identify(request({ corp: claims({ act: PLANNED }) }))).toEqual(AFTER_PLANNER)
    expect(seen.events).toEqual([])
  })

  it('is the same whether scopes are text or a list', () => {
    const scope = ['read:mail:inbox', 'read:mail:archive']
    const identity = identify(request({ corp: claims({ scope }) })) as Identity
    expect(identity.scopes).toEqual(scope)
  })

  it.each<[reason: string, changes: object]>([
    ['claim_missing', { exp: undefined }],
    ['claim_invalid', { exp: String(NOW + 300) }],
    ['token_expired', { exp: NOW - 30 }],
    ['token_not_yet_valid', { nbf: NOW + 31 }],
    ['token_not_yet_valid', { iat: NOW + 31 }],
    ['token_lifetime', { exp: NOW + 3600 }],
    ['audience_mismatch', { aud: 'https://other.example.com' }],
    ['token_type', { nonce: 'n' }],
    ['token_type', { at_hash: 'h' }],
    ['sender_constrained', { cnf: { jkt: 'k' } }],
    ['delegator_missing', { sub: undefined }],
    ['actor_is_delegator', { act: { sub: 'alice@example.com' } }],
    ['actor_invalid', { act: 'mail-summary' }],
    ['actor_invalid', { act: { sub: 'a', act: { sub: 'a' } } }],
    ['header_too_large', { sub: 'a'.repeat(513) }],
    ['issuer_unknown', { iss: 'https://evil.example.com' }],
    ['issuer_unknown', { iss: undefined }],
    ['issuer_unknown', { iss: [ISSUER] }],
  ])('is refused by the rules for all tokens: %s for %j', (reason, changes) => {
    expect(reasonOf(request({ corp: claims(changes) }))).toBe(reason)
  })

  it('says whose token it was that is refused', () => {
    expect(() => identify(request({ corp: claims({ exp: NOW - 30 }) }))).toThrow(
      expect.objectContaining({
        parties: expect.objectContaining({
          issuer: 'corp',
          delegator: 'alice@example.com',
          clientId: 'console',
        }),
      }),
    )
  })

  it('is nobody where the verifier of one issuer let a token name another', () => {
    expect(reasonOf(request({ partner: claims() }))).toBe('issuer_unknown')
    expect(reasonOf(request({ corp: claims({ iss: PARTNER }) }))).toBe('issuer_unknown')
    expect(reasonOf(request({ partner: claims({ iss: PARTNER }) }))).toBeUndefined()
  })

  it('is nobody where Envoy wrote how it failed under the name of a payload', () => {
    expect(reasonOf(request({ corp: { code: '3', message: 'Jwt is expired' } }))).toBe('issuer_unknown')
  })

  it('is asked for a token without one, unless the route is open', () => {
    expect(reasonOf(request(undefined))).toBe('token_missing')
    expect(identify(request(undefined), { ...VERIFIED, identity: 'optional' })).toBeUndefined()
    expect(reasonOf(request(undefined, `Bearer ${token}`), { ...VERIFIED, identity: 'optional' })).toBe(
      'token_unverified',
    )
  })

  it('is not learned from metadata on any other route', () => {
    expect(reasonOf(request({ corp: claims() }), ROUTE)).toBe('token_missing')
    expect(identify(request({ corp: claims() }), { ...ROUTE, identity: 'optional' })).toBeUndefined()
  })
})

function written(): object {
  return { 'envoy.filters.http.jwt_authn': { corp: claims() } }
}

function list(...values: string[]): object {
  return { listValue: { values: values.map(stringValue => ({ stringValue })) } }
}

function nested(depth: number): unknown {
  return depth === 0 ? 0 : [nested(depth - 1)]
}

function reversed(object: object): object {
  return Object.fromEntries(Object.entries(object).toReversed())
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
