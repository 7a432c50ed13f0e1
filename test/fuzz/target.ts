import fc from 'fast-check'

/** What a target did with inputs so far. */
export interface Tally {
  inputs: number
  accepted: number
}

/** An input with which something did not hold, as small as it could be made. */
export interface Finding {
  readonly target: string
  /** With this seed it is among the first inputs. */
  readonly seed: number
  readonly problem: string
  readonly input: unknown
  /** A row for `file`, but for its name and its answer. */
  readonly vector: object
  readonly file: string
}

export interface Target {
  readonly name: string
  /** The least share of inputs that it accepts: one that only ever refuses tests little. */
  readonly least: number
  /** Runs so many inputs, all chosen by the seed. */
  run(count: number, seed: number, tally: Tally): Finding | undefined
}

/** How many inputs have one seed: so many are run again to see a finding once more. */
export const INPUTS_PER_SEED = 500

/**
 * `accepts` throws where a property does not hold, and else says whether the input was accepted. `shown` and
 * `vector` are what a finding is told by.
 */
export function createTarget<Input>({
  inputs,
  accepts,
  shown,
  vector,
  ...target
}: {
  name: string
  least: number
  /** Of `test/vectors/`, where a finding belongs. */
  file: string
  inputs: fc.Arbitrary<Input>
  accepts: (input: Input) => boolean
  shown: (input: Input) => unknown
  vector: (input: Input) => object
}): Target {
  return {
    name: target.name,
    least: target.least,
    run(count, seed, tally) {
      const property = fc.property(inputs, input => {
        if (accepts(input)) tally.accepted++
        tally.inputs++
      })
      const { failed, counterexample, errorInstance } = fc.check(property, { seed, numRuns: count })
      if (!failed) return undefined
      const [input] = counterexample as [Input]
      return {
        target: target.name,
        seed,
        problem: errorInstance instanceof Error ? errorInstance.message : String(errorInstance),
        input: shown(input),
        vector: vector(input),
        file: `test/vectors/${target.file}`,
      }
    },
  }
}
