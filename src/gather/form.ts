import type { Denied } from '../denied.ts'
import { MOST_FIELDS, MOST_NAMES } from './bounds.ts'

/**
 * `a=1&a=2&b` as lists by name; `+` is a space. Refused are a `;`, since readers differ on whether it
 * separates, and what is beyond `bounds.ts`.
 */
export function parseForm(text: string, refusal: () => Denied): { [name: string]: string[] } {
  const form: { [name: string]: string[] } = Object.create(null)
  if (text.includes(';')) throw refusal()
  const fields = text.split('&', MOST_FIELDS + 1)
  if (fields.length > MOST_FIELDS) throw refusal()
  let names = 0
  for (const field of fields) {
    if (field === '') continue
    const equals = field.indexOf('=')
    const [name, value] = equals < 0 ? [field, ''] : [field.slice(0, equals), field.slice(equals + 1)]
    const key = decoded(name.replaceAll('+', ' '), refusal)
    const values = form[key] ?? []
    if (values.length === 0 && ++names > MOST_NAMES) throw refusal()
    values.push(decoded(value.replaceAll('+', ' '), refusal))
    form[key] = values
  }
  return form
}

/** Percent-decoded to UTF-8; `+` is left. */
export function decoded(text: string, refusal: () => Denied): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refusal()
  }
}
