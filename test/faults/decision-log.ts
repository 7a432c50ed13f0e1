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

export interface Written {
  readonly lines: readonly Line[]
  /** What is no whole line of ours, and not `FOREIGN` either. */
  readonly damaged: readonly string[]
}

export interface DecisionLog {
  readonly file: string
  /** Everything that was ever written, in order. */
  read(): Written
  /**
   * Lines go on elsewhere from here; what was the file so far is read there now. `cut`: its last line may be half
   * there, and stands whole where they go on.
   */
  continues(before: () => string, cut?: 'cut'): void
}

/** What somebody else writes into the log; a line of ours may stand behind it. */
export const FOREIGN = 'half a line of somebody else '

/** The decision log over all the files that it was written to. */
export function decisionLog(file: string): DecisionLog {
  const before: (() => Written)[] = []
  const current = parsed(() => {
    // To read a pipe that nobody writes would hold us up for ever.
    const isFile = statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
    return isFile ? wholeLines(readFileSync(file, 'utf8')) : ''
  })
  return {
    file,
    read() {
      const parts = [...before, current].map(part => part())
      return {
        lines: parts.flatMap(({ lines }) => lines),
        damaged: parts.flatMap(({ damaged }) => damaged),
      }
    },
    continues(part, cut) {
      before.push(parsed(cut ? () => wholeLines(part()) : part))
    },
  }
}

/** Parsed where it has changed: a log that was full once takes long, and holds up what we answer meanwhile. */
function parsed(part: () => string): () => Written {
  let known = { text: '', written: parse('') }
  return () => {
    const text = part()
    if (text !== known.text) known = { text, written: parse(text) }
    return known.written
  }
}

const wholeLines = (text: string) => text.slice(0, text.lastIndexOf('\n') + 1)

function parse(text: string): Written {
  const lines: Line[] = []
  const damaged: string[] = []
  for (const line of text.split('\n')) {
    const own = line.replaceAll(FOREIGN, '')
    if (own === '') continue
    try {
      lines.push(JSON.parse(own))
    } catch {
      damaged.push(own)
    }
  }
  return { lines, damaged }
}
