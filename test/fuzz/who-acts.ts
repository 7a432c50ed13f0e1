import type { Actor } from '../../src/types.ts'

type Claims = { readonly [name: string]: unknown }

export interface Rules {
  readonly profile: 'rfc8693' | 'keycloak' | 'okta' | 'auth0' | 'entra'
  readonly iss: string
  readonly maxDepth: number
  readonly requireDelegator: boolean
}

export interface Parties {
  readonly delegator: string | undefined
  /** The current actor first. */
  readonly actors: readonly Actor[]
  readonly source: 'act' | 'client' | 'none'
}

/**
 * Who acts for whom, as the README's table says it of each profile; undefined where that is to be refused. Of other
 * rules for claims it knows nothing.
 */
export function whoActs(
  claims: Claims,
  { profile, iss, maxDepth, requireDelegator }: Rules,
): Parties | undefined {
  const actors = Object.hasOwn(claims, 'act') ? chain(claims.act, iss) : []
  const subject = claims[profile === 'entra' ? 'oid' : 'sub']
  const known = new Set(actors?.map(({ sub, iss }) => JSON.stringify([sub, iss])))
  if (!actors || actors.length > maxDepth || known.size < actors.length) return undefined
  if (subject !== undefined && !isName(subject)) return undefined
  const [actor] = actors
  if (actor && actor.iss === iss && [subject, claims.sub].includes(actor.sub)) return undefined

  const client = CLIENTS[profile].map(name => claims[name]).find(value => value !== undefined)
  const isOwn = GOT_BY_ITSELF[profile](claims) || (isName(client) && [subject, claims.sub].includes(client))
  const delegator = isOwn ? undefined : subject
  const clientsAct = profile === 'keycloak' || profile === 'entra'
  if (delegator === undefined && (requireDelegator || (clientsAct && !isOwn))) return undefined
  if (actor) return { delegator, actors, source: 'act' }
  if (clientsAct && isName(client)) return { delegator, actors: [{ sub: client, iss }], source: 'client' }
  return { delegator, actors: [], source: 'none' }
}

const CLIENTS = {
  rfc8693: ['client_id', 'azp'],
  keycloak: ['azp'],
  okta: ['cid', 'client_id'],
  auth0: ['client_id', 'azp'],
  entra: ['azp', 'appid'],
} as const

const GOT_BY_ITSELF: { readonly [profile in Rules['profile']]: (claims: Claims) => boolean } = {
  rfc8693: () => false,
  keycloak: claims => {
    const name = isName(claims.preferred_username) ? claims.preferred_username.toLowerCase() : undefined
    if (claims.sub === undefined) return false
    if (claims.clientHost !== undefined || claims.clientAddress !== undefined) return true
    if (/^[^\n\r\u2028\u2029]{4}cc:/.test(typeof claims.jti === 'string' ? claims.jti : '')) return true
    if (name !== undefined) return name.startsWith('service-account-')
    return typeof claims.sid !== 'string' || claims.client_id !== undefined
  },
  okta: ({ uid, act, sub_profile }) =>
    sub_profile === undefined ? typeof uid !== 'string' && act === undefined : !hasWord(sub_profile, 'user'),
  auth0: ({ sub, gty, sub_profile }) =>
    (typeof sub === 'string' && /@clients$/.test(sub)) ||
    [gty].flat(Number.POSITIVE_INFINITY).includes('client-credentials') ||
    (sub_profile !== undefined && !hasWord(sub_profile, 'user')),
  entra: ({ idtyp, scp, xms_sub_fct }) =>
    (idtyp === undefined ? typeof scp !== 'string' || /^\s*\/?\s*$/.test(scp) : idtyp !== 'user') ||
    (xms_sub_fct !== undefined &&
      (typeof xms_sub_fct !== 'string' || hasWord(xms_sub_fct, '11') || hasWord(xms_sub_fct, '13'))),
}

function chain(act: unknown, iss: string): Actor[] | undefined {
  if (typeof act !== 'object' || act === null || Array.isArray(act)) return undefined
  const { sub, iss: own = iss, act: next } = act as Claims
  if (!isName(sub) || !isName(own)) return undefined
  const prior = next === undefined ? [] : chain(next, iss)
  return prior && [{ sub, iss: own }, ...prior]
}

function hasWord(value: unknown, word: string): boolean {
  return typeof value === 'string' && value.split(' ').includes(word)
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
