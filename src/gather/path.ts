import { Denied } from '../denied.ts'
import { decoded, parseForm } from './form.ts'

/**
 * Path and query as opa-envoy-plugin gives them to policy: the whole path is percent-decoded, its leading
 * slashes dropped, then split on `/`; the query is form-decoded. Dot segments stay. Refuses (`path_invalid`)
 * what does not decode to UTF-8.
 */
export function parsePath(target: string): {
  parsedPath: string[]
  parsedQuery: { [name: string]: string[] }
} {
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  return {
    parsedPath: decoded(path, () => new Denied('path_invalid', 'percent-encoding'))
      .replace(/^\/+/, '')
      .split('/'),
    parsedQuery: mark < 0 ? {} : parseForm(target.slice(mark + 1), () => new Denied('path_invalid', 'query')),
  }
}
