import type { Server } from '@grpc/grpc-js'

/** Twice the health interval of `envoy/envoy.yaml`: Envoy has heard of our leaving before we leave. */
const HEARD_MS = 2_000
/** How long calls that were begun may still take before they are cut. */
export const CONNECTIONS_MS = 8_000
/** How long after that their checks may take to hear of it and to leave their records. */
const RECORDS_MS = 1_000

export interface Leaving {
  readonly address: string
  /** Says so to whoever asks. */
  leaving(): void
  /** Whoever asks has heard of it. */
  heard(): void
  ended(): Promise<unknown>
}

/**
 * Leaves in order: health first, then the connections (GOAWAY; what runs is answered), then the server, at
 * the latest after 10 s. A call that crosses the GOAWAY on its way is refused unprocessed (REFUSED_STREAM);
 * the retry policy of `envoy/envoy.yaml` asks it again elsewhere. Over when the checks have ended too, or a
 * second later.
 */
export async function drain(server: Server, { address, leaving, heard, ended }: Leaving): Promise<void> {
  leaving()
  await new Promise<void>(resolve => setTimeout(resolve, HEARD_MS))
  heard()
  // `forceShutdown` would cut nothing: where channelz is off it knows of no connection.
  server.drain(address, CONNECTIONS_MS)
  await atMost(CONNECTIONS_MS, new Promise<void>(resolve => server.tryShutdown(() => resolve())))
  await atMost(RECORDS_MS, ended())
}

async function atMost(ms: number, event: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([event, new Promise(resolve => (timer = setTimeout(resolve, ms)))])
  clearTimeout(timer)
}
