import type { Cell, Fault } from './cells.ts'
import type { Excuse } from './oracle.ts'
import { DATED, FRESH, KNOWN } from './requests.ts'
import type { Scene } from './scene.ts'

const HOUR = 60 * 60_000
const DAY = 24 * HOUR

/** For what is dated by the clocks of others, where the machine is so slow that ours falls behind by the skew. */
const BEHIND: Excuse = { token: ['token_not_yet_valid'], early: true }

async function everyKindAt(scene: Scene, shown: number): Promise<void> {
  const { clock } = scene.parts
  // Some are on their way when it is set.
  const during = scene.everyKind()
  await clock.set({ shown })
  await during
  await scene.everyKind()
  await scene.letsThrough(DATED)
  await clock.set({ shown: Date.now() })
  await scene.everyKind()
}

/** By our clock the keys are over a day old, and nobody is there to read them from. */
async function everyKindOfOldKeys(scene: Scene): Promise<void> {
  const { clock } = scene.parts
  const { issuer } = scene.subjects
  await clock.set({ shown: Date.now() + 2 * DAY })
  await scene.letsThrough(DATED)
  await issuer.gone()
  // They were read in the future now, and must not serve until then.
  await clock.set({ shown: Date.now() })
  await scene.everyKind()
  await clock.set({ shown: Date.now() + 1.5 * DAY })
  issuer.publish()
  issuer.forget()
  await scene.everyKind()
  issuer.publish(issuer.first)
  await issuer.back()
  await scene.letsThrough(DATED)
  await clock.set({ shown: Date.now() })
}

async function everyKindAtRate(scene: Scene, rate: number): Promise<Excuse> {
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
    await everyKindOfOldKeys(scene)
    return { token: ['token_expired', 'keys_unavailable'], early: true }
  },
  async garbage(scene) {
    for (const shown of [DAY, Date.now() - DAY]) await everyKindAt(scene, shown)
    return { token: ['token_not_yet_valid'], early: true }
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
