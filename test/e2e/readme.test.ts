import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { certificatesIn } from '../unit/listen/certificates.ts'
import { readmeYaml } from './readme-yaml.ts'

const ROOT = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'agent-authz-readme-'))
afterAll(() => rmSync(folder, { recursive: true }))

it('shows parts for jwt_authn that Envoy takes, each in its place in envoy/envoy.yaml', () => {
  const authority = certificatesIn(folder).authority('ca').crt
  // A comment says of each part where it belongs.
  const [filter, authz, route, cluster] = readmeYaml('### Tokens that Envoy verified\n')
    .replace('/etc/ssl/certs/ca-certificates.crt', authority)
    .split(/^# .*$/m)
    .slice(1)
    .map(part => parse(part))

  const config = parse(readFileSync(join(ROOT, 'envoy/envoy.yaml'), 'utf8'))
  const { listeners, clusters } = config.static_resources
  const manager = listeners[0].filter_chains[0].filters[0].typed_config
  const [strip, extAuthz, router] = manager.http_filters
  Object.assign(extAuthz.typed_config, authz)
  manager.http_filters = [strip, ...filter, extAuthz, router]
  manager.route_config.virtual_hosts[0].routes.unshift({
    match: { path_separated_prefix: '/by-envoy' },
    route: { cluster: 'upstream' },
    ...route,
  })
  clusters.push({
    name: 'idp',
    type: 'LOGICAL_DNS',
    load_assignment: assignment('idp.example.com'),
    ...cluster,
  })

  const file = join(folder, 'envoy.yaml')
  writeFileSync(file, stringify(config))
  const envoy = process.env.ENVOY ?? join(ROOT, '.tools/bin/envoy')
  const said = execFileSync(envoy, ['--mode', 'validate', '-c', file], { encoding: 'utf8', stdio: 'pipe' })
  expect(said).toContain('OK')
})

function assignment(address: string): object {
  const endpoint = { address: { socket_address: { address, port_value: 443 } } }
  return { cluster_name: 'idp', endpoints: [{ lb_endpoints: [{ endpoint }] }] }
}
