import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ok } from '../../deploy/demo/processes.ts'
import type { ServiceConfig } from '../../deploy/demo/service.ts'
import { buildBundle, type Stack, startStack } from '../e2e/stack.ts'
import { type Listeners, withListeners } from './listeners.ts'
import { type Seen, startUpstream } from './upstream.ts'

/** The counters of ext_authz that one request moved, and how far. */
export type Counted = { readonly [counter: string]: number }

export interface Asked<T> {
  readonly client: T
  /** What reached the upstream, in order. */
  readonly upstream: readonly Seen[]
  readonly counted: Counted
}

export interface Matrix extends Omit<Stack, 'upstream'> {
  /** Of the running Envoy, as it says itself. */
  readonly version: string
  port(listener: string): number
  /** One request, and all that came of it and of whatever else was sent since this listener was asked last. */
  ask<T>(listener: string, send: (port: number) => Promise<T>): Promise<Asked<T>>
  counters(listener: string): Promise<Counted>
  /** By how much its counters moved since this, or the listener, was asked last. */
  moved(listener: string): Promise<Counted>
  /** What reached the upstream since then. */
  taken(): Seen[]
}

/**
 * One agent-authz behind one Envoy with several listeners, each the one of `envoy/envoy.yaml` with changes of its own and
 * counters under its name, before an upstream that keeps what arrives.
 */
export async function startMatrix(
  listeners: Listeners,
  editService: (config: ServiceConfig) => void = () => undefined,
  editEnvoy = (config: string) => config,
): Promise<Matrix> {
  const upstream = await startUpstream()
  const stack = await startStack({
    service(config) {
      buildBundle(readFileSync(join(import.meta.dirname, 'policy.rego'), 'utf8'), config.policy.bundle)
      // What is late here is late because two cores are few: what is about time says so itself.
      config.listen.check_timeout = '2s'
      editService(config)
    },
    envoy: text => withListeners(editEnvoy(text), listeners, upstream),
  }).catch(async (error: unknown) => {
    await upstream.close()
    throw error
  })
  const { adminUrl } = stack.envoy
  const { version } = JSON.parse((await ok(`${adminUrl}/server_info`)) ?? '') as { version: string }
  const { listener_statuses } = JSON.parse((await ok(`${adminUrl}/listeners?format=json`)) ?? '') as {
    listener_statuses: { name: string; local_address: { socket_address: { port_value: number } } }[]
  }
  const ports = new Map(
    listener_statuses.map(({ name, local_address }) => [name, local_address.socket_address.port_value]),
  )
  const port = (listener: string) => {
    const found = ports.get(listener)
    if (found === undefined) throw new Error(`no listener ${listener}`)
    return found
  }
  const counters = async (listener: string): Promise<Counted> => {
    const filter = encodeURIComponent(`^http\\.${listener}\\.ext_authz\\.`)
    const text = (await ok(`${adminUrl}/stats?filter=${filter}`)) ?? ''
    return Object.fromEntries(
      [...text.matchAll(/ext_authz\.(\w+): (\d+)$/gm)].map(([, name, value]) => [name, Number(value)]),
    )
  }
  const last = new Map<string, Counted>()
  const moved = async (listener: string) => {
    const [before, after] = [last.get(listener) ?? {}, await counters(listener)]
    last.set(listener, after)
    const by = Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
    return Object.fromEntries(by.filter(([, difference]) => difference !== 0))
  }
  return {
    ...stack,
    version: version.split('/')[1] as string,
    port,
    counters,
    taken: upstream.taken,
    moved,
    async ask(listener, send) {
      const client = await send(port(listener))
      return { client, upstream: upstream.taken(), counted: await moved(listener) }
    },
    async stop() {
      // Its end is nobody's business here, and a drain takes seconds.
      stack.service.process.signal('SIGKILL')
      await stack.stop()
      await upstream.close()
    },
  }
}
