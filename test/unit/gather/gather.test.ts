import { expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { gather } from '../../../src/gather/gather.ts'
import { heldRequest, identity } from '../trail.ts'

it('puts request, identity and time together with path, query and body', () => {
  const request = heldRequest({
    path: '/v1/queries?page=2',
    headers: { 'content-type': ['application/json'] },
    body: () => ({ text: '{"name":"revenue"}', bytes: 18 }),
  })
  expect(gather(request, identity, 1_790_000_000_500)).toEqual({
    request,
    identity,
    parsedPath: ['v1', 'queries'],
    parsedQuery: { page: ['2'] },
    parsedBody: '{"name":"revenue"}',
    truncatedBody: false,
    now: 1_790_000_000_500,
  })
})

it('goes without an identity', () => {
  expect(gather(heldRequest(), undefined, 0).identity).toBeUndefined()
})

it('says nothing of the request when it refuses', () => {
  const thrown = (() => {
    try {
      gather(heldRequest({ path: '/secret%zz' }), identity, 0)
    } catch (error) {
      return error as Denied
    }
  })()
  expect(thrown).toBeInstanceOf(Denied)
  expect(JSON.stringify([thrown?.message, thrown?.detail, thrown?.cause])).not.toContain('secret')
})
