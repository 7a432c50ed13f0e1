import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { comeUp, ok, type Processes } from './processes.ts'

const ROOT = join(import.meta.dirname, '../..')

export interface Envoy {
  readonly url: string
  readonly port: number
  readonly adminUrl: string
  /** Its access log, one object for each request. */
  accessLog(): Record<string, unknown>[]
  /** One of its counters or gauges, summed where several end in this name. */
  stat(name: string): Promise<number>
  close(): Promise<void>
}

/** The ports of `envoy/envoy.yaml`, by what stands there; 0: Envoy takes a free one. */
export interface EnvoyPorts {
  readonly listener: number
  readonly admin: number
  readonly authz: number
  readonly upstream: number
}

const WRITTEN: EnvoyPorts = { listener: 10000, admin: 9901, authz: 9191, upstream: 9401 }

/** A real Envoy with `envoy/envoy.yaml`, other ports put in, and nothing else changed but by `edit`. */
export async function startEnvoy(
  processes: Processes,
  folder: string,
  ports: EnvoyPorts,
  edit = (config: string) => config,
): Promise<Envoy> {
  const config = join(folder, 'envoy.yaml')
  const adminAddress = join(folder, 'envoy-admin-address')
  writeFileSync(config, edit(withPorts(readFileSync(join(ROOT, 'envoy/envoy.yaml'), 'utf8'), ports)))
  writeFileSync(adminAddress, '')
  const started = processes.start('envoy', process.env.ENVOY ?? join(ROOT, '.tools/bin/envoy'), [
    ...['-c', config, '--admin-address-path', adminAddress],
    // Several Envoys on one machine would share memory under one name.
    '--disable-hot-restart',
    ...['--log-level', 'warning', '--file-flush-interval-msec', '100'],
  ])
  const adminUrl = await comeUp('envoy', started, async () => {
    const url = `http://${readFileSync(adminAddress, 'utf8')}`
    return (await ok(`${url}/ready`)) === undefined ? undefined : url
  })
  const { listener_statuses: listeners } = JSON.parse((await ok(`${adminUrl}/listeners?format=json`)) ?? '')
  const port = listeners[0].local_address.socket_address.port_value
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    adminUrl,
    accessLog: () =>
      started
        .output()
        .split('\n')
        .filter(line => line.startsWith('{') && line.endsWith('}'))
        .map(line => JSON.parse(line)),
    async stat(name) {
      const text = (await ok(`${adminUrl}/stats?filter=${encodeURIComponent(`${name}$`)}`)) ?? ''
      return [...text.matchAll(/: (\d+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0)
    },
    close: started.stop,
  }
}

function withPorts(config: string, ports: EnvoyPorts): string {
  return config.replace(/port_value: (\d+)/g, (_, written) => {
    const name = (Object.keys(WRITTEN) as (keyof EnvoyPorts)[]).find(key => WRITTEN[key] === Number(written))
    if (name === undefined) throw new Error(`envoy/envoy.yaml has a port that is not known here: ${written}`)
    return `port_value: ${ports[name]}`
  })
}
