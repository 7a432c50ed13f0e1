import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { readNamedFile } from '../named-file.ts'
import { isObject, type Json } from '../types.ts'
import { Unusable } from '../unusable.ts'

const canary = z.strictObject({
  name: z.string().min(1),
  entrypoint: z.string().optional(),
  input: z.json(),
  expect: z.json(),
})
const canaries = z.union([z.array(canary), canary.transform(one => [one])])

export type Canary = z.infer<typeof canary>

/** The cases of a folder: every `*.json`, one case or a list each. */
export function readCanaries(folder: string): Canary[] {
  return listed(folder).flatMap(name => {
    try {
      return canaries.parse(JSON.parse(readNamedFile(join(folder, name)).toString()))
    } catch {
      throw new Unusable(
        `policy.canaries: ${join(folder, name)} is not {name, input, expect}, or a list of these`,
      )
    }
  })
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter(name => name.endsWith('.json'))
      .toSorted()
  } catch (error) {
    throw new Unusable(`policy.canaries: cannot read ${folder} (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** The cases that a bundle brings along in `data._canary`. */
export function ownCanaries(cases: Json = []): Canary[] {
  const { success, data } = canaries.safeParse(cases)
  if (!success) throw new Unusable('its data._canary is not a list of {name, input, expect}')
  return data
}

/** Asks a candidate every case. Unusable, naming the first whose result is not what it must be. */
export function runCanaries(
  cases: readonly Canary[],
  entrypoint: string,
  evaluate: (input: ArrayBuffer, entrypoint: string) => unknown,
): void {
  for (const { name, entrypoint: own = entrypoint, input, expect } of cases) {
    let result: unknown
    try {
      const set = evaluate(new TextEncoder().encode(JSON.stringify(input)).buffer, own) as { result: Json }[]
      result = set[0]?.result
    } catch {
      throw new Unusable(`the canary "${name}" ended in an error`)
    }
    if (!isSubset(expect, result)) throw new Unusable(`the canary "${name}" does not get what it expects`)
  }
}

/** Objects may have more keys than wanted; everything else is equal. */
function isSubset(wanted: unknown, got: unknown): boolean {
  if (!isObject(wanted)) return isDeepStrictEqual(wanted, got)
  return isObject(got) && Object.entries(wanted).every(([key, value]) => isSubset(value, got[key]))
}
