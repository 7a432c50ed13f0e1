import type { z } from 'zod'
import { nearest } from './nearest.ts'

type Issue = z.core.$ZodIssue

/**
 * What is wrong with a setting, in words: its place, what it must be, and for an unknown key the nearest that
 * `schema` (JSON Schema) knows.
 */
export function problemsOf(issue: Issue, schema: object): string[] {
  const place = placeOf(issue.path)
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = keysAt(schema as JsonSchema, issue.path)
      return issue.keys.map(
        key => `${placeOf([...issue.path, key])}: unknown key; did you mean ${nearest(key, known)}?`,
      )
    }
    case 'invalid_type':
      return [
        issue.message.endsWith('received undefined') ? `${place}: is required` : `${place}: ${plain(issue)}`,
      ]
    case 'invalid_union': {
      // The branch that went furthest is the one that was meant.
      const [meant = []] = [...issue.errors].sort((a, b) => depth(b) - depth(a))
      if (depth(meant) === 0) return [`${place}: expected ${issue.errors.flat().map(expected).join(' or ')}`]
      return meant.flatMap(inner => problemsOf({ ...inner, path: [...issue.path, ...inner.path] }, schema))
    }
    case 'too_small':
      return [`${place}: ${issue.origin === 'array' && issue.minimum === 1 ? 'is empty' : plain(issue)}`]
    default:
      return [`${place}: ${plain(issue)}`]
  }
}

/** The library's own words without their preamble. */
function plain({ message }: Issue): string {
  return message.replace(/^(?:Invalid (?:input|option)|Too (?:small|big)): /, '')
}

function placeOf(path: readonly PropertyKey[]): string {
  const place = path.reduce<string>(
    (text, key) =>
      typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`,
    '',
  )
  return place === '' ? 'configuration' : place
}

function expected(issue: Issue): string {
  return plain(issue)
    .replace(/^expected /, '')
    .replace(/, received \w+$/, '')
}

function depth(issues: readonly Issue[]): number {
  return Math.max(...issues.map(({ path, code }) => path.length + (code === 'unrecognized_keys' ? 1 : 0)))
}

interface JsonSchema {
  readonly properties?: Record<string, JsonSchema>
  readonly items?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
}

function keysAt(schema: JsonSchema, path: readonly PropertyKey[]): string[] {
  const branches = schema.anyOf ?? [schema]
  const [step, ...rest] = path
  if (step === undefined) return branches.flatMap(({ properties }) => Object.keys(properties ?? {}))
  return branches.flatMap(({ properties, items }) => {
    const next = typeof step === 'number' ? items : properties?.[String(step)]
    return next ? keysAt(next, rest) : []
  })
}
