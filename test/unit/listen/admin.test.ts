import { once } from 'node:events'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Admin, type AdminDeps, createAdmin } from '../../../src/listen/admin.ts'
import { Unusable } from '../../../src/unusable.ts'

const open: Admin[] = []
afterEach(async () => {
  for (const admin of open.splice(0)) await admin.close()
})

async function started(deps: Partial<AdminDeps> = {}): Promise<Admin> {
  const admin = await createAdmin('127.0.0.1:0', {
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'agent_authz_up 1\n' }),
    readiness: () => ({ ready: true, detail: { ready: true } }),
    ...deps,
  })
  open.push(admin)
  return admin
}

interface Page {
  readonly status: number | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

const portOf = ({ address }: Admin) => Number(/:(\d+)$/.exec(address)?.[1])

async function ask(admin: Admin, path: string, method = 'GET', headers = {}): Promise<Page> {
  const asked = request({ host: '127.0.0.1', port: portOf(admin), path, method, headers, agent: false }).end()
  const [response] = await once(asked, 'response')
  const chunks: Buffer[] = await response.toArray()
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }
}

it('what is asked for together is made once, and one connection may ask a hundred times', async () => {
  const metrics = vi.fn(async () => ({ contentType: 'text/plain', text: 'agent_authz_up 1\n' }))
  const asking = connect(portOf(await started({ metrics })), '127.0.0.1').setEncoding('latin1')
  asking.write('GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000))
  const answers = (await asking.toArray()).join('')
  expect(answers.split('HTTP/1.1 200').length - 1).toBe(100)
  expect(metrics.mock.calls.length).toBeLessThan(10)
})

it('there is room for 128 connections, and for another when one has gone', async () => {
  const admin = await started()
  const silent = Array.from({ length: 128 }, () =>
    connect(portOf(admin), '127.0.0.1').on('error', () => undefined),
  )
  await Promise.all(silent.map(each => once(each, 'connect')))
  await expect(ask(admin, '/healthz')).rejects.toThrow(/hang up|ECONNRESET/)
  for (const each of silent) each.destroy()
  await vi.waitFor(async () => expect(await ask(admin, '/healthz')).toMatchObject({ status: 200 }), 10_000)
})

describe('the pages of the admin port', () => {
  it('give the metrics, in their own type', async () => {
    expect(await ask(await started(), '/metrics')).toMatchObject({
      status: 200,
      headers: { 'content-type': 'text/plain; version=0.0.4' },
      body: 'agent_authz_up 1\n',
    })
  })

  it('say that the process lives, whether or not it is ready', async () => {
    const admin = await started({ readiness: () => ({ ready: false, detail: {} }) })
    expect(await ask(admin, '/healthz')).toMatchObject({ status: 200, body: 'ok\n' })
  })

  it.each([
    [true, 200],
    [false, 503],
  ])('say whether it is ready (%s: %i), and why, in JSON', async (ready, status) => {
    const detail = { ready, issuers: [{ issuer: 'größe', keys: 0 }] }
    const page = await ask(await started({ readiness: () => ({ ready, detail }) }), '/readyz')
    expect(page).toMatchObject({ status, headers: { 'content-type': 'application/json' } })
    expect(JSON.parse(page.body)).toEqual(detail)
  })

  it('are made anew for each request', async () => {
    let ready = false
    const admin = await started({ readiness: () => ({ ready, detail: {} }) })
    expect(await ask(admin, '/readyz')).toMatchObject({ status: 503 })
    ready = true
    expect(await ask(admin, '/readyz')).toMatchObject({ status: 200 })
  })

  it.each(['/metrics', '/healthz', '/readyz'])('heed no query: %s', async path => {
    const admin = await started()
    const { headers: _, ...plain } = await ask(admin, path)
    expect(await ask(admin, `${path}?name=value&x=/metrics?`)).toMatchObject({ ...plain, status: 200 })
  })

  it.each(['/metrics', '/healthz', '/readyz', '/absent'])(
    'have a HEAD as long as they are: %s',
    async path => {
      const admin = await started()
      const [got, head] = [await ask(admin, path), await ask(admin, path, 'HEAD')]
      expect(head).toMatchObject({ status: got.status, body: '' })
      for (const name of ['content-type', 'content-length'])
        expect(head.headers[name]).toBe(got.headers[name])
      expect(got.headers['content-length']).toBe(`${Buffer.byteLength(got.body)}`)
    },
  )

  it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('cannot be written: %s', async method => {
    const metrics = vi.fn()
    const admin = await started({ metrics })
    expect(await ask(admin, '/metrics', method)).toMatchObject({
      status: 405,
      headers: { allow: 'GET, HEAD' },
    })
    expect(metrics).not.toHaveBeenCalled()
    expect((await ask(admin, '/healthz')).headers.allow).toBeUndefined()
  })

  it.each([
    '/',
    '/metrics/',
    '//metrics',
    '/METRICS',
    '/%6detrics',
    '/metrics;x',
    '/../metrics',
    '/x?/metrics',
    'http://127.0.0.1/metrics',
    '*',
    '/__proto__',
    '/constructor',
    '/toString',
  ])('are not found under another name: %s', async path => {
    const admin = await started()
    const page = await ask(admin, path)
    expect(page).toMatchObject({ status: 404, body: expect.stringMatching(/\/metrics/) })
    expect(page.headers.allow).toBeUndefined()
    expect(await ask(admin, path, 'POST')).toMatchObject({ status: 404 })
  })

  it.each<[string, string, Partial<AdminDeps>]>([
    ['the metrics reject', '/metrics', { metrics: async () => raise() }],
    ['the metrics throw', '/metrics', { metrics: () => raise() }],
    ['readiness throws', '/readyz', { readiness: () => raise() }],
    ['readiness is no JSON', '/readyz', { readiness: () => ({ ready: true, detail: { is: 1n } }) }],
  ])('are 500 without a word of why, and the next one is answered: %s', async (_, path, deps) => {
    const admin = await started(deps)
    const page = await ask(admin, path)
    expect(page).toMatchObject({ status: 500, body: 'error\n' })
    expect(JSON.stringify(page)).not.toMatch(/secret|BigInt/)
    expect(await ask(admin, '/healthz')).toMatchObject({ status: 200 })
  })

  it('do not wait for a client that is gone', async () => {
    const begun = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<void>()
    const admin = await started({
      async metrics() {
        begun.resolve()
        await ended.promise
        return { contentType: 'text/plain', text: 'late' }
      },
    })
    const gone = connect(portOf(admin), '127.0.0.1').on('error', () => undefined)
    gone.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n')
    await begun.promise
    gone.destroy()
    await once(gone, 'close')
    expect(await ask(admin, '/healthz')).toMatchObject({ status: 200 })
    ended.resolve()
    expect(await ask(admin, '/metrics')).toMatchObject({ status: 200, body: 'late' })
  })

  it('do not take headers without end', async () => {
    const admin = await started()
    expect(await ask(admin, '/healthz', 'GET', { x: 'y'.repeat(9_000) })).toMatchObject({ status: 431 })
    expect(await ask(admin, '/healthz')).toMatchObject({ status: 200 })
  })

  it('do not take what is no HTTP', async () => {
    const admin = await started()
    const garbage = connect(portOf(admin), '127.0.0.1').on('error', () => undefined)
    garbage.end('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0')
    await once(garbage.resume(), 'close')
    expect(await ask(admin, '/healthz')).toMatchObject({ status: 200 })
  })
})

function raise(): never {
  throw new Error('secret')
}

describe('the address of the admin port', () => {
  it('is told with the port that was taken', async () => {
    expect((await started()).address).toMatch(/^127\.0\.0\.1:[1-9]\d+$/)
  })

  it('that is in use is refused by the name of its setting', async () => {
    const { address } = await started()
    const second = createAdmin(address, { metrics: raise, readiness: raise })
    await expect(second).rejects.toThrow(Unusable)
    await expect(second).rejects.toThrow(/^listen\.admin: .*EADDRINUSE/)
    await expect(second).rejects.toThrow(address)
  })

  it('that is not of this machine is refused', async () => {
    const elsewhere = createAdmin('192.0.2.1:0', { metrics: raise, readiness: raise })
    await expect(elsewhere).rejects.toThrow(/^listen\.admin: .*192\.0\.2\.1:0 \(EADDRNOTAVAIL\)/)
  })

  it('may be one of IPv6, in brackets', async () => {
    const outcome = await createAdmin('[::1]:0', { metrics: raise, readiness: raise }).then(
      admin => {
        open.push(admin)
        return admin.address
      },
      (error: Error) => error.message,
    )
    // Not every machine has IPv6; but none may look for a host of that name.
    expect(outcome).toMatch(/^\[::1\]:[1-9]\d+$|EADDRNOTAVAIL|EAFNOSUPPORT/)
  })
})

describe('the admin port, closed', () => {
  it('waits for nobody: neither a connection kept alive, nor one that says nothing, nor a page under way', async () => {
    const begun = Promise.withResolvers<void>()
    const admin = await started({
      metrics() {
        begun.resolve()
        return new Promise(() => undefined)
      },
    })
    const agent = new Agent({ keepAlive: true })
    const kept = request({ host: '127.0.0.1', port: portOf(admin), path: '/healthz', agent }).end()
    ;(await once(kept, 'response'))[0].resume()
    const silent = connect(portOf(admin), '127.0.0.1').on('error', () => undefined)
    await once(silent, 'connect')
    const underWay = ask(admin, '/metrics')
    await begun.promise
    await Promise.all([admin.close(), expect(underWay).rejects.toThrow(/hang up|ECONNRESET/)])
    agent.destroy()
    silent.destroy()
    open.splice(0)
    await expect(ask(admin, '/healthz')).rejects.toThrow(/ECONNREFUSED/)
  })
})
