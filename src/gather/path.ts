import { Denied } from '../denied.ts'
import { MOST_SEGMENTS } from './bounds.ts'
import { decoded, parseForm } from './form.ts'

/**
 * Path and query as opa-envoy-plugin gives them to policy: the whole path is percent-decoded, its leading
 * slashes dropped, then split on `/`; the query is form-decoded. Dot segments stay. Refuses (`path_invalid`)
 * what does not decode to UTF-8, and what is beyond `bounds.ts`.
 */
export function parsePath(target: string): {
  parsedPath: string[]
  parsedQuery: { [name: string]: string[] }
} {
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const parsedPath = decoded(path, () => new Denied('path_invalid', 'percent-encoding'))
    .replace(/^\/+/, '')
    .split('/', MOST_SEGMENTS + 1)
  if (parsedPath.length > MOST_SEGMENTS) throw new Denied('path_invalid', 'too many segments')
  return {
    parsedPath,
    parsedQuery: mark < 0 ? {} : parseForm(target.slice(mark + 1), () => new Denied('path_invalid', 'query')),
  }
}
