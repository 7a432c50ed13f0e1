import type { Verdict } from './oracle.ts'

type Counts = Verdict['counts']
const COLUMNS = [
  'requests',
  'allowed',
  'observed',
  'refused',
  'by Envoy',
  'no answer',
  'lines',
  'given up',
  'undelivered',
  'no line',
]
const TOP = 3

export interface Row {
  readonly dependency: string
  readonly fault: string
  readonly verdict: Verdict
}

/** What came of every cell, as text: one row each, and the sums. */
export function table(rows: readonly Row[]): string {
  const heads = ['dependency', 'fault', ...COLUMNS, 'most refused as']
  const body = rows.map(({ dependency, fault, verdict: { counts } }) => [
    dependency,
    fault,
    ...numbers(counts).map(String),
    top(counts.refused),
  ])
  const sums = COLUMNS.map((_, column) =>
    String(rows.reduce((sum, { verdict }) => sum + (numbers(verdict.counts)[column] as number), 0)),
  )
  const all = [heads, ...body, ['all', `${rows.length} cells`, ...sums, '']]
  const widths = heads.map((_, column) => Math.max(...all.map(cells => (cells[column] as string).length)))
  const lines = all.map(cells =>
    cells
      .map((cell, column) =>
        column < 2 || column === heads.length - 1
          ? cell.padEnd(widths[column] as number)
          : cell.padStart(widths[column] as number),
      )
      .join('  ')
      .trimEnd(),
  )
  const violations = rows.flatMap(({ verdict }) => verdict.violations)
  return `\n${lines.join('\n')}\n\nviolations: ${violations.length}\n`
}

function numbers(counts: Counts): number[] {
  const { requests, allowed, observed, refused, byEnvoy, unanswered, lines, givenUp, undelivered, unlogged } =
    counts
  const ours = Object.values(refused).reduce((sum, count) => sum + count, 0)
  return [requests, allowed, observed, ours, byEnvoy, unanswered, lines, givenUp, undelivered, unlogged]
}

function top(refused: Counts['refused']): string {
  return Object.entries(refused)
    .sort(([, a], [, b]) => b - a)
    .slice(0, TOP)
    .map(([reason, count]) => `${reason} ${count}`)
    .join(', ')
}
