import { Denied } from '../denied.ts'
import type { JsonObject } from '../types.ts'
import type { HeaderRule } from './rule.ts'
import type { IssuerSettings } from './settings.ts'

/**
 * What the header must satisfy before any key is looked for. Keys that it carries or points to (`jwk`, `jku`,
 * `x5u`, `x5c`, `x5t`) mean nothing: RFC 8725, section 3.10.
 */
export const HEADER_RULES: readonly HeaderRule[] = [
  {
    name: 'critical',
    section: 'RFC 7515, 4.1.11; RFC 7797, 6',
    check(header) {
      if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64'))
        throw new Denied('token_critical_header')
    },
  },
  {
    name: 'algorithm',
    section: 'RFC 7515, 4.1.1; BCP 225, 3.1 and 3.2',
    check({ alg }, { algorithms }) {
      if (!algorithms.some(accepted => accepted === alg)) throw new Denied('token_algorithm')
    },
  },
  {
    name: 'type',
    section: 'RFC 7515, 4.1.9; RFC 9068, 4; BCP 225, 3.11',
    check({ typ }, { types }) {
      if (typeof typ !== 'string' || !types.some(type => mediaType(type) === mediaType(typ)))
        throw new Denied('token_type')
    },
  },
  {
    name: 'kid',
    section: 'RFC 7515, 4.1.4; BCP 225, 3.10',
    check({ kid }) {
      if (kid !== undefined && typeof kid !== 'string') throw new Denied('token_malformed', 'kid')
    },
  },
  {
    // That somebody could encrypt it does not say who wrote it.
    name: 'not encrypted',
    section: 'RFC 7516, 9; BCP 225, 2.1',
    check(header) {
      if (Object.hasOwn(header, 'enc'))
        throw new Denied('token_malformed', 'the header of an encrypted token')
    },
  },
]

/** Refuses by the first of HEADER_RULES that does not hold; gives what a key is chosen by. */
export function checkHeader(
  header: JsonObject,
  issuer: IssuerSettings,
): { alg: string; kid: string | undefined } {
  for (const { check } of HEADER_RULES) check(header, issuer)
  const { alg, kid } = header as { alg: string; kid?: string }
  return { alg, kid }
}

/** RFC 7515, section 4.1.9: `application/` may be left out; case does not count. */
export function mediaType(typ: string): string {
  const type = typ.toLowerCase()
  return type.includes('/') ? type : `application/${type}`
}
