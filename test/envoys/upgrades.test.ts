import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { ALICE } from '../e2e/stack.ts'
import {
  expectEnvoysRefusal,
  expectRefusal,
  ID,
  seenByPolicy,
  TRUSTED_AS_ALICE,
  trusted,
} from './expectations.ts'
import { bearer, type Field } from './http1.ts'
import { grpcMessage, open, send2, upgrade2 } from './http2-client.ts'
import { ENCODINGS, inEachEncoding } from './listeners.ts'
import { type Matrix, startMatrix } from './matrix.ts'
import { type Sent, send, upgrade, WEBSOCKET } from './raw-client.ts'

let matrix: Matrix
let alice: Field
beforeAll(async () => {
  // The sample lets nothing be upgraded.
  const sample = { sample: ({ hcm }: { hcm: object }) => Object.assign(hcm, { upgrade_configs: [] }) }
  const overHttp2 = { http2_protocol_options: { allow_connect: true } }
  matrix = await startMatrix({
    ...inEachEncoding(({ hcm }) => Object.assign(hcm, overHttp2)),
    ...sample,
  })
  alice = bearer(await matrix.issuer.mint(ALICE))
}, 60_000)
afterAll(() => matrix?.stop())

const FORGED = TRUSTED_HEADERS.map((name): Field => [name, 'forged'])
const webSocket = (target: string, headers: Field[]): Sent => ({
  target,
  headers: [...headers, ...WEBSOCKET],
})
/** "Hello", masked: RFC 6455, section 5.7. */
const FRAME = Buffer.from('818537fa213d7f9f4d5158', 'hex')

describe.each(Object.keys(ENCODINGS))('WebSocket, %s', encoding => {
  it('is opened for an agent, with who acts for whom, and then left alone', async () => {
    let cameBack: Buffer | undefined
    const { client, upstream, counted } = await matrix.ask(encoding, async port => {
      const opened = await upgrade(port, webSocket('/see/socket', [...FORGED, alice]))
      if (opened.status === 101) cameBack = await opened.exchange(FRAME)
      opened.close()
      return opened
    })
    expect(client).toMatchObject({
      status: 101,
      headers: { upgrade: ['websocket'], 'sec-websocket-accept': ['s3pPLMBiTxaQ9kYGzzhZRbK+xOo='] },
    })
    expect(cameBack).toEqual(FRAME)
    expect(counted).toEqual({ ok: 1 })
    expect(upstream.map(trusted)).toEqual([TRUSTED_AS_ALICE])
    expect(upstream.map(seenByPolicy)).toMatchObject([
      { path: ['see', 'socket'], body: null, truncated: false },
    ])
    expect(upstream[0]?.headers).toMatchObject({ upgrade: ['websocket'] })
    expect(upstream[0]?.headers).not.toHaveProperty('authorization')
  })

  it('is refused like any request', async () => {
    const ask = (target: string, headers: Field[]) =>
      matrix.ask(encoding, port => send(port, webSocket(target, headers)))
    expectRefusal(await ask('/see', FORGED), 401, 'token_missing', { 'www-authenticate': 'Bearer' })
    expectRefusal(await ask('/no', [alice]), 403, 'policy_denied')
    expectRefusal(await ask('/malformed', [alice]), 500, 'policy_error')
    expectRefusal(await ask('/see', [alice, alice]), 400, 'authorization_repeated')
  })

  it('does not go on as HTTP/2 unchecked, which Envoy does not offer', async () => {
    const { client, upstream, counted } = await matrix.ask(encoding, port =>
      send(port, {
        target: '/no',
        headers: [
          alice,
          ['connection', 'Upgrade, HTTP2-Settings'],
          ['upgrade', 'h2c'],
          ['http2-settings', 'AAMAAABkAAQCAAAAAAIAAAAA'],
        ],
      }),
    )
    expect({ status: client.status, upstream, counted }).toEqual({
      status: 403,
      upstream: [],
      counted: { denied: 1 },
    })
  })
})

