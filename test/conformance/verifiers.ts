import { compactVerify, type JWK } from 'jose'
import { Denied, type Reason } from '../../src/denied.ts'
import { readCompact } from '../../src/identify/compact.ts'
import { HEADER_RULES } from '../../src/identify/header.ts'
import { chooseKey, readKeySet } from '../../src/identify/keys/key-set.ts'
import { issuerSettings } from '../../src/identify/settings.ts'
import { checkSignature } from '../../src/identify/signature.ts'
import type { JsonObject } from '../../src/types.ts'
import { settings } from '../unit/identify/issuer.ts'

/** No vector has a typ, which an access token must have: this rule alone is left aside. */
const LEFT_ASIDE = 'type'
const RULES = HEADER_RULES.filter(({ name }) => name !== LEFT_ASIDE)
if (RULES.length !== HEADER_RULES.length - 1) throw new Error(`no header rule is called ${LEFT_ASIDE}`)

/** The most that an operator can allow. */
const LOOSEST = settings({ algorithms: issuerSettings.shape.algorithms.unwrap().element.options })

/** Why this service refuses a token, whatever its payload says; undefined where its signature is good. */
export async function refusalOf(token: string, keys: object): Promise<Reason | undefined> {
  try {
    const header = headerOf(token)
    for (const { check } of RULES) check(header, LOOSEST)
    const { alg, kid } = header as { alg: string; kid: string | undefined }
    const key = chooseKey(readKeySet(keys), alg, kid)
    if (!key) return 'key_unknown'
    await checkSignature(token, key, alg)
    return undefined
  } catch (thrown) {
    if (thrown instanceof Denied) return thrown.reason
    throw thrown
  }
}

/** The payloads are no claims: each is read where any bytes may stand, an empty one nowhere, `{}` in its place. */
function headerOf(token: string): JsonObject {
  const [header, payload, signature, ...more] = token.split('.')
  if (signature === undefined || more.length > 0) return readCompact(token).header
  if (payload !== '') readCompact(`${header}.e30.${payload}`)
  return readCompact(`${header}.e30.${signature}`).header
}

/** Whether jose by itself takes this token, with the first key of its kid. */
export function joseAccepts(token: string, keys: object): Promise<boolean> {
  const { keys: published } = keys as { keys: JWK[] }
  return compactVerify(token, ({ kid }) => published.find(key => key.kid === kid) ?? {}).then(
    () => true,
    () => false,
  )
}
