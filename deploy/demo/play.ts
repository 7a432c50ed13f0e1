import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { type Answer, send } from './client.ts'
import type { Issuer, Wanted } from './issuer.ts'
import type { Parts } from './parts.ts'
import { until } from './processes.ts'
import type { Scenario } from './scenarios.ts'
import type { Echo } from './upstream.ts'

export interface Row {
  readonly scenario: Scenario
  readonly played: Played
  /** As the decision log has it; absent where Envoy did not ask. */
  readonly reason?: string
  readonly enforced: boolean
  /** What is not as wanted, in words. */
  readonly wrong: readonly string[]
}

/** Sends every scenario, one after the other, and compares answer, upstream and decision log with what is wanted. */
export async function playAll(scenarios: readonly Scenario[], parts: Parts): Promise<Row[]> {
  const played: Played[] = []
  for (const scenario of scenarios) played.push(await play(scenario, parts.envoy.port, parts.issuer))
  const log = await logOf(played, parts.decisionLog)
  return played.map(one => {
    const line = log.get(one.decisionId ?? '')
    const wrong = differences(one, line?.reason)
    return {
      scenario: one.scenario,
      played: one,
      ...(line && { reason: line.reason }),
      enforced: line?.enforced ?? true,
      wrong,
    }
  })
}

interface LogLine {
  readonly decision_id: string
  readonly reason: string
  readonly enforced: boolean
}

/** The lines of the decision log by their ids, when those of all these answers are written. */
async function logOf(played: readonly Played[], file: string): Promise<Map<string, LogLine>> {
  const wanted = played.flatMap(({ decisionId }) => decisionId ?? [])
  return until('the decision log to have every decision', () => {
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
    const log = new Map(lines.map(line => JSON.parse(line) as LogLine).map(line => [line.decision_id, line]))
    return wanted.every(id => log.has(id)) ? log : undefined
  })
}

interface Played {
  readonly scenario: Scenario
  readonly status: number
  readonly decisionId?: string
  /** The trusted headers that the upstream saw; absent: it saw no request. */
  readonly seen?: { readonly [name: string]: string }
  /** Whether the Bearer header reached the upstream. */
  readonly tokenSeen: boolean
}

/** Sends one scenario through Envoy and reads both ends: the client's answer, and what the upstream says it saw. */
async function play(scenario: Scenario, envoyPort: number, issuer: Issuer): Promise<Played> {
  const { request, token } = scenario
  const bearer = typeof token === 'object' ? await issuer.mint(token) : token
  const headers = [...(request.headers ?? [])]
  if (bearer !== undefined) headers.push(['Authorization', `Bearer ${bearer}`])
  const answer = await send(envoyPort, { ...request, headers })
  const echo = answer.status === 200 ? (JSON.parse(answer.body) as Echo) : undefined
  const seen = echo && trustedOf(echo)
  const decisionId = seen?.['x-authz-decision-id'] ?? decisionIdOf(answer)
  return {
    scenario,
    status: answer.status,
    ...(decisionId !== undefined && { decisionId }),
    ...(seen && { seen }),
    tokenSeen: echo?.headers.authorization !== undefined,
  }
}

function trustedOf(echo: Echo): { [name: string]: string } {
  return Object.fromEntries(
    TRUSTED_HEADERS.flatMap(name => {
      const value = echo.headers[name]
      return value === undefined ? [] : [[name, String(value)]]
    }),
  )
}

function decisionIdOf({ headers }: Answer): string | undefined {
  const id = headers['x-authz-decision-id']
  return typeof id === 'string' ? id : undefined
}

function differences({ scenario, status, seen, tokenSeen }: Played, reason?: string): string[] {
  const found: string[] = []
  if (status !== scenario.status) found.push(`status ${status}, wanted ${scenario.status}`)
  if (reason !== scenario.reason)
    found.push(`reason ${reason ?? 'none'}, wanted ${scenario.reason ?? 'none'}`)
  if (scenario.status !== 200) return found
  const { 'x-authz-decision-id': decisionId, ...identity } = seen ?? {}
  const { delegator, agent, chain } = scenario.trusted ?? {}
  const wanted = {
    ...(delegator !== undefined && { 'x-delegator-id': delegator, 'x-delegator-issuer': 'demo' }),
    ...(agent !== undefined && { 'x-agent-id': agent, 'x-agent-issuer': 'demo' }),
    ...(chain !== undefined && { 'x-agent-chain': chain }),
  }
  if (!isDeepStrictEqual(identity, wanted))
    found.push(`trusted headers ${JSON.stringify(identity)}, wanted ${JSON.stringify(wanted)}`)
  if ((decisionId !== undefined) !== (scenario.reason !== undefined))
    found.push(`x-authz-decision-id ${decisionId === undefined ? 'is missing' : 'came from the client'}`)
  if (tokenSeen && !scenario.keepsToken) found.push('the token reached the upstream')
  return found
}

/** Who acts for whom, as the token of the scenario says it. */
export function acting({ token, note }: Scenario): string {
  const words =
    typeof token === 'object' ? chainOf(token) : token === undefined ? 'no token' : 'a broken token'
  return note === undefined ? words : `${words} (${note})`
}

function chainOf({ sub, act = [] }: Wanted): string {
  const [agent, ...before] = act
  if (agent === undefined) return `${sub} alone`
  return `${agent}${before.length > 0 ? ` after ${before.join(', ')}` : ''} for ${sub}`
}
