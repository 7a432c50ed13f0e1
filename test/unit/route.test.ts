import { describe, expect, it } from 'vitest'
import { routeSettings } from '../../src/route.ts'
import type { RouteSettings } from '../../src/types.ts'

const defaults: RouteSettings = {
  mode: 'enforce',
  identity: 'required',
  authorization: 'remove',
  source: 'token',
}

describe('the settings of a route', () => {
  it('are the service’s own where the route says nothing', () => {
    expect(routeSettings(defaults, { team: 'blue' })).toEqual(defaults)
  })

  it('may be looser or stricter', () => {
    expect(
      routeSettings(defaults, { agent_authz_mode: 'observe', agent_authz_identity: 'optional' }),
    ).toEqual({
      mode: 'observe',
      identity: 'optional',
      authorization: 'remove',
      source: 'token',
    })
    expect(routeSettings({ ...defaults, mode: 'observe' }, { agent_authz_mode: 'enforce' }).mode).toBe(
      'enforce',
    )
  })

  it('take tokens from elsewhere only where they say so', () => {
    expect(routeSettings(defaults, { agent_authz_source: 'jwt_authn' })).toEqual({
      ...defaults,
      source: 'jwt_authn',
    })
    const elsewhere: RouteSettings = { ...defaults, source: 'jwt_authn' }
    expect(routeSettings(elsewhere, { agent_authz_source: 'token' })).toEqual(defaults)
    for (const extensions of [{ source: 'jwt_authn' }, { 'envoy.filters.http.jwt_authn': 'corp' }])
      expect(routeSettings(defaults, extensions).source).toBe('token')
  })

  it('want a token where they want an agent, whatever else is said', () => {
    const wanted = { agent_authz_require_agent: 'true', agent_authz_identity: 'optional' }
    expect(routeSettings(defaults, wanted)).toMatchObject({ requireAgent: true, identity: 'required' })
    expect(routeSettings(defaults, { agent_authz_require_agent: 'false' }).requireAgent).toBe(false)
  })

  it.each([
    [{ agent_authz_mod: 'observe' }],
    [{ agent_authz_mode: 'Observe' }],
    [{ agent_authz_mode: '' }],
    [{ agent_authz_: 'x' }],
    [{ agent_authz_mode: 'toString' }],
    [{ agent_authz_require_agent: 'yes' }],
    [{ agent_authz_authorization: 'forward' }],
    [{ agent_authz_source: 'jwt-authn' }],
    [{ agent_authz_source: 'JWT_AUTHN' }],
    [{ agent_authz_source: 'envoy.filters.http.jwt_authn' }],
    [{ agent_authz_source: '' }],
    [{ agent_authz_jwt_authn: 'true' }],
  ])('refuse %j, since a misspelt rule must not be no rule', extensions => {
    expect(() => routeSettings(defaults, extensions)).toThrow(
      expect.objectContaining({ reason: 'route_invalid' }),
    )
  })
})
