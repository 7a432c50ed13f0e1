import { describe, expect, it } from 'vitest'
import { issuersSettings } from '../../../src/identify/identify.ts'
import { issuerSettings } from '../../../src/identify/settings.ts'

const MINIMAL = {
  name: 'corp',
  issuer: 'https://idp.example.com',
  audiences: ['https://api.example.com'],
}
const valid = (changes: object) => issuerSettings.safeParse({ ...MINIMAL, ...changes }).success

describe('the settings of an issuer', () => {
  it.each([
    'https://idp.example.com/keys',
    'https://localhost/keys',
    'http://localhost:8080/keys',
    'http://127.0.0.1/keys',
    'http://127.5.5.5/keys',
    'http://[::1]:8080/keys',
  ])('may fetch keys from %s', url => {
    expect(valid({ jwks_uri: url })).toBe(true)
    expect(valid({ issuer: url })).toBe(true)
  })

  it.each([
    'http://idp.example.com/keys',
    'http://127.0.0.1.example.com/keys',
    'http://localhost.example.com/keys',
    'http://0.0.0.0/keys',
    'http://10.0.0.1/keys',
    'http://[::ffff:7f00:1]/keys',
    'http://127.0.0.1@idp.example.com/keys',
    'https://user:password@idp.example.com/keys',
    'file:///etc/jwks.json',
    'ftp://127.0.0.1/keys',
    'data:application/json,{}',
    'idp.example.com/keys',
    '',
  ])('may not fetch keys from %j', url => {
    expect(valid({ jwks_uri: url })).toBe(false)
    expect(valid({ issuer: url })).toBe(false)
  })

  it('may name an issuer that is no URL where nothing is discovered', () => {
    expect(valid({ issuer: 'http://idp.example.com', jwks_file: './jwks.json' })).toBe(true)
    expect(valid({ issuer: 'accounts.example.com', jwks_uri: 'https://idp.example.com/keys' })).toBe(true)
  })

  it.each([
    ['two sources of keys', { jwks_file: './jwks.json', jwks_uri: 'https://idp.example.com/keys' }],
    ['no audience', { audiences: [] }],
    ['an empty audience', { audiences: [''] }],
    ['no algorithm', { algorithms: [] }],
    ['a shared secret', { algorithms: ['HS256'] }],
    ['no signature', { algorithms: ['none'] }],
    ['no type', { types: [] }],
    ['no actor at all', { max_depth: 0 }],
    ['half an actor', { max_depth: 1.5 }],
    ['another profile', { profile: 'ping' }],
    ['an empty name for the payload', { jwt_authn_payload: '' }],
    ['a name that is no label', { name: 'corp"x' }],
    ['a name with a line break', { name: 'corp\n' }],
    ['a long name', { name: 'a'.repeat(65) }],
    ['no name', { name: '' }],
    ['an unknown key', { audience: 'x' }],
    ['a number as duration', { clock_skew: 30 }],
    ['a proxy without a scheme', { proxy: 'proxy.example.com:3128' }],
    ['a proxy of another kind', { proxy: 'ftp://proxy.example.com' }],
  ])('are refused with %s', (_, changes) => {
    expect(valid(changes)).toBe(false)
  })

  it.each(['http://proxy.example.com:3128', 'https://proxy.example.com'])('may name the proxy %s', proxy => {
    expect(valid({ proxy })).toBe(true)
  })

  it('are at least one issuer, of which no two share a name, a URL or a payload', () => {
    const several = (...issuers: object[]) =>
      issuersSettings.safeParse(issuers.map(changes => ({ ...MINIMAL, ...changes }))).success
    expect(several()).toBe(false)
    expect(several({}, { name: 'other', issuer: 'https://other.example.com' })).toBe(true)
    expect(several({}, { issuer: 'https://other.example.com' })).toBe(false)
    expect(several({}, { name: 'other' })).toBe(false)
    const payloads = (...names: string[]) =>
      several(
        ...names.map((jwt_authn_payload, i) => ({
          name: `issuer-${i}`,
          issuer: `https://idp-${i}.example.com`,
          jwt_authn_payload,
        })),
      )
    expect(payloads('a', 'b')).toBe(true)
    expect(payloads('a', 'a')).toBe(false)
  })
})
