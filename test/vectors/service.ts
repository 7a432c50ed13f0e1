import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createEngine, type Engine } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import { decodeCheckRequest } from '../../src/listen/wire/check-request.ts'
import { type AuditRecord, auditRecord } from '../../src/record/audit.ts'
import { createMetrics } from '../../src/record/record.ts'
import type { Deadline, Reply, Trail } from '../../src/types.ts'

export interface Answer {
  readonly reply: Reply
  /** As their lines in the decision log say it; one for every answer. */
  readonly records: readonly AuditRecord[]
  /** What went to the service log meanwhile. */
  readonly logged: readonly unknown[]
}

/** What a check meets beside its request. */
export interface Circumstances {
  /** Milliseconds since the epoch. */
  readonly now: number
  /** The deadline is over when the check begins. */
  readonly late?: boolean
  /** The decision log has no room. */
  readonly full?: boolean
}

export interface Service {
  /** The revision of the policy in force. */
  readonly revision: string
  /** Asks with the bytes of a CheckRequest. */
  ask(bytes: Buffer, circumstances: Circumstances): Promise<Answer>
  close(): void
}

const ROOT = join(import.meta.dirname, '../..')
export const SAMPLES = join(ROOT, 'policies/build/bundle.tar.gz')

/** One folder for what the services of a test file read. */
export function createWorld() {
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-vectors-'))
  const metrics = createMetrics('test')
  const engines: Engine[] = []
  let files = 0

  return {
    /** The path of a new file with this content. */
    write(content: string | Buffer): string {
      const file = join(folder, String(files++))
      writeFileSync(file, content)
      return file
    },

    /** The rooms of `serve` under this configuration, the listener and the log's file left out. */
    async start(configuration: object): Promise<Service> {
      const config = readConfig(this.write(JSON.stringify({ decision_log: 'none', ...configuration })))
      let circumstances: Circumstances = { now: 0 }
      let records: AuditRecord[] = []
      let logged: unknown[] = []
      const note = (fields: object, message: string) => logged.push({ ...fields, message })
      const clock = () => circumstances.now
      const record = {
        hasRoom: () => !circumstances.full,
        record: (trail: Trail, reply: Reply) => {
          records.push(JSON.parse(JSON.stringify(auditRecord(trail, reply, clock()))))
        },
      }
      const log = { info: note, warn: note, error: note }
      const engine = await createEngine(config, { clock, log, metrics, record })
      engines.push(engine)
      return {
        revision: engine.decide.status().revision,
        async ask(bytes, these) {
          circumstances = these
          records = []
          logged = []
          const deadline: Deadline = {
            at: these.late ? these.now - 1 : Number.POSITIVE_INFINITY,
            cancelled: () => false,
            signal: () => new AbortController().signal,
          }
          return { reply: await engine.check(() => decodeCheckRequest(bytes), deadline), records, logged }
        },
        close: () => engine.close(),
      }
    },

    close(): void {
      for (const engine of engines) engine.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
