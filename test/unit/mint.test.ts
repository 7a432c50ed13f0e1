import { decodeJwt, decodeProtectedHeader } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Issuer, startIssuer } from '../../deploy/demo/issuer.ts'
import { mint } from '../../src/mint.ts'
import { Unusable } from '../../src/unusable.ts'
import { json, type Server, startServer } from './identify/issuer.ts'

const AUD = 'https://mail.example.com'

let issuer: Issuer
beforeAll(async () => {
  issuer = await startIssuer(0)
})
afterAll(() => issuer?.close())

const minted = async (wanted: Parameters<typeof mint>[0]): Promise<string> => {
  const made = await mint({ sub: 'alice@example.com', aud: AUD, ...wanted }, issuer.url)
  if ('refused' in made) throw new Error(made.refused)
  return made.token
}

describe('a token of the development issuer', () => {
  it('says who acts for whom', async () => {
    const token = await minted({ act: 'mail-summary,planner', scope: 'a b', client_id: 'console', ttl: '60' })
    const claims = decodeJwt(token)
    expect(claims).toMatchObject({
      iss: issuer.url,
      sub: 'alice@example.com',
      aud: AUD,
      act: { sub: 'mail-summary', act: { sub: 'planner' } },
      scope: 'a b',
      client_id: 'console',
    })
    expect((claims.exp as number) - Math.floor(Date.now() / 1000)).toBeLessThanOrEqual(60)
  })

  it('leaves to the issuer what is not said', async () => {
    const token = await minted({ act: undefined, typ: undefined })
    expect(decodeJwt(token)).not.toHaveProperty('act')
    expect(decodeProtectedHeader(token)).toMatchObject({ typ: 'at+jwt' })
  })

  it('is of the type that is wanted', async () => {
    expect(decodeProtectedHeader(await minted({ typ: 'JWT' }))).toMatchObject({ typ: 'JWT' })
  })

  it.each([
    ['lives for too long', { ttl: '901' }, 'ttl'],
    ['lives for no number', { ttl: 'long' }, 'ttl'],
    ['is of another type', { typ: 'logout+jwt' }, 'typ'],
    ['is nobody’s', { sub: '' }, 'sub'],
  ])('is not made where it %s, and the issuer says why', async (_, wanted, why) => {
    const made = await mint({ sub: 'alice', aud: AUD, ...wanted }, issuer.url)
    expect(made).toEqual({ refused: expect.stringContaining(why) })
  })
})

describe('no token is asked for', () => {
  let server: Server | undefined
  afterEach(() => server?.close())

  it.each([
    'https://idp.example.com',
    'http://idp.example.com',
    'http://127.0.0.1.example.com',
    'http://localhost.example.com:9400',
    'http://10.0.0.1:9400',
    'http://0.0.0.0:9400',
    'http://alice:secret@127.0.0.1:9400',
    'https://127.0.0.1:9400',
    'file:///token',
    '127.0.0.1:9400',
    '',
  ])('at %j, which is not this machine', async url => {
    await expect(mint({ sub: 'alice', aud: AUD }, url)).rejects.toSatisfy(
      error => error instanceof Unusable && /^--issuer must be http on loopback/.test(error.message),
    )
  })

  it('where nobody listens', async () => {
    server = await startServer()
    const { url } = server
    await server.close()
    await expect(mint({ sub: 'alice', aud: AUD }, url)).rejects.toThrow(
      `no development issuer answers at ${url} (ECONNREFUSED): make up starts one at http://127.0.0.1:9400`,
    )
  })

  it.each<[what: string, answer: Server['answer']]>([
    ['no token', json({})],
    ['a token that is no text', json({ access_token: 5 })],
    ['a token with a line end', json({ access_token: 'a.b.c\nx' })],
    ['null', json(null)],
    ['no JSON', (_, response) => response.end('<html>')],
    ['404', (_, response) => response.writeHead(404).end('{"error":"not_found"}')],
    ['a way elsewhere', (_, response) => response.writeHead(302, { location: '/other' }).end()],
  ])('twice where the answer is %s', async (_, answer) => {
    server = await startServer(answer)
    await expect(mint({ sub: 'alice', aud: AUD }, server.url)).rejects.toThrow(
      new Unusable(`${server.url} does not answer as the development issuer does`),
    )
    expect(server.asked).toEqual(['/token'])
  })
})
