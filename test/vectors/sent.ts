import { encodeRequest } from '../unit/listen/wire/oracle.ts'
import { checkRequest, type HttpRequest } from './envoy.ts'
import { compact, GOOD_CLAIMS, type Parts, signed } from './token.ts'
import { over, type Vector } from './vector.ts'

/** The bytes that Envoy asks with in a vector, and what of them nobody may be told. */
export function sent({ request, token }: Vector): { bytes: Buffer; secrets: string[] } {
  const parts = token && mint(token)
  const fill = (text: string) => (parts ? filled(text, parts) : text)
  const shown = token ? fill(token.text ?? '$TOKEN') : undefined
  const secrets = shown === undefined || !parts ? [] : [shown, parts.payload, parts.signature]
  return {
    bytes: messageOf(request, shown === undefined ? undefined : `Bearer ${shown}`, fill, token?.claims),
    // What is shorter may stand anywhere.
    secrets: secrets.filter(secret => secret.length >= 16),
  }
}

function mint(token: NonNullable<Vector['token']>): Parts {
  const { header, claims, payload = JSON.stringify(claims), key = 'corp' } = token
  const text = typeof payload === 'string' ? replaced(payload, token.replace_in_payload) : bytesOf(payload)
  return signed(replaced(JSON.stringify(header), token.replace_in_header), text, key)
}

function replaced(text: string, replacements: Readonly<Record<string, string>> = {}): string {
  return Object.entries(replacements).reduce((changed, [old, next]) => {
    const parts = changed.split(old)
    if (parts.length !== 2) throw new Error(`${old} is not there exactly once`)
    return parts.join(next)
  }, text)
}

function filled(text: string, parts: Parts): string {
  return text
    .replaceAll('$TOKEN', compact(parts))
    .replaceAll('$HEADER', parts.header)
    .replaceAll('$PAYLOAD', parts.payload)
    .replaceAll('$SIGNATURE', parts.signature)
}

function messageOf(
  request: Vector['request'],
  bearer: string | undefined,
  fill: (text: string) => string,
  claims: Record<string, unknown> = GOOD_CLAIMS,
): Buffer {
  const { message, method = 'GET', host = 'mail.example.com', body, source } = request
  if (message) return 'attributes' in message ? encodeRequest(message) : bytesOf(message)
  return checkRequest({
    method,
    host,
    path: fill(request.path ?? '/v1/folders/inbox/messages'),
    ...headersOf(request, bearer, fill),
    body: body === undefined ? undefined : fill(body),
    rawBody: request.raw_body === undefined ? undefined : bytesOf(request.raw_body),
    source,
    route: request.route as Record<string, string> | undefined,
    jwtAuthn: request.jwt_authn ? writtenBy(request.jwt_authn, claims) : undefined,
  })
}

function writtenBy(
  payloads: NonNullable<Vector['request']['jwt_authn']>,
  claims: Record<string, unknown>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(payloads).map(([name, payload]) => [
      name,
      typeof payload === 'string' ? payload : over(claims, payload ?? {}),
    ]),
  )
}

/** In the form that the vector uses; a request that says nothing has a map. */
function headersOf(
  { headers = {}, header_map: list, more_headers: more = 0 }: Vector['request'],
  bearer: string | undefined,
  fill: (text: string) => string,
): Pick<HttpRequest, 'headers' | 'headerMap'> {
  const map = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, fill(value as string)]),
  )
  const raw = list?.map(
    ([name, value]) => [name, typeof value === 'string' ? Buffer.from(fill(value)) : bytesOf(value)] as const,
  )
  const names = [...Object.keys(map), ...(list ?? []).map(([name]) => name)].map(name => name.toLowerCase())
  const added: [string, string][] = Array.from({ length: more }, (_, i) => [`x-more-${i}`, ''])
  if (bearer !== undefined && !names.includes('authorization')) added.push(['authorization', bearer])
  if (!raw) return { headers: { ...map, ...Object.fromEntries(added) } }
  return {
    headers: Object.keys(map).length > 0 ? map : undefined,
    headerMap: [...raw, ...added.map(([name, value]) => [name, Buffer.from(value)] as const)],
  }
}

function bytesOf(value: string | { base64: string }): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.base64, 'base64')
}
