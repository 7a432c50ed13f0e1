import { Denied } from '../../denied.ts'
import type { Json } from '../../types.ts'
import type { ClaimRule } from '../rule.ts'

/** OAuth entity profiles (draft): words such as `user` or `ai_agent` for what a token is about. */
export function saysNoUser(profile: Json | undefined): boolean {
  return profile !== undefined && !(typeof profile === 'string' && profile.split(' ').includes('user'))
}

/**
 * For issuers whose access tokens all name their client, and whose ID tokens do not: those may have the same
 * audience and no other mark.
 */
export function namesItsClient(names: readonly string[]): ClaimRule {
  return {
    name: 'a client is named',
    section: 'RFC 9068, 2.2; BCP 225, 3.12',
    check(claims) {
      if (names.every(name => claims[name] === undefined))
        throw new Denied('token_type', 'no access token: it names no client')
    },
  }
}
