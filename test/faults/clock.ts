import type { Cell, Fault } from './cells.ts'
import { DATED, FRESH, KNOWN } from './requests.ts'
import type { Scene } from './scene.ts'

const HOUR = 60 * 60_000
const DAY = 24 * HOUR

async function everyKindAt(scene: Scene, shown: number): Promise<void> {
  const { clock } = scene.parts
  const before = clock.now()
  // Some are on their way when it is set.
  const during = scene.everyKind()
  await clock.set({ shown })
  await during
  await scene.everyKind()
  await scene.letsThrough(DATED)
  await clock.set({ shown: before })
}

export const clockCells: Record<Fault, Cell> = {
  async slow(scene) {
    await scene.parts.clock.set({ rate: 0.1 })
    await scene.everyKind()
    await scene.letsThrough(KNOWN, FRESH, DATED)
    await scene.everyKind()
    return {}
  },
  async error(scene) {
    // After two days the keys are too old as well, until they are read again.
    for (const ahead of [HOUR, 2 * DAY]) await everyKindAt(scene, Date.now() + ahead)
    return { token: ['token_expired', 'keys_unavailable'] }
  },
  async garbage(scene) {
    for (const shown of [DAY, Date.now() - DAY]) await everyKindAt(scene, shown)
    return { token: ['token_not_yet_valid'] }
  },
  async gone(scene) {
    await scene.parts.clock.set({ rate: 0 })
    await scene.everyKind()
    await scene.letsThrough(KNOWN, FRESH, DATED)
    await scene.everyKind()
    return {}
  },
  async back(scene) {
    await scene.parts.clock.set({ shown: Date.now() })
    await scene.everyKind()
    await scene.letsThrough(KNOWN, FRESH, DATED)
    return {}
  },
}