describe.each(Object.keys(ENCODINGS))('WebSocket over HTTP/2, %s', encoding => {
  it('is opened for an agent, with who acts for whom, and then left alone', async () => {
    let cameBack: Buffer | undefined
    const { client, upstream, counted } = await matrix.ask(encoding, async port => {
      const opened = await upgrade2(port, '/see/socket', [...FORGED, alice])
      if (opened.status === 200) cameBack = await opened.exchange(FRAME)
      opened.close()
      return opened
    })
    expect(client.status).toBe(200)
    expect(cameBack).toEqual(FRAME)
    expect(counted).toEqual({ ok: 1 })
    expect(upstream.map(trusted)).toEqual([TRUSTED_AS_ALICE])
    expect(upstream.map(seenByPolicy)).toMatchObject([
      { path: ['see', 'socket'], body: null, truncated: false },
    ])
    expect(upstream).toMatchObject([{ method: 'GET', headers: { upgrade: ['websocket'] } }])
    expect(upstream[0]?.headers).not.toHaveProperty('authorization')
  })

  it('is refused like any request', async () => {
    const ask = (target: string, headers: Field[]) =>
      matrix.ask(encoding, async port => {
        const refused = await upgrade2(port, target, headers)
        refused.close()
        return refused
      })
    expectRefusal(await ask('/see', FORGED), 401, 'token_missing', { 'www-authenticate': 'Bearer' })
    expectRefusal(await ask('/no', [alice]), 403, 'policy_denied')
    expectRefusal(await ask('/malformed', [alice]), 500, 'policy_error')
    expectRefusal(await ask('/see/%FF', [alice]), 400, 'path_invalid')
  })
})

it('with the sample nothing is upgraded', async () => {
  expectEnvoysRefusal(await matrix.ask('sample', port => send(port, webSocket('/see', [alice]))), 403)
  const session = open(matrix.port('sample'))
  const [settings] = await once(session, 'remoteSettings')
  session.destroy()
  expect(settings).toMatchObject({ enableConnectProtocol: false })
})

describe.each(Object.keys(ENCODINGS))('gRPC, %s', encoding => {
  const ask = (path: string, headers: Field[], body = grpcMessage('hello')) =>
    matrix.ask(encoding, port =>
      send2(port, {
        method: 'POST',
        path,
        headers: [...headers, ['content-type', 'application/grpc'], ['te', 'trailers']],
        body,
      }),
    )

  it('reaches its service with who acts for whom, and so does the answer the client', async () => {
    const { client, upstream, counted } = await ask('/matrix.Echo/Say', [...FORGED, alice])
    expect(client).toMatchObject({
      status: 200,
      body: grpcMessage('hello').toString('latin1'),
      trailers: { 'grpc-status': ['0'] },
    })
    expect(counted).toEqual({ ok: 1 })
    expect(upstream).toMatchObject([{ method: 'POST', target: '/matrix.Echo/Say', body: client.body }])
    expect(upstream.map(trusted)).toEqual([TRUSTED_AS_ALICE])
    expect(upstream.map(seenByPolicy)).toMatchObject([{ path: ['matrix.Echo', 'Say'], body: null }])
  })

  it('is held back until it is whole, and so has the limit on bodies', async () => {
    const { client, upstream, counted } = await ask('/matrix.Echo/Say', [alice], Buffer.alloc(100_000))
    expect(client.headers).toMatchObject({
      'grpc-status': ['2'],
      'grpc-message': ['Payload Too Large'],
    })
    expect({ upstream, counted }).toEqual({ upstream: [], counted: {} })
  })

  it.each<[path: string, authorization: boolean, code: number, reason: string]>([
    ['/matrix.Echo/Say', false, 16, 'token_missing'],
    ['/no', true, 7, 'policy_denied'],
    ['/elsewhere', true, 7, 'policy_undefined'],
    ['/scope', true, 7, 'insufficient_scope'],
    ['/quota', true, 14, 'policy_denied'],
    ['/see/%FF', true, 13, 'path_invalid'],
    ['/malformed', true, 2, 'policy_error'],
    // A success that policy made up is none of gRPC's.
    ['/mock', true, 2, 'answered by policy'],
  ])('is refused in its own words: %s', async (path, authorization, code, reason) => {
    const { client, upstream, counted } = await ask(path, authorization ? [alice] : [])
    expect(client).toMatchObject({
      status: 200,
      body: '',
      headers: { 'grpc-status': [`${code}`], 'content-type': ['application/grpc'] },
    })
    expect(client.headers['grpc-message']?.[0]).toContain(reason)
    expect(client.headers['x-authz-decision-id']).toEqual([expect.stringMatching(ID)])
    expect({ upstream, counted }).toEqual({ upstream: [], counted: { denied: 1 } })
  })
})
