import { createServer } from 'node:http'
import { listen } from '../../deploy/demo/upstream.ts'

/** A request that was let through, as the upstream saw it. */
export interface Arrival {
  readonly headers: { readonly [name: string]: string | readonly string[] }
}

export interface RecordingUpstream {
  readonly port: number
  /** What came of the request with this mark. */
  arrivals(mark: number): readonly Arrival[]
  close(): Promise<void>
}

/** The mark of a request is the second part of its path, so that every line of the log has it too. */
export const markOf = (path: string | undefined): number =>
  Number(/^\/[a-z-]+\/(\d+)/.exec(path ?? '')?.[1] ?? Number.NaN)

/** Keeps what reaches it, whether the answer reaches anybody or not. */
export async function startRecordingUpstream(): Promise<RecordingUpstream> {
  const seen = new Map<number, Arrival[]>()
  const bound = await listen(
    // An idle connection that were closed as Envoy sends the next request would be a 503 of Envoy's own.
    createServer({ keepAliveTimeout: 0 }, (request, response) => {
      const headers = Object.fromEntries(
        Object.entries(request.headersDistinct).map(([name, values = []]) => [
          name,
          values.length === 1 ? (values[0] as string) : values,
        ]),
      )
      const mark = markOf(request.url)
      seen.set(mark, [...(seen.get(mark) ?? []), { headers }])
      request.resume()
      response.writeHead(200, { 'x-upstream': 'reached' }).end()
    }),
    0,
  )
  return { ...bound, arrivals: mark => seen.get(mark) ?? [] }
}
