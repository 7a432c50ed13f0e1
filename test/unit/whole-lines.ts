import { readFileSync } from 'node:fs'

/** The lines of a file, but for a last one that is still being written. */
export function wholeLines(file: string): string[] {
  return readFileSync(file, 'utf8').split('\n').slice(0, -1)
}

/** Those of a decision log, read. */
export function records(file: string): Record<string, unknown>[] {
  return wholeLines(file).map(line => JSON.parse(line))
}
