import { readFileSync, statSync } from 'node:fs'

export interface Line {
  readonly decision_id: string
  readonly mode: string
  readonly outcome: string
  readonly enforced: boolean
  readonly reason: string
  readonly status: number
  readonly delegator?: string
  readonly path?: string
  readonly policy_revision?: string
}

export interface DecisionLog {
  readonly file: string
  /** Everything that was ever written, in order; what is no line of ours is thrown, unless it is `foreign`. */
  lines(): readonly Line[]
  /**
   * Lines go on elsewhere from here; what was the file so far is read there now. `cut`: its last line may be half
   * there, and stands whole where they go on.
   */
  continues(before: () => string, cut?: 'cut'): void
}

const BEGINNING = '{"decision_id":'

/** What somebody else writes into the log; a line of ours may stand behind it. */
export const FOREIGN = 'half a line of somebody else '

/** The decision log over all the files that it was written to. */
export function decisionLog(file: string): DecisionLog {
  const before: (() => string)[] = []
  const current = () => {
    // To read a pipe that nobody writes would hold us up for ever.
    const isFile = statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
    return isFile ? readFileSync(file, 'utf8') : ''
  }
  let read = { text: '', lines: [] as Line[] }
  return {
    file,
    lines() {
      const text = [...before, current].map(part => part()).join('')
      if (text !== read.text) read = { text, lines: text.split('\n').slice(0, -1).flatMap(lineOf) }
      return read.lines
    },
    continues: (part, cut) => void before.push(() => whole(part(), cut)),
  }
}

/** Nothing else may end in the middle of a line. */
function whole(text: string, cut?: 'cut'): string {
  const end = text.lastIndexOf('\n') + 1
  if (end === text.length || text.endsWith(FOREIGN)) return text
  if (!cut) throw new Error(`half a line of the decision log: ${text.slice(end, end + 80)}`)
  return text.slice(0, end)
}

function lineOf(text: string): Line[] {
  const own = text.replaceAll(FOREIGN, '')
  if (own === '') return []
  if (!own.startsWith(BEGINNING)) throw new Error(`no line of the decision log: ${own.slice(0, 80)}`)
  return [JSON.parse(own)]
}
