import { MOST_PARAMETERS } from './bounds.ts'

/** `value` in lower case, parameter names too. */
export interface Parameterised {
  readonly value: string
  readonly parameters: ReadonlyMap<string, string>
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]"
const PARAMETER = new RegExp(`[ \\t]*;[ \\t]*(?:(${TOKEN}+)=(?:"([^"\\\\]*)"|(${TOKEN}*)))?[ \\t]*`, 'y')

/**
 * A field value such as `form-data; name="a"` (RFC 9110, section 5.6.6). Undefined where readers differ: a
 * name that comes twice, an extended one (`name*`, RFC 8187), a backslash in quotes, or anything left over;
 * also with more than 32 parameters, empty ones included.
 */
export function parseParameters(field: string): Parameterised | undefined {
  const [value = ''] = field.split(';', 1)
  const parameters = new Map<string, string>()
  const parameter = new RegExp(PARAMETER)
  parameter.lastIndex = value.length
  for (let count = 0; parameter.lastIndex < field.length; count++) {
    const match = parameter.exec(field)
    if (!match || count >= MOST_PARAMETERS) return undefined
    const [, name, quoted, token] = match
    if (name === undefined) continue
    const key = name.toLowerCase()
    if (key.includes('*') || parameters.has(key)) return undefined
    parameters.set(key, quoted ?? token ?? '')
  }
  return { value: value.trim().toLowerCase(), parameters }
}
