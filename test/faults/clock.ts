import type { Cell, Fault } from './cells.ts'
import type { Leave } from './oracle.ts'
import { DATED, FRESH, KNOWN } from './requests.ts'
import type { Scene } from './scene.ts'

const HOUR = 60 * 60_000
const DAY = 24 * HOUR

/** For what is dated by the clocks of others, where the machine is so slow that ours falls behind by the skew. */
const BEHIND: Leave = { token: ['token_not_yet_valid'] }

async function everyKindAt(scene: Scene, shown: number): Promise<void> {
  const { clock } = scene.parts
  // Some are on their way when it is set.
  const during = scene.everyKind()
  await clock.set({ shown })
  await during
  await scene.everyKind()
  await scene.letsThrough(DATED)
  await clock.set({ shown: Date.now() })
}

async function everyKindAtRate(scene: Scene, rate: number): Promise<Leave> {
  await scene.parts.clock.set({ rate })
  await scene.everyKind()
  await scene.letsThrough(KNOWN, DATED)
  await scene.everyKind()
  return BEHIND
}

export const clockCells: Record<Fault, Cell> = {
  slow: scene => everyKindAtRate(scene, 0.1),
  async error(scene) {
    // After two days the keys are too old as well, until they are read again.
    for (const ahead of [HOUR, 2 * DAY]) await everyKindAt(scene, Date.now() + ahead)
    return { token: ['token_expired', 'keys_unavailable'] }
  },
  async garbage(scene) {
    for (const shown of [DAY, Date.now() - DAY]) await everyKindAt(scene, shown)
    return { token: ['token_not_yet_valid'] }
  },
  gone: scene => everyKindAtRate(scene, 0),
  async back(scene) {
    const during = scene.everyKind()
    await scene.parts.clock.set({ shown: Date.now() })
    await during
    await scene.everyKind()
    await scene.letsThrough(KNOWN, FRESH, DATED)
    return BEHIND
  },
}
