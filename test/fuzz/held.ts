import { isDeepStrictEqual } from 'node:util'
import { Denied } from '../../src/denied.ts'

/** A property that does not hold. */
export class Broken extends Error {}

export function hold(condition: boolean, property: string): asserts condition {
  if (!condition) throw new Broken(property)
}

/** The same as JSON, whatever prototypes and order of names; of numbers, a negative zero is another one. */
export function holdSame(given: unknown, expected: unknown, property: string): void {
  if (isDeepStrictEqual(plain(given), plain(expected))) return
  throw new Broken(`${property}: ${JSON.stringify(given)} and not ${JSON.stringify(expected)}`)
}

/** What it gives, or its refusal; whatever else is thrown is a finding. */
export function orDenied<T>(read: () => T): T | Denied {
  try {
    return read()
  } catch (thrown) {
    if (thrown instanceof Denied) return thrown
    throw new Broken(`threw ${thrown}`, { cause: thrown })
  }
}

function plain(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(plain)
  const members = Object.entries(value).filter(([, inner]) => inner !== undefined)
  return new Map(members.map(([name, inner]) => [name, plain(inner)]))
}
