import { renameSync, writeFileSync } from 'node:fs'

/** At once, as a deployment does it: nobody ever reads half of it. */
export function replaceFile(file: string, content: string | Buffer): void {
  writeFileSync(`${file}.next`, content)
  renameSync(`${file}.next`, file)
}
