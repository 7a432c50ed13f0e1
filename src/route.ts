import { Denied } from './denied.ts'
import type { RouteSettings } from './types.ts'

const PREFIX = 'agent_authz_'

/** Every key that a route may set, each with the values it may take. */
const KEYS: Readonly<Record<string, Readonly<Record<string, Partial<RouteSettings>>>>> = {
  agent_authz_mode: { enforce: { mode: 'enforce' }, observe: { mode: 'observe' } },
  agent_authz_identity: { required: { identity: 'required' }, optional: { identity: 'optional' } },
  agent_authz_require_agent: { true: { requireAgent: true }, false: { requireAgent: false } },
  agent_authz_source: { token: { source: 'token' }, jwt_authn: { source: 'jwt_authn' } },
  agent_authz_authorization: { remove: { authorization: 'remove' }, keep: { authorization: 'keep' } },
}

/**
 * The settings of one route: the service's own, with what Envoy's `context_extensions` say over them, looser
 * or stricter. A route that insists on an agent refuses a request without a token too. An `agent_authz_*` key
 * or value that is not known is a refusal (`route_invalid`), since a misspelt rule must not silently be no
 * rule.
 */
export function routeSettings(
  defaults: RouteSettings,
  contextExtensions: { readonly [key: string]: string },
): RouteSettings {
  let settings = defaults
  for (const [key, value] of Object.entries(contextExtensions)) {
    if (!key.startsWith(PREFIX)) continue
    const values = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined
    if (values === undefined || !Object.hasOwn(values, value)) throw new Denied('route_invalid')
    settings = { ...settings, ...values[value] }
  }
  return settings.requireAgent === true ? { ...settings, identity: 'required' } : settings
}
