import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { told } from './findings.ts'
import { INPUTS_PER_SEED, type Target } from './target.ts'

/** The same inputs at every run, so that what was red is red again; `make fuzz` tries others. */
const FIRST_SEED = 1
const INPUTS = Number(process.env.FUZZ_INPUTS ?? 100_000)

/** FUZZ_INPUTS says how many inputs each target gets. */
export function fuzzed(target: Target): void {
  describe(target.name, () => {
    // No limit: how long it takes says nothing.
    it(`is as it must be for ${INPUTS} inputs, many of which it accepts`, { timeout: 0 }, async () => {
      const tally = { inputs: 0, accepted: 0 }
      for (let seed = FIRST_SEED; tally.inputs < INPUTS; seed++) {
        const count = Math.min(INPUTS_PER_SEED, INPUTS - tally.inputs)
        const finding = target.run(count, seed, tally)
        if (finding) expect.fail(told(finding))
        // The worker answers the test runner in between.
        await turn()
      }
      expect(tally.accepted / tally.inputs).toBeGreaterThan(target.least)
    })
  })
}
