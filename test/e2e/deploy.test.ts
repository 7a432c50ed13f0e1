import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { send } from '../../deploy/demo/client.ts'
import { type Envoy, startEnvoy } from '../../deploy/demo/envoy.ts'
import { until } from '../../deploy/demo/processes.ts'
import { type Service, startService, writeConfig } from '../../deploy/demo/service.ts'
import { ALICE, type Stack, startStack } from './stack.ts'

/** Requests that are on their way at any time. */
const LOAD = 16

describe('when one of two instances is stopped under load', () => {
  let stack: Stack
  let second: Service
  let envoy: Envoy
  beforeAll(async () => {
    stack = await startStack()
    const folder = join(stack.folder, 'second')
    mkdirSync(folder)
    const config = writeConfig(folder, settings => {
      settings.listen = { grpc: '127.0.0.1:0', admin: '127.0.0.1:0' }
      for (const issuer of settings.issuers) issuer.issuer = stack.issuer.url
      settings.policy = { bundle: stack.bundle, entrypoint: 'envoy/authz/result' }
    })
    second = await startService(stack.processes, config)
    const ports = { listener: 0, admin: 0, authz: stack.service.grpcPort, upstream: stack.upstream.port }
    envoy = await startEnvoy(stack.processes, folder, ports, text => withEndpoint(text, second.grpcPort))
  }, 60_000)
  afterAll(() => stack?.stop())

  it('no request is refused, and its decision log is complete', async () => {
    const token = await stack.issuer.mint(ALICE)
    const statuses = new Map<number, number>()
    let loading = true
    const clients = Array.from({ length: LOAD }, async () => {
      while (loading) {
        const { status } = await send(envoy.port, {
          method: 'GET',
          host: 'mail.example.com',
          path: '/allowed',
          headers: [['authorization', `Bearer ${token}`]],
        })
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    })
    const answered = () => statuses.get(200) ?? 0
    await until('load', () => answered() > 200 || undefined)
    const atStop = answered()
    await stack.service.process.stop()
    const atEnd = answered()
    await until('load on the other instance', () => answered() > atEnd + 200 || undefined)
    loading = false
    await Promise.all(clients)

    expect([...statuses.keys()]).toEqual([200])
    expect(atEnd).toBeGreaterThan(atStop)
    expect(stack.decisions().length).toBeGreaterThan(0)
  }, 60_000)
})

function withEndpoint(config: string, port: number): string {
  const document = parse(config)
  const cluster = document.static_resources.clusters.find(
    ({ name }: { name: string }) => name === 'agent-authz',
  )
  cluster.load_assignment.endpoints[0].lb_endpoints.push({
    endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
  })
  return stringify(document)
}
