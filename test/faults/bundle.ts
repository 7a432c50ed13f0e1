import { closeSync, mkdirSync, openSync, rmdirSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { until } from '../../deploy/demo/processes.ts'
import { replaceFile } from '../unit/replace-file.ts'
import type { Cell, Fault } from './cells.ts'
import { bundleOf, type Revision } from './parts.ts'
import { AFTER, BEFORE, FRESH, KNOWN } from './requests.ts'
import type { Scene } from './scene.ts'

const PIECES = 4

/** The bundle that is there now was looked at, and is not taken. */
async function notTaken(scene: Scene, spoil: () => void): Promise<void> {
  const refused = async () =>
    (await scene.parts.samples()).get('agent_authz_policy_loads_total{outcome="error"}')
  const before = (await refused()) ?? 0
  spoil()
  await until('the bundle to be looked at', async () => ((await refused()) ?? 0) > before)
  await Promise.all([scene.everyKind(), scene.letsThrough(KNOWN, FRESH)])
}

async function taken(scene: Scene, revision: Revision): Promise<void> {
  scene.revisions.push(revision)
  await scene.letsThrough(revision === 'second' ? AFTER : BEFORE)
}

export const bundleCells: Record<Fault, Cell> = {
  async slow(scene) {
    const next = bundleOf('second')
    const file = openSync(scene.parts.bundle, 'w')
    try {
      for (let piece = 0; piece < PIECES; piece++) {
        const from = Math.floor((next.length * piece) / PIECES)
        const to = Math.floor((next.length * (piece + 1)) / PIECES)
        const whole = piece + 1 === PIECES
        if (!whole) await notTaken(scene, () => void writeSync(file, next.subarray(from, to)))
        else writeSync(file, next.subarray(from, to))
      }
    } finally {
      closeSync(file)
    }
    await taken(scene, 'second')
    await scene.everyKind()
    return {}
  },
  async error(scene) {
    const { bundle } = scene.parts
    await notTaken(scene, () => {
      rmSync(bundle)
      mkdirSync(bundle)
    })
    rmdirSync(bundle)
    return {}
  },
  async garbage(scene) {
    const { bundle } = scene.parts
    const other = bundleOf('first')
    for (const spoilt of [
      Buffer.from('no bundle at all'),
      other.subarray(0, other.length - 64),
      Buffer.alloc(0),
    ])
      await notTaken(scene, () => writeFileSync(bundle, spoilt))
    return {}
  },
  async gone(scene) {
    await notTaken(scene, () => rmSync(scene.parts.bundle))
    return {}
  },
  async back(scene) {
    const { bundle } = scene.parts
    replaceFile(bundle, bundleOf('third'))
    await taken(scene, 'third')
    await scene.everyKind()
    return {}
  },
}
