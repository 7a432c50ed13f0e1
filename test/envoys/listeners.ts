import { parse, stringify } from 'yaml'
import { patient } from '../e2e/stack.ts'

/** As much of a listener of `envoy/envoy.yaml` as is changed here. */
export interface Listener {
  readonly hcm: { http_filters: Filter[]; [key: string]: unknown }
  readonly authz: { with_request_body: object; [key: string]: unknown }
  /** A route before all others, with `check_settings` of its own. */
  route(match: object, settings?: object, cluster?: string): void
}

interface Filter {
  readonly name: string
  readonly typed_config: { [key: string]: unknown }
}

interface Route {
  match: object
  [key: string]: unknown
}

/** The four ways in which Envoy can tell of a request, by the name of the listener that uses it. */
export const ENCODINGS: Readonly<Record<string, { raw: boolean; bytes: boolean }>> = {
  'raw-bytes': { raw: true, bytes: true },
  'raw-text': { raw: true, bytes: false },
  'joined-bytes': { raw: false, bytes: true },
  'joined-text': { raw: false, bytes: false },
}

/** So long may a check take. */
export function wait({ authz }: Listener, timeout: string): void {
  const service = authz.grpc_service as { timeout: string; retry_policy: { retry_back_off: object } }
  service.timeout = timeout
  // For Envoy this is also the longest time of one try.
  Object.assign(service.retry_policy.retry_back_off, { max_interval: timeout })
}

/** Changes to each listener, by its name. */
export type Listeners = Readonly<Record<string, (listener: Listener) => void>>

/** One listener for each encoding, with the same changes. */
export function inEachEncoding(
  change: (listener: Listener) => void = () => undefined,
  name = (encoding: string) => encoding,
): Listeners {
  return Object.fromEntries(
    Object.entries(ENCODINGS).map(([encoding, { raw, bytes }]) => [
      name(encoding),
      listener => {
        listener.authz.encode_raw_headers = raw
        Object.assign(listener.authz.with_request_body, { pack_as_bytes: bytes })
        change(listener)
      },
    ]),
  )
}

interface Configuration {
  static_resources: {
    listeners: {
      name: string
      filter_chains: { filters: { typed_config: Listener['hcm'] & { route_config: Routes } }[] }[]
    }[]
    clusters: { name: string; typed_extension_protocol_options?: object; load_assignment?: object }[]
  }
}

interface Routes {
  virtual_hosts: { routes: Route[] }[]
}

const EXT_AUTHZ = 'envoy.filters.http.ext_authz'

/** The configuration with these listeners instead of its own, in front of an upstream at these ports. */
export function withListeners(
  text: string,
  listeners: Listeners,
  upstream: { readonly http1: number; readonly http2: number },
): string {
  // Above check_timeout, as in the sample; the health check must not fail because the machine is busy.
  const config = parse(patient(text, '2.5s')) as Configuration
  const { static_resources: resources } = config
  const [sample] = resources.listeners
  resources.listeners = Object.entries(listeners).map(([name, change]) => {
    const listener = structuredClone(sample) as Configuration['static_resources']['listeners'][number]
    const hcm = listener.filter_chains[0]?.filters[0]?.typed_config as Listener['hcm'] & {
      route_config: Routes
    }
    const authz = hcm.http_filters.find(filter => filter.name === EXT_AUTHZ)
      ?.typed_config as Listener['authz']
    const routes = hcm.route_config.virtual_hosts[0]?.routes as Route[]
    const route: Listener['route'] = (match, settings, cluster = 'upstream') =>
      void routes.unshift({
        match,
        route: { cluster },
        ...(settings && {
          typed_per_filter_config: {
            [EXT_AUTHZ]: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute',
              check_settings: settings,
            },
          },
        }),
      })
    listener.name = name
    hcm.stat_prefix = name
    hcm.upgrade_configs = [{ upgrade_type: 'websocket' }]
    route({ prefix: '/matrix.Echo/' }, undefined, 'grpc')
    change({ hcm, authz, route })
    return listener
  })
  const authz = resources.clusters.find(cluster => cluster.name === 'agent-authz')
  resources.clusters = [
    ...resources.clusters.filter(cluster => cluster.name !== 'upstream'),
    { name: 'upstream', load_assignment: at('upstream', upstream.http1) },
    {
      name: 'grpc',
      ...(authz?.typed_extension_protocol_options && {
        typed_extension_protocol_options: authz.typed_extension_protocol_options,
      }),
      load_assignment: at('grpc', upstream.http2),
    },
  ]
  return stringify(config)
}

function at(cluster: string, port: number): object {
  const address = { socket_address: { address: '127.0.0.1', port_value: port } }
  return { cluster_name: cluster, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] }
}
