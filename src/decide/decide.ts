import { z } from 'zod'
import { Denied, REASONS, refusal } from '../denied.ts'
import type { CallContext, Clock, Decision, Log, PolicyRef } from '../types.ts'
import { Unusable } from '../unusable.ts'
import { watchedFile } from '../watched-file.ts'
import { readBundle } from './bundle.ts'
import { ownCanaries, readCanaries, runCanaries } from './canaries.ts'
import { policyInput } from './input.ts'
import { verdict } from './verdict.ts'
import { createProgram, type Program } from './wasm.ts'

export const policySettings = z.strictObject({
  bundle: z.string().min(1).describe('An OPA bundle, tar.gz, with policy.wasm in it.'),
  entrypoint: z
    .string()
    .regex(/^[^/]+(\/[^/]+)*$/, 'a path such as envoy/authz/result')
    .default('envoy/authz/result')
    .describe('The rule that decides, as it was named to opa build -e.'),
  canaries: z
    .string()
    .min(1)
    .optional()
    .describe('A folder of cases that a bundle must pass before it decides.'),
  reasons: z
    .array(
      z
        .string()
        .regex(/^[a-z][a-z0-9_]{0,63}$/, 'a code such as folder_not_allowed')
        .refine(
          code => !Object.hasOwn(REASONS, code) && code !== 'policy_allowed',
          'is a reason of the service itself',
        ),
    )
    .default([])
    .describe('The reason codes that policy may return; other text is kept in the log only.'),
  input: z
    .strictObject({
      credentials: z
        .boolean()
        .default(false)
        .describe('true: the authorization and cookie headers reach policy.'),
    })
    .prefault({})
    .describe('What of a request reaches policy.'),
})

export type PolicySettings = z.infer<typeof policySettings>

/** What an operator counts. */
export interface DecideEvents {
  policyLoaded(at: number): void
  policyFailed(): void
  instanceReplaced(): void
}

export interface PolicyStatus {
  readonly entrypoint: string
  readonly revision: string
  readonly digest: string
  readonly loaded_at: string
  /** Why the bundle file that is there now is not the one that decides. */
  readonly error: string | null
}

export interface DecideRoom {
  /** A policy that throws, is undefined or malformed is a refusal like any other. */
  decide(context: CallContext): Decision
  status(): PolicyStatus
  close(): void
}

interface Policy {
  readonly program: Program
  readonly ref: PolicyRef
  readonly digest: string
  readonly loadedAt: number
}

/**
 * Decides by the bundle of a file, and by its successor once that is whole, has its builtins and entry point,
 * and passes every canary. A file that does not leaves the policy before in force. Unusable when the first
 * bundle cannot be used.
 */
export async function createDecide(
  settings: PolicySettings,
  { clock, log, events }: { clock: Clock; log: Log; events: DecideEvents },
): Promise<DecideRoom> {
  const { bundle: file, entrypoint } = settings
  const reasons: ReadonlySet<string> = new Set(settings.reasons)
  const watched = watchedFile(file)
  let policy = await load()
  let error: string | null = null
  events.policyLoaded(policy.loadedAt)

  let closed = false
  let loading = Promise.resolve()
  watched.onChange(() => {
    loading = loading.then(replace)
  })

  return {
    decide(context) {
      const { program, ref } = policy
      const input = policyInput(context, settings.input)
      let result: unknown
      try {
        result = program.evaluate(input, entrypoint)
      } catch {
        events.instanceReplaced()
        return refusal(new Denied('policy_error', 'the policy threw'), ref)
      }
      return verdict(result, ref, reasons)
    },
    status: () => ({
      entrypoint,
      revision: policy.ref.revision,
      digest: policy.digest,
      loaded_at: new Date(policy.loadedAt).toISOString(),
      error,
    }),
    close() {
      closed = true
      watched.close()
    },
  }

  async function replace(): Promise<void> {
    try {
      const next = await load()
      if (closed) return
      const again = error !== null
      error = null
      if (next.digest === policy.digest) {
        if (again) log.info({ file, revision: next.ref.revision }, 'the bundle is again the one that decides')
        return
      }
      policy = next
      events.policyLoaded(next.loadedAt)
      log.info({ file, revision: next.ref.revision }, 'a new policy decides')
    } catch (thrown) {
      if (closed) return
      error = thrown instanceof Unusable ? thrown.message : 'the bundle cannot be used'
      events.policyFailed()
      log.error({ file }, `${error}; the policy before stays in force`)
    }
  }

  async function load(): Promise<Policy> {
    const configured = settings.canaries === undefined ? [] : readCanaries(settings.canaries)
    try {
      const bundle = await readBundle(file, entrypoint)
      const program = createProgram(bundle.wasm, bundle.data)
      const cases = [...configured, ...ownCanaries(bundle.canaries)]
      for (const wanted of [entrypoint, ...cases.flatMap(({ entrypoint: own }) => own ?? [])])
        if (!program.entrypoints.includes(wanted))
          throw new Unusable(`it has no entry point ${wanted}, only ${program.entrypoints.join(', ')}`)
      runCanaries(cases, entrypoint, program.evaluate)
      return {
        program,
        ref: { entrypoint, revision: bundle.revision },
        digest: bundle.digest,
        loadedAt: clock(),
      }
    } catch (thrown) {
      if (thrown instanceof Unusable)
        throw new Unusable(`policy.bundle: ${file} cannot be used: ${thrown.message}`)
      throw thrown
    }
  }
}
