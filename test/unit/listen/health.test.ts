import { status } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createGrpcServer, type GrpcServer } from '../../../src/listen/grpc-server.ts'
import { allowed, type Caller, caller, keptEvents, keptLog, SETTINGS, stop } from './callers.ts'

let server: GrpcServer
let envoy: Caller
beforeEach(async () => {
  const deps = { check: () => allowed, clock: Date.now, log: keptLog(), events: keptEvents() }
  server = await createGrpcServer(SETTINGS, deps)
  envoy = caller(server.address)
})
afterEach(async () => {
  envoy.close()
  await stop(server)
})

const ours = ['', 'envoy.service.auth.v3.Authorization']

describe('the health of the service', () => {
  it.each(ours)('is what was said last, at first NOT_SERVING: %j', async name => {
    expect(await envoy.health(name)).toBe('NOT_SERVING')
    server.serving(true)
    expect(await envoy.health(name)).toBe('SERVING')
    server.serving(false)
    expect(await envoy.health(name)).toBe('NOT_SERVING')
  })

  it.each(['envoy.service.auth.v3', 'authorization', '__proto__', 'constructor'])(
    'is NOT_FOUND of another name: %j',
    async name => {
      server.serving(true)
      await expect(envoy.health(name)).rejects.toMatchObject({ code: status.NOT_FOUND })
    },
  )

  it.each(ours)('is told to who watches, once for every change: %j', async name => {
    const seen = watching(name)
    await seen.next('NOT_SERVING')
    for (const is of [false, true, true, true, false, false, true]) server.serving(is)
    await seen.next('SERVING')
    await seen.next('NOT_SERVING')
    await seen.next('SERVING')
    server.serving(true)
    server.serving(false)
    await seen.next('NOT_SERVING')
  })

  it('is SERVICE_UNKNOWN to who watches another name', async () => {
    await watching('authorization').next('SERVICE_UNKNOWN')
  })

  function watching(name: string) {
    const answers = envoy
      .watch(name)
      .on('error', () => undefined)
      [Symbol.asyncIterator]()
    return {
      async next(expected: string) {
        expect((await answers.next()).value).toMatchObject({ status: expected })
      },
    }
  }
})
