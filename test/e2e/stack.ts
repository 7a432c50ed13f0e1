import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Answer, type Sent, send } from '../../deploy/demo/client.ts'
import type { Wanted } from '../../deploy/demo/issuer.ts'
import { type Edits, FREE_PORTS, type Parts, startParts } from '../../deploy/demo/parts.ts'
import type { Echo } from '../../deploy/demo/upstream.ts'
import { compile } from '../unit/decide/compile.ts'
import { replaceFile } from '../unit/replace-file.ts'
import { records } from '../unit/whole-lines.ts'

export const ALICE: Wanted = {
  sub: 'alice@example.com',
  act: ['mail-summary'],
  aud: 'https://mail.example.com',
}

export const JSON_TYPE: [name: string, value: string] = ['content-type', 'application/json']

export interface Call extends Partial<Sent> {
  /** Sent as Bearer; absent: none. */
  readonly token?: string
}

export interface Stack extends Parts {
  readonly folder: string
  readonly bundle: string
  call(path: string, call?: Call): Promise<Answer>
  /** The call, with a token of alice's mail-summary agent. */
  asAlice(path: string, call?: Call): Promise<Answer>
  decisions(): Record<string, unknown>[]
}

/** All parts on free ports, with the policy of these tests, in a folder of their own. */
export async function startStack(edits: Edits = {}): Promise<Stack> {
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-e2e-'))
  const bundle = join(folder, 'bundle.tar.gz')
  buildBundle(readFileSync(join(import.meta.dirname, 'policy.rego'), 'utf8'), bundle)
  const parts = await startParts(folder, FREE_PORTS, {
    ...edits,
    service(config) {
      config.policy = { bundle, entrypoint: 'envoy/authz/result', reasons: ['not_today'] }
      edits.service?.(config)
    },
  })
  const call = (path: string, { token, headers = [], ...sent }: Call = {}) =>
    send(parts.envoy.port, {
      method: 'GET',
      host: 'mail.example.com',
      path,
      ...sent,
      headers: token === undefined ? headers : [['authorization', `Bearer ${token}`], ...headers],
    })
  return {
    ...parts,
    folder,
    bundle,
    call,
    asAlice: async (path, sent = {}) => call(path, { token: await parts.issuer.mint(ALICE), ...sent }),
    decisions: () => records(parts.decisionLog),
    async stop() {
      await parts.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Compiled by the real `opa`. */
export function buildBundle(rego: string, to: string, entrypoint = 'envoy/authz/result'): void {
  replaceFile(to, compile(rego, { entrypoints: [entrypoint] }))
}

/**
 * Envoy's configuration with this timeout, and time for its health checks: where no test is about time, what is late is
 * late because two cores are few.
 */
export function patient(config: string, timeout = '6s'): string {
  return config.replaceAll('0.25s', timeout).replace('timeout: 0.5s', 'timeout: 5s')
}

/** What the upstream received. */
export function echo(answer: Answer): Echo {
  if (answer.status !== 200) throw new Error(`no answer of the upstream: ${answer.status} ${answer.body}`)
  return JSON.parse(answer.body)
}
