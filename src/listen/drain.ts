import { setTimeout as pause } from 'node:timers/promises'
import type { Server } from '@grpc/grpc-js'

/** Twice the health interval of `envoy/envoy.yaml`, so that Envoy has heard of our leaving before we leave. */
const HEARD_MS = 2_000
/** How long calls that were begun may still take before they are cut. */
export const CONNECTIONS_MS = 8_000

/**
 * Leaves in order: health first, then the connections (GOAWAY; what runs is answered), then the server, at the latest after
 * 10 s. A call that crosses the GOAWAY on its way is refused unprocessed (REFUSED_STREAM); the retry policy of
 * `envoy/envoy.yaml` asks it again elsewhere.
 */
export async function drain(server: Server, leaving: () => void): Promise<void> {
  leaving()
  await pause(HEARD_MS)
  const over = new AbortController()
  const stopped = new Promise<void>(resolve => server.tryShutdown(() => resolve()))
  const cap = pause(CONNECTIONS_MS, undefined, { signal: over.signal }).catch(() => undefined)
  await Promise.race([stopped, cap])
  over.abort()
  server.forceShutdown()
}
