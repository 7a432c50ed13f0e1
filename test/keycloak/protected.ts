import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createProcesses, until } from '../../deploy/demo/processes.ts'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { buildBundle, echo, patient, type Stack, startStack } from '../e2e/stack.ts'
import { startKeycloak } from './keycloak.ts'
import { type Realm, TOOLS } from './realm.ts'

/** What became of one request. */
export interface Outcome {
  readonly status: number
  /** The reason that the client read; absent where it was let through. */
  readonly error?: string
  /** How many requests reached the upstream. */
  readonly reached: number
  /** The trusted headers that the upstream read, but for the decision id. */
  readonly trusted: Readonly<Record<string, unknown>>
  /** What policy saw of the caller. */
  readonly seen?: Readonly<Record<string, unknown>>
  /** Its line in the decision log. */
  readonly record: Readonly<Record<string, unknown>>
}

export interface Protected extends Stack {
  /** Sends a token through Envoy. */
  ask(token: string | undefined): Promise<Outcome>
}

/** A Keycloak in a folder of its own, and how to end it. */
export async function startIssuers() {
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-keycloak-'))
  const processes = createProcesses(folder)
  const stop = async () => {
    await processes.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    return { keycloak: await startKeycloak(processes), processes, folder, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Envoy and agent-authz, which believes these realms. */
export async function protectBy(
  folder: string,
  realms: readonly { readonly realm: Realm; readonly settings?: object }[],
): Promise<Protected> {
  const bundle = join(folder, 'bundle.tar.gz')
  buildBundle(readFileSync(join(import.meta.dirname, 'policy.rego'), 'utf8'), bundle)
  const stack = await startStack({
    // A busy machine is no reason to refuse: Keycloak takes half of it.
    envoy: config => patient(config),
    service(config) {
      config.listen.check_timeout = '4s'
      config.policy.bundle = bundle
      config.issuers = realms.map(({ realm: { name, issuer }, settings }) => ({
        name,
        issuer,
        profile: 'keycloak',
        // The clients too, as many a configuration has it: then the audience does not tell an ID token from others.
        audiences: [TOOLS, 'console', 'gateway'],
        required: true,
        ...settings,
      }))
    },
  })

  async function ask(token = ''): Promise<Outcome> {
    const before = await stack.envoy.stat('cluster.upstream.upstream_rq_total')
    const answer = await stack.call('/tools', { token })
    const { status } = answer
    const headers = status === 200 ? echo(answer).headers : {}
    const id = headers['x-authz-decision-id'] ?? answer.headers['x-authz-decision-id']
    const record = await until('the decision log', () =>
      stack.decisions().find(line => line.decision_id === id),
    )
    const seen = headers['x-seen-by-policy']
    return {
      status,
      ...(status !== 200 && { error: JSON.parse(answer.body).error }),
      reached: (await stack.envoy.stat('cluster.upstream.upstream_rq_total')) - before,
      trusted: Object.fromEntries(
        TRUSTED_HEADERS.filter(name => name in headers && name !== 'x-authz-decision-id').map(name => [
          name,
          headers[name],
        ]),
      ),
      ...(typeof seen === 'string' && { seen: JSON.parse(seen) }),
      record,
    }
  }

  return { ...stack, ask }
}
