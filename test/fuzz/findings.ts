import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Finding } from './target.ts'

const FOLDER = join(import.meta.dirname, 'findings')

/** To a file of its own; gives its path. */
export function save(finding: Finding): string {
  const text = JSON.stringify(finding, undefined, 2)
  const hash = createHash('sha256').update(JSON.stringify(finding.input)).digest('hex').slice(0, 12)
  mkdirSync(FOLDER, { recursive: true })
  const file = join(FOLDER, `${finding.target}-${hash}.json`)
  writeFileSync(file, `${text}\n`)
  return relative(process.cwd(), file)
}

/** What was found, and what comes next. */
export function told({ target, seed, problem, input, vector, file }: Finding): string {
  return `${target}, seed ${seed}: ${problem}

input   ${JSON.stringify(input)}
vector  ${JSON.stringify(vector)}

To see it again: make fuzz ARGS='--target ${target} --seed ${seed}'
Once it is mended, add the vector to ${file}, with a name and its answer, so that it stays so.
`
}
