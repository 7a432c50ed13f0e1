import { describe, expect, it } from 'vitest'
import { bearerToken } from '../../../src/identify/bearer.ts'
import { heldRequest } from '../trail.ts'

const read = (...authorization: string[]) => bearerToken(heldRequest({ headers: { authorization } }))

describe('a bearer token', () => {
  it.each(['Bearer a.b.c', 'bearer a.b.c', 'BEARER a.b.c', 'Bearer   a.b.c'])('is read from %j', value => {
    expect(read(value)).toBe('a.b.c')
  })

  it('is none where there is no header', () => {
    expect(bearerToken(heldRequest())).toBeUndefined()
  })

  it.each(['', 'Basic YTpi', 'Bearertoken', 'Negotiate Bearer', 'DPoP a.b.c', 'Digest a="b", c="d"'])(
    'is none in another scheme: %j',
    value => {
      expect(read(value)).toBeUndefined()
    },
  )

  it.each([
    [['Bearer a', 'Bearer a']],
    [['Bearer a', 'Basic b']],
    [['Basic a', 'Basic b']],
    [['Bearer a', '']],
  ])('is refused where there are several headers: %j', values => {
    expect(() => read(...values)).toThrow('authorization_repeated')
  })

  it.each([
    'Bearer a,Bearer b',
    'Bearer a, Basic b',
    'Basic b, Bearer a',
    'Bearer a,',
    ',bearer a',
    'bearer,',
  ])('is refused where a proxy joined several: %j', value => {
    expect(() => read(value)).toThrow('authorization_repeated')
  })

  it.each(['Bearer', 'Bearer ', 'Bearer\ta.b.c', 'Bearer a b', 'Bearer a\n', ' Bearer a', 'Bearer\n a'])(
    'is refused, not overlooked, where it is misspelt: %j',
    value => {
      expect(() => read(value)).toThrow('token_malformed')
    },
  )
})
