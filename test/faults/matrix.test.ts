import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundleCells } from './bundle.ts'
import { type Dependency, FAULTS } from './cells.ts'
import { clockCells } from './clock.ts'
import { diskCells } from './disk.ts'
import { envoyCells } from './envoy.ts'
import type { FaultyIssuer } from './faulty-issuer.ts'
import { issuerCells } from './issuer.ts'
import { type Parts, startParts } from './parts.ts'
import { DIRECT, type Kind, WAITING } from './requests.ts'
import { type Scene, stage } from './scene.ts'
import { type Row, table } from './table.ts'

const DEPENDENCIES: readonly Dependency[] = [
  { name: 'issuer', onFull: 'refuse', cells: issuerCells },
  { name: 'disk, on_full refuse', onFull: 'refuse', cells: diskCells },
  { name: 'disk, on_full drop', onFull: 'drop', cells: diskCells },
  { name: 'bundle', onFull: 'refuse', cells: bundleCells },
  { name: 'clock', onFull: 'refuse', cells: clockCells },
  { name: 'Envoy', onFull: 'refuse', cells: envoyCells },
]

const AT_THE_END = 'end'
const rows: Row[] = []
afterAll(() => void process.stdout.write(table(rows)))

describe.each(DEPENDENCIES)('$name', ({ name, onFull, cells }) => {
  let parts: Parts
  let on: ReturnType<typeof stage>
  beforeAll(async () => {
    parts = await startParts([...FAULTS, AT_THE_END], onFull)
    on = stage(parts, onFull)
  })
  afterAll(() => parts?.stop())

  it.each(FAULTS)('%s', async fault => {
    // One for each cell, so that none begins with what the service has learned of the one before.
    const scene = await on.scene(parts.issuers.get(fault) as FaultyIssuer)
    const broken = await cells[fault](scene).catch((thrown: Error) => thrown)
    const verdict = await scene.verdict(broken instanceof Error ? {} : broken)
    rows.push({ dependency: name, fault, verdict })
    expect({ ...verdict, broken: broken instanceof Error && broken.message }).toMatchObject({
      violations: [],
      broken: false,
    })
  })

  it('loses no line at its end', async () => {
    const issuer = parts.issuers.get(AT_THE_END) as FaultyIssuer
    const scene = await on.scene(issuer)
    // What waits for keys is answered last: nothing is left then to hold up the end of the log.
    issuer.spoil(() => undefined)
    const ids = Promise.all([DIRECT, WAITING].map(kind => answersUntilItLeaves(scene, kind)))
    await parts.service.stop()
    const known = new Set(parts.log.read().lines.map(line => line.decision_id))
    for (const answered of await ids) {
      expect(answered).not.toEqual([])
      expect(answered.filter(id => !known.has(id))).toEqual([])
    }
    expect(known.size).toBeGreaterThan(on.lines())
  })
})

async function answersUntilItLeaves(scene: Scene, kind: Kind): Promise<readonly string[]> {
  const ids: string[] = []
  for (;;) {
    const { passed, answer } = await scene.ask(kind)
    if (!passed && !answer) return ids
    const id = (passed ?? answer)?.headers['x-authz-decision-id']
    if (typeof id === 'string') ids.push(id)
  }
}
