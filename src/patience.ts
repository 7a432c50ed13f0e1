import { Denied } from './denied.ts'
import type { Clock, Deadline } from './types.ts'

const PATIENCE_MS = 10_000

/** Work for a person, who waits longer than Envoy: keys may have to be fetched first. */
export async function withPatience<Result>(
  clock: Clock,
  work: (deadline: Deadline) => Result | Promise<Result>,
): Promise<Result> {
  const patience = new AbortController()
  const timer = setTimeout(() => patience.abort(new Denied('deadline')), PATIENCE_MS)
  try {
    return await work({
      at: clock() + PATIENCE_MS,
      cancelled: () => patience.signal.aborted,
      signal: () => patience.signal,
    })
  } finally {
    clearTimeout(timer)
  }
}
