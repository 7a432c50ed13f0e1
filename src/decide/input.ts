import type { CallContext, Identity, JsonObject } from '../types.ts'

const VERSION = { ext_authz: 'v3', encoding: 'protojson', agent_authz: 1 }
const CREDENTIALS: ReadonlySet<string> = new Set(['authorization', 'cookie'])

/**
 * The `input` document as JSON text in UTF-8: what opa-envoy-plugin hands to policy, with `identity` and
 * `now` (seconds) beside it. Authorization and cookie headers are left out unless `credentials`. The body is
 * put in as it was sent.
 */
export function policyInput(context: CallContext, { credentials }: { credentials: boolean }): ArrayBuffer {
  const { request, identity, parsedPath, parsedQuery, parsedBody, truncatedBody, now } = context
  const { attributes } = request
  const principal = (attributes.source as { principal?: string } | undefined)?.principal
  const rest = JSON.stringify({
    ...(Object.keys(attributes).length > 0 && {
      attributes: credentials ? attributes : withoutCredentials(attributes),
    }),
    version: VERSION,
    parsed_path: parsedPath,
    parsed_query: parsedQuery,
    truncated_body: truncatedBody,
    ...(principal && { source_principal: principal }),
    ...(identity && { identity: identityInput(identity) }),
    now: Math.floor(now / 1000),
  })
  return new TextEncoder().encode(`${rest.slice(0, -1)},"parsed_body":${parsedBody}}`).buffer
}

/** Prior actors are not among these fields: RFC 8693, section 4.1. */
function identityInput(identity: Identity): JsonObject {
  const { issuer, iss, delegator, agent, actorSource, scopes, clientId, priorActors, claims } = identity
  return {
    issuer,
    iss,
    ...(delegator !== undefined && { delegator }),
    ...(agent && { agent: agent.sub, agent_iss: agent.iss }),
    actor_source: actorSource,
    scopes,
    ...(clientId !== undefined && { client_id: clientId }),
    depth: agent ? priorActors.length + 1 : 0,
    claims,
  }
}

interface Http extends JsonObject {
  readonly headers?: JsonObject
  readonly headerMap?: { readonly headers?: readonly { readonly key?: string }[] }
}

function withoutCredentials(attributes: JsonObject): JsonObject {
  const request = attributes.request as (JsonObject & { http?: Http }) | undefined
  if (!request?.http) return attributes
  const { headers, headerMap } = request.http
  const secret = (name: string) => CREDENTIALS.has(name.toLowerCase())
  return {
    ...attributes,
    request: {
      ...request,
      http: {
        ...request.http,
        ...(headers && {
          headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !secret(name))),
        }),
        ...(headerMap?.headers && {
          headerMap: { headers: headerMap.headers.filter(({ key = '' }) => !secret(key)) },
        }),
      },
    } as JsonObject,
  }
}
