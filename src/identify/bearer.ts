import { Denied } from '../denied.ts'
import type { HeldRequest } from '../types.ts'
import { checkSize } from './compact.ts'

/**
 * The token of `Authorization: Bearer` (RFC 6750, section 2.1); undefined without one, another scheme
 * included. Several headers, or several joined by a comma as proxies do, are refused: two readers could take
 * different ones. The token itself is not looked at.
 */
export function bearerToken(request: HeldRequest): string | undefined {
  const values = request.header('authorization')
  if (values.length > 1) throw new Denied('authorization_repeated')
  const value = values[0] ?? ''
  if (!/(?:^|,)\s*bearer(?:[\s,]|$)/i.test(value)) return undefined
  if (value.includes(',')) throw new Denied('authorization_repeated')
  checkSize(value.slice('Bearer '.length))
  const token = /^bearer +(\S+)$/i.exec(value)?.[1]
  if (token === undefined) throw new Denied('token_malformed', 'no token after Bearer')
  return token
}
