import type { Excuse } from './oracle.ts'
import type { Scene } from './scene.ts'

export const FAULTS = ['slow', 'error', 'garbage', 'gone', 'back'] as const
export type Fault = (typeof FAULTS)[number]

/** How long a check may take. */
export const CHECK_TIMEOUT_MS = 1_500

/** Breaks its part, sends requests while it is broken, and says what that excuses. */
export type Cell = (scene: Scene) => Promise<Excuse>

/** One dependency of the service and how it can break; in order, since each goes on where the one before ended. */
export interface Dependency {
  readonly name: string
  readonly onFull: 'refuse' | 'drop'
  readonly cells: Readonly<Record<Fault, Cell>>
}
