import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { createClock } from './clock.ts'
import { readConfig } from './config.ts'
import { Denied } from './denied.ts'
import { createIdentify, type Finding, type Inspection } from './identify/identify.ts'
import { withPatience } from './patience.ts'
import { printable } from './printable.ts'
import { createMetrics } from './record/record.ts'
import type { Identity, Log } from './types.ts'
import { Unusable } from './unusable.ts'

/** More than any token may have, so that the size is refused by its rule. */
const MOST_READ = 64 * 1024

/** A terminal cuts a line that is longer. */
const HINT = 'paste the token, then Enter and Ctrl-D; one over 4,000 characters: --token FILE\n'

/**
 * The text of a token from a file, or from standard input (`-`), without what a paste has around it: white
 * space, and `Bearer`. At a terminal `hint` is told how first. Unusable where nothing can be read; the
 * message does not name the file, since it may be the token itself by mistake.
 */
export async function readToken(
  file: string,
  stdin: Readable & { readonly isTTY?: boolean },
  hint: (text: string) => void,
): Promise<string> {
  if (file === '-' && stdin.isTTY) hint(HINT)
  let text = ''
  try {
    const source = file === '-' ? stdin : createReadStream(file)
    source.setEncoding('utf8')
    for await (const piece of source) {
      text += piece
      if (text.length > MOST_READ) break
    }
  } catch (error) {
    const what = file === '-' ? 'standard input' : 'the file of --token, which is not for the token itself'
    throw new Unusable(`cannot read ${what} (${(error as NodeJS.ErrnoException).code})`)
  }
  const token = text.trim().replace(/^(?:authorization:\s*)?bearer\s+/i, '')
  if (token === '') throw new Unusable('there is no token on standard input, nor a --token FILE with one')
  return token
}

export interface Inspected {
  readonly outcome: 'accepted' | 'refused'
  readonly text: string
}

/**
 * What would be made of a token under a configuration, on a route without settings of its own: every rule
 * with what it finds, and the identity. Never the token, and no claim of one that is refused. Fetches keys,
 * reads no policy. Unusable where the configuration or a key file cannot be read.
 */
export async function inspect(configFile: string, token: string, log: Log): Promise<Inspected> {
  const clock = createClock()
  const { issuers, mode, identity, authorization } = readConfig(configFile)
  const room = createIdentify(issuers, { clock, log, events: createMetrics('') })
  try {
    room.start()
    const route = { mode, identity, authorization, source: 'token' } as const
    const { findings, verdict } = await withPatience(clock, deadline => room.inspect(token, route, deadline))
    return {
      outcome: verdict instanceof Denied ? 'refused' : 'accepted',
      text: tell(findings, verdict, clock() / 1000),
    }
  } finally {
    room.close()
  }
}

function tell(findings: readonly Finding[], verdict: Inspection['verdict'], now: number): string {
  const rules = findings.map(({ rule, section, found }) => [rule, wordsFor(found), section])
  if (verdict instanceof Denied) return [wordsFor(verdict), ...aligned(rules), ''].join('\n')
  return ['accepted', ...aligned(rules), '', ...aligned(identityTold(verdict, now)), ''].join('\n')
}

function wordsFor(found: Finding['found']): string {
  if (!(found instanceof Denied)) return found
  return ['refused', found.reason, found.detail].filter(Boolean).join(': ')
}

function identityTold(identity: Identity, now: number): string[][] {
  const { issuer, delegator, agent, actorSource, priorActors, scopes, clientId, headers } = identity
  const left = Math.floor(identity.expiresAt - now)
  return [
    ['issuer', issuer],
    ['delegator', delegator ?? 'nobody'],
    ['agent', agent ? `${agent.sub} (${actorSource})` : 'nobody'],
    ['prior actors', priorActors.map(({ sub }) => sub).join(', ') || 'none'],
    ['depth', `${priorActors.length + (agent ? 1 : 0)}`],
    ['scopes', scopes.join(' ') || 'none'],
    ['client', clientId ?? 'none'],
    ['expires', left > 0 ? `in ${left} s` : `${-left} s ago, which clock_skew allows`],
    ...headers.map(([name, value], i) => [i === 0 ? 'headers' : '', `${name}: ${value}`]),
  ].map(row => row.map(printable))
}

/** One line for each row, its columns under one another. */
function aligned(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map(row => row[i]?.length ?? 0)))
  return rows.map(row =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
