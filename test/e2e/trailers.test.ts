import { once } from 'node:events'
import { connect, createServer, type IncomingHttpHeaders } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { type Stack, startStack } from './stack.ts'

interface Cluster {
  name: string
  typed_extension_protocol_options?: object
  load_assignment: { endpoints: { lb_endpoints: { endpoint: object }[] }[] }
}

/** An upstream that speaks HTTP/2 and answers with the trailers that it received. */
const upstream = createServer().on('stream', async stream => {
  let trailers: IncomingHttpHeaders = {}
  stream.on('trailers', received => {
    trailers = received
  })
  await text(stream)
  stream.respond({ ':status': 200 })
  stream.end(JSON.stringify(trailers))
})

describe('trailers of a request', () => {
  let stack: Stack
  beforeAll(async () => {
    await once(upstream.listen(0, '127.0.0.1'), 'listening')
    stack = await startStack({
      envoy(config) {
        const document = parse(config)
        const clusters: Cluster[] = document.static_resources.clusters
        const [authz, target] = ['agent-authz', 'upstream'].map(name => clusters.find(c => c.name === name))
        Object.assign(target as Cluster, {
          typed_extension_protocol_options: authz?.typed_extension_protocol_options,
        })
        const address = { address: '127.0.0.1', port_value: (upstream.address() as AddressInfo).port }
        for (const { lb_endpoints } of target?.load_assignment.endpoints ?? [])
          for (const one of lb_endpoints) one.endpoint = { address: { socket_address: address } }
        return stringify(document)
      },
    })
  }, 60_000)
  afterAll(async () => {
    await stack?.stop()
    upstream.close()
  })

  it.each(['/healthz', '/observe', '/public'])(
    'reach an HTTP/2 upstream without trusted names: %s',
    async path => {
      const session = connect(stack.envoy.url)
      const request = session.request(
        { ':method': 'POST', ':path': path, ':authority': 'mail.example.com' },
        { waitForTrailers: true },
      )
      request.on('wantTrailers', () =>
        request.sendTrailers({
          ...Object.fromEntries(TRUSTED_HEADERS.map(name => [name, 'forged'])),
          'x-checksum': 'kept',
        }),
      )
      request.end('a body')
      const trailers = JSON.parse(await text(request))
      session.destroy()
      expect(trailers).toEqual({ 'x-checksum': 'kept' })
    },
  )
})
