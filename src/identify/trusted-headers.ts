import { Denied } from '../denied.ts'
import type { Field, Identity } from '../types.ts'

const LONGEST = 512

/** The configured name of an issuer that is one of ours. */
export type IssuerName = (iss: string) => string | undefined

/**
 * The trusted headers of an identity. Every byte outside visible ASCII, and `%` and `,`, is percent-encoded,
 * so that two subjects never give one header; a header over 512 bytes is refused. An issuer that is none of
 * ours must be a URI (RFC 7519, section 2: it has a colon), so that none can pass for a configured name.
 */
export function trustedHeaders(
  { issuer, delegator, agent, priorActors }: Pick<Identity, 'issuer' | 'delegator' | 'agent' | 'priorActors'>,
  issuerName: IssuerName,
): Field[] {
  const headers: Field[] = []
  if (delegator !== undefined)
    headers.push(['x-delegator-id', encoded(delegator)], ['x-delegator-issuer', encoded(issuer)])
  if (agent) {
    const name = issuerName(agent.iss)
    if (name === undefined && !agent.iss.includes(':')) throw new Denied('actor_invalid', 'iss is no URI')
    headers.push(['x-agent-id', encoded(agent.sub)], ['x-agent-issuer', encoded(name ?? agent.iss)])
  }
  if (priorActors.length > 0)
    headers.push(['x-agent-chain', priorActors.map(({ sub }) => encoded(sub)).join(',')])
  if (headers.some(([, value]) => value.length > LONGEST)) throw new Denied('header_too_large')
  return headers
}

function encoded(text: string): string {
  return Buffer.from(text)
    .toString('latin1')
    .replace(
      /[^\x21-\x7e]|[%,]/g,
      byte => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    )
}
