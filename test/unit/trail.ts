import type { Allow, Deny, HeldRequest, Identity, Trail } from '../../src/types.ts'

/** A plain GET as Envoy would describe it, with whatever a test changes. */
export function heldRequest(
  changes: Partial<Omit<HeldRequest, 'header' | 'headerNames'>> & { headers?: Record<string, string[]> } = {},
): HeldRequest {
  const { headers = {}, ...rest } = changes
  return {
    attributes: {},
    method: 'GET',
    path: '/v1/folders/inbox/messages',
    host: 'mail.example.com',
    contextExtensions: {},
    headerNames: Object.keys(headers),
    header: name => headers[name] ?? [],
    body: () => ({ text: '', bytes: 0 }),
    assertJudgeable: () => undefined,
    ...rest,
  }
}

export const identity: Identity = {
  issuer: 'corp',
  iss: 'https://idp.example.com',
  delegator: 'alice@example.com',
  agent: { sub: 'mail-summary', iss: 'https://idp.example.com' },
  actorSource: 'act',
  requiresAgent: true,
  scopes: ['read:mail:inbox'],
  clientId: 'console',
  priorActors: [{ sub: 'planner', iss: 'https://idp.example.com' }],
  claims: { sub: 'alice@example.com' },
  tokenId: 'token-1',
  expiresAt: 2_000_000_000,
  headers: [
    ['x-delegator-id', 'alice@example.com'],
    ['x-delegator-issuer', 'corp'],
    ['x-agent-id', 'mail-summary'],
    ['x-agent-issuer', 'corp'],
    ['x-agent-chain', 'planner'],
  ],
}

export const allow: Allow = {
  outcome: 'allow',
  reason: 'policy_allowed',
  headers: [],
  responseHeaders: [],
  requestHeadersToRemove: [],
  queryToSet: [],
  queryToRemove: [],
  metadata: {},
  policy: { entrypoint: 'envoy/authz/result', revision: 'r1' },
}

export const deny: Deny = {
  outcome: 'deny',
  reason: 'policy_denied',
  status: 403,
  headers: [],
  metadata: {},
  policy: { entrypoint: 'envoy/authz/result', revision: 'r1' },
}

export function trail(changes: Partial<Trail> = {}): Trail {
  return {
    decisionId: 'd-1',
    startedAt: 1_790_000_000_123.456,
    route: { mode: 'enforce', identity: 'required', authorization: 'remove', source: 'token' },
    request: heldRequest(),
    decision: deny,
    durations: { identify: 12 },
    ...changes,
  }
}
