import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')

/** The first block of YAML that README shows behind these words. */
export function readmeYaml(behind: string): string {
  const [, rest] = README.split(behind)
  const block = /^```yaml\n([\s\S]*?)^```$/m.exec(rest ?? '')?.[1]
  if (block === undefined) throw new Error(`README.md shows no YAML behind "${behind}"`)
  return block
}
