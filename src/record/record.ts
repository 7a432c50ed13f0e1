import { z } from 'zod'
import type { Clock, Log, Reply, Trail } from '../types.ts'
import { auditRecord } from './audit.ts'
import { createLineLog, type LineLog } from './line-log.ts'
import type { Metrics } from './metrics.ts'
import { printableJson } from './printable-json.ts'

export { createMetrics, type Metrics } from './metrics.ts'
export { unblocked } from './unblocked.ts'

export const decisionLogSettings = z
  .union([
    z.literal('none'),
    z.strictObject({
      file: z.string().min(1).optional().describe('Where the lines go; absent: standard output.'),
      on_full: z
        .enum(['refuse', 'drop'])
        .default('refuse')
        .describe('When no more lines can be kept: answer 503 log_full, or count the line as dropped.'),
    }),
  ])
  .default({ on_full: 'refuse' })
  .describe('One JSON object a line for every answer; none: no decision log.')

export type DecisionLogSettings = z.infer<typeof decisionLogSettings>

export interface RecordRoom {
  /** False: a line would be lost, and the settings say that then nothing is allowed. */
  hasRoom(): boolean
  /** The audit line and the metrics of one answer: both, or neither where it throws. */
  record(trail: Trail, reply: Reply): void
  /**
   * Whether these settings want their lines where this record writes them, or still writes them after
   * `close`; then it takes lines again. Only one may write to a place: another would cut its lines.
   */
  resume(settings: DecisionLogSettings): boolean
  /** From now on, when no more lines can be kept. */
  onFull(settings: DecisionLogSettings): void
  /** Of the lines that are not written yet. */
  pendingBytes(): number
  /** Opens the file anew by its name, for log rotation. */
  reopen(): void
  /** Waits until all is written, for at most `patience` ms, and says whether it is. May be asked again. */
  close(patience: number): Promise<boolean>
}

/** Where every answer leaves its trace: one line in the decision log and a count in the metrics. */
export function createRecord(
  settings: DecisionLogSettings,
  { clock, log, metrics }: { clock: Clock; log: Log; metrics: Metrics },
): RecordRoom {
  const file = settings === 'none' ? undefined : settings.file
  const refusing = (by: DecisionLogSettings) => by !== 'none' && by.on_full === 'refuse'
  let refuses = refusing(settings)
  const lines: LineLog | undefined =
    settings === 'none'
      ? undefined
      : createLineLog(file, {
          writeFailed(code) {
            metrics.logFailed()
            log.error(
              { file, code },
              'the decision log cannot be written; lines are kept until there is no room',
            )
          },
          recovered: () => log.info({ file }, 'the decision log is written again'),
          reopenFailed(message) {
            metrics.logFailed()
            log.error({ file }, `${message}; lines go on to the file that was open before`)
          },
        })
  let dropping = false
  /** Goes up with each `close` and `resume`: of what is left only the last close tells. */
  let turn = 0

  return {
    resume(next) {
      const goesOn = isSamePlace(settings, next) && (lines?.resume() ?? true)
      if (goesOn) turn++
      return goesOn
    },
    hasRoom: () => !refuses || (lines?.hasRoom() ?? true),
    record(trail, reply) {
      const finishedAt = clock()
      // Before anything is counted: what fails here is told in another record.
      const line = lines && printableJson(JSON.stringify(auditRecord(trail, reply, finishedAt)))
      metrics.answered(trail, finishedAt)
      if (!lines || line === undefined) return
      const kept = lines.append(line)
      if (!kept) metrics.logDropped()
      if (!kept && !dropping) log.error({ file }, 'the decision log is full; answers leave no line')
      dropping = !kept
    },
    onFull(by) {
      refuses = refusing(by)
    },
    pendingBytes: () => lines?.pendingBytes() ?? 0,
    reopen: () => lines?.reopen(),
    async close(patience) {
      const own = ++turn
      const left = (await lines?.close(patience)) ?? 0
      if (left > 0 && own === turn)
        log.error({ file, bytes: left }, 'the end of the decision log is not written')
      return left === 0
    },
  }
}

function isSamePlace(one: DecisionLogSettings, other: DecisionLogSettings): boolean {
  return one === 'none' || other === 'none' ? one === other : one.file === other.file
}
