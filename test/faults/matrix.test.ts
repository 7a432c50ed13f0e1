import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundleCells } from './bundle.ts'
import { type Dependency, FAULTS } from './cells.ts'
import { clockCells } from './clock.ts'
import { diskCells } from './disk.ts'
import { envoyCells } from './envoy.ts'
import type { FaultyIssuer } from './faulty-issuer.ts'
import { issuerCells } from './issuer.ts'
import { type Parts, startParts } from './parts.ts'
import { stage } from './scene.ts'
import { type Row, table } from './table.ts'

const DEPENDENCIES: readonly Dependency[] = [
  { name: 'issuer', onFull: 'refuse', cells: issuerCells },
  { name: 'disk, on_full refuse', onFull: 'refuse', cells: diskCells },
  { name: 'disk, on_full drop', onFull: 'drop', cells: diskCells },
  { name: 'bundle', onFull: 'refuse', cells: bundleCells },
  { name: 'clock', onFull: 'refuse', cells: clockCells },
  { name: 'Envoy', onFull: 'refuse', cells: envoyCells },
]

const rows: Row[] = []
afterAll(() => void process.stdout.write(table(rows)))

describe.each(DEPENDENCIES)('$name', ({ name, onFull, cells }) => {
  let parts: Parts
  let on: ReturnType<typeof stage>
  beforeAll(async () => {
    parts = await startParts(FAULTS, onFull)
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

  it('has lost no line at its end', async () => {
    await parts.service.stop()
    expect(parts.log.read().lines).toHaveLength(on.lines())
  })
})
