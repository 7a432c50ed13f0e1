import { parse, stringify } from 'yaml'
import type { Certificate } from '../unit/listen/certificates.ts'
import { readmeYaml } from './readme-yaml.ts'

interface Named {
  readonly name: string
}
interface Filter extends Named {
  readonly typed_config: Editable['extAuthz']
}
interface Cluster extends Named {
  connect_timeout: string
  load_assignment: { endpoints: { lb_endpoints: { endpoint: { address: object } }[] }[] }
  transport_socket?: object
  typed_extension_protocol_options?: { [type: string]: object }
}

/** As much of `envoy/envoy.yaml` as tests change. */
interface Editable {
  readonly extAuthz: { grpc_service: { retry_policy?: object }; [key: string]: unknown }
  readonly authz: Cluster
  readonly upstream: Cluster
}

export const edited = (change: (config: Editable) => void) => (text: string) => {
  const config = parse(text)
  const { listeners, clusters } = config.static_resources
  const filters = listeners[0].filter_chains[0].filters[0].typed_config.http_filters
  change({
    extAuthz: named<Filter>(filters, 'envoy.filters.http.ext_authz').typed_config,
    authz: named<Cluster>(clusters, 'agent-authz'),
    upstream: named<Cluster>(clusters, 'upstream'),
  })
  return stringify(config)
}

function named<T extends Named>(all: readonly T[], name: string): T {
  const found = all.find(one => one.name === name)
  if (!found) throw new Error(`envoy/envoy.yaml has no ${name}`)
  return found
}

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

export function httpOptions({ name, typed_extension_protocol_options: options }: Cluster): object {
  const found = options?.[HTTP_OPTIONS]
  if (!found) throw new Error(`envoy/envoy.yaml has no options of HTTP for ${name}`)
  return found
}

/** The upstream closes what is idle for 5 s. A request that meets this is 503, and no fault of ours. */
export function leaveFirst(upstream: Cluster): void {
  upstream.typed_extension_protocol_options = {
    [HTTP_OPTIONS]: {
      '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
      common_http_protocol_options: { idle_timeout: '2s' },
      explicit_http_config: { http_protocol_options: {} },
    },
  }
}

/** TLS to agent-authz as README shows it: its certificate must be of this authority, Envoy shows its own. */
export function overTls(authz: Cluster, { ca, own }: { ca: string; own: Certificate }): void {
  const files: { [shown: string]: string } = { 'envoy.crt': own.crt, 'envoy.key': own.key, 'ca.crt': ca }
  const shown = readmeYaml('The gRPC port decides about access')
  const used = shown.replace(/filename: (\S+)/g, (_, file: string) => `filename: ${files[file]}`)
  authz.transport_socket = parse(used).transport_socket
}
