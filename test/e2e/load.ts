import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { until } from '../../deploy/demo/processes.ts'

/** Requests that are on their way at any time: half of them on connections of their own, half on kept ones. */
export const LOAD = 16

export interface Answered {
  readonly status: number
  readonly body: string
  /** How many requests had begun before it. */
  readonly turn: number
  /** What the upstream was given, where it was asked. */
  readonly decisionId?: string
  readonly requestId?: string
  readonly agent?: string
}

export interface Load {
  readonly answers: Answered[]
  /** How many requests have begun. */
  begun(): number
  /** Until there are so many more answers. */
  more(answers: number): Promise<void>
  stop(): Promise<void>
  /** The TCP connections that the kept half has used. */
  keptConnections(): number
}

export const refused = (answers: readonly Answered[]) => answers.filter(({ status }) => status !== 200)

/** Clients that ask the Envoy on this port again and again, each with this token. */
export function load(port: number, token: string): Load {
  const answers: Answered[] = []
  let begun = 0
  let kept = 0
  let stopped = false
  const ask = async (agent: Agent | false): Promise<Answered> => {
    const turn = begun++
    const { promise, resolve, reject } = Promise.withResolvers<Answered>()
    const headers = { host: 'mail.example.com', authorization: `Bearer ${token}` }
    const sent = request({ host: '127.0.0.1', port, path: '/allowed', agent, headers }, response =>
      text(response).then(body => {
        if (agent && !sent.reusedSocket) kept++
        const { statusCode: status = 0 } = response
        if (status !== 200) return resolve({ status, body, turn })
        const seen = JSON.parse(body).headers
        const [decisionId, requestId] = [seen['x-authz-decision-id'], seen['x-request-id']]
        resolve({ status, body: '', turn, decisionId, requestId, agent: seen['x-agent-id'] })
      }, reject),
    )
    sent.once('error', reject).end()
    return promise
  }
  const clients = Array.from({ length: LOAD }, async (_, i) => {
    const agent = i % 2 === 0 && new Agent({ keepAlive: true, maxSockets: 1 })
    while (!stopped) answers.push(await ask(agent))
    if (agent) agent.destroy()
  })
  // A client that fails is told when the load ends.
  for (const client of clients) client.catch(() => undefined)
  return {
    answers,
    begun: () => begun,
    async more(wanted) {
      const enough = answers.length + wanted
      await until('answers', () => answers.length >= enough)
    },
    async stop() {
      stopped = true
      await Promise.all(clients)
    },
    keptConnections: () => kept,
  }
}
