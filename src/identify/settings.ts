import { z } from 'zod'
import { duration } from '../duration.ts'

const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const

/**
 * https, or http to this machine: keys that come over a network that others can write to are anybody's keys.
 */
export function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, username, password } = new URL(text)
  if (username !== '' || password !== '') return false
  const loopback = hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
  return protocol === 'https:' || (protocol === 'http:' && loopback)
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

// When zod compares settings with one another: also where a single one is wrong, so that all problems are
// told at once.
const isObject = ({ value }: { value: unknown }) => typeof value === 'object' && value !== null
const isArray = ({ value }: { value: unknown }) => Array.isArray(value)

const TRUSTWORTHY_URL = 'an https URL without credentials, or http on loopback'

export const issuerSettings = z
  .strictObject({
    name: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
        'a name such as corp: at most 64 letters, digits, dots, hyphens and underscores',
      )
      .describe('What this issuer is called in headers, metrics and input.identity.issuer.'),
    issuer: z.string().min(1).describe('The iss of its tokens, compared exactly.'),
    jwks_uri: z
      .string()
      .refine(isTrustworthyUrl, TRUSTWORTHY_URL)
      .optional()
      .describe('Where its keys are; without this and jwks_file: by OIDC discovery.'),
    jwks_file: z.string().min(1).optional().describe('A file with its keys, read again when it is replaced.'),
    ca_file: z
      .string()
      .min(1)
      .optional()
      .describe('A PEM file with the CA of its server, in place of the public ones.'),
    proxy: z
      .string()
      .refine(isHttpUrl, 'a URL such as http://proxy.example.com:3128')
      .optional()
      .describe('The proxy towards it, never for plain http; without this: HTTPS_PROXY and NO_PROXY.'),
    audiences: z.array(z.string().min(1)).min(1).describe('One of these must stand in the token’s aud.'),
    algorithms: z
      .array(z.enum(ALGORITHMS))
      .min(1)
      .default(['RS256', 'ES256'])
      .describe('The alg values that are accepted; asymmetric only.'),
    profile: z
      .enum(['rfc8693', 'keycloak', 'okta', 'auth0', 'entra'])
      .default('rfc8693')
      .describe('How this kind of issuer writes who acts for whom.'),
    jwt_authn_payload: z
      .string()
      .min(1)
      .optional()
      .describe('The payload_in_metadata of Envoy’s jwt_authn, for routes whose source that is.'),
    types: z
      .array(z.string().min(1))
      .min(1)
      .default(['at+jwt', 'JWT'])
      .describe('The typ values that are accepted, compared as RFC 7515 says.'),
    clients: z.array(z.string().min(1)).default([]).describe('The client ids that are accepted; empty: any.'),
    required_claims: z.array(z.string().min(1)).default([]).describe('Claims that must be there.'),
    max_lifetime: duration.prefault('15m').describe('The longest time from iat to exp.'),
    clock_skew: duration.prefault('30s').describe('How far clocks may differ.'),
    max_depth: z
      .int()
      .min(1)
      .max(16)
      .default(4)
      .describe('The most actors in a chain, the current one included.'),
    require_agent: z.boolean().default(true).describe('A token in which nobody acts is refused.'),
    require_delegator: z.boolean().default(true).describe('A token without a delegator is refused.'),
    required: z.boolean().default(false).describe('Not ready before this issuer has keys.'),
  })
  .refine(given => given.jwks_uri === undefined || given.jwks_file === undefined, {
    path: ['jwks_file'],
    message: 'either jwks_uri or jwks_file',
    when: isObject,
  })
  .refine(given => Boolean(given.jwks_uri ?? given.jwks_file) || isTrustworthyUrl(given.issuer), {
    path: ['issuer'],
    message: `for discovery: ${TRUSTWORTHY_URL}`,
    when: ({ value }) => isObject({ value }) && typeof (value as { issuer?: unknown }).issuer === 'string',
  })

export const issuersSettings = z
  .array(issuerSettings)
  .min(1)
  .refine(issuers => unique(issuers.map(issuer => issuer?.name)), {
    message: 'two issuers have the same name',
    when: isArray,
  })
  .refine(issuers => unique(issuers.map(issuer => issuer?.issuer)), {
    message: 'two entries are for the same issuer',
    when: isArray,
  })
  .refine(issuers => unique(issuers.map(issuer => issuer?.jwt_authn_payload)), {
    message: 'two issuers have the same jwt_authn_payload',
    when: isArray,
  })
  .describe('Who may say who acts for whom.')

export type IssuerSettings = z.infer<typeof issuerSettings>

function unique(values: readonly unknown[]): boolean {
  const given = values.filter(value => value !== undefined)
  return new Set(given).size === given.length
}
