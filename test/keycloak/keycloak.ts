import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { ok, type Processes, type Started, until } from '../../deploy/demo/processes.ts'
import { listen } from '../../deploy/demo/upstream.ts'

const ROOT = join(import.meta.dirname, '../..')
const ADMIN = 'admin'
/** 15 s, a minute for the first start, which builds it; much longer where the machine is busy. */
const START_CAP_MS = 300_000

export interface Keycloak {
  readonly url: string
  readonly port: number
  readonly process: Started
  /** A request to the admin API below `/admin/realms`; gives what was answered, and throws unless it went well. */
  admin(method: string, path: string, body?: object): Promise<unknown>
}

/** A real Keycloak with an empty database in memory, on loopback; port 0: any free one. Stopped with `processes`. */
export async function startKeycloak(processes: Processes, port = 0): Promise<Keycloak> {
  const taken = port === 0 ? await freePort() : port
  const url = `http://127.0.0.1:${taken}`
  const started = processes.start('keycloak', 'env', [
    ...[`KC_BOOTSTRAP_ADMIN_USERNAME=${ADMIN}`, `KC_BOOTSTRAP_ADMIN_PASSWORD=${ADMIN}`],
    // It does not live long enough for the second compiler, which takes as long as all the rest.
    'JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1',
    ...[join(home(), 'bin/kc.sh'), 'start-dev', '--db=dev-mem'],
    ...['--http-host=127.0.0.1', `--http-port=${taken}`],
  ])
  await up(started, `${url}/realms/master/.well-known/openid-configuration`)

  const signIn = async () => {
    const fields = { grant_type: 'password', client_id: 'admin-cli', username: ADMIN, password: ADMIN }
    return (await postForm(`${url}/realms/master/protocol/openid-connect/token`, fields)).access_token
  }
  let token = await signIn()
  async function admin(method: string, path: string, body?: object): Promise<unknown> {
    const answer = await fetch(`${url}/admin/realms${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }
  // Longer than any test, for one sign-in is enough then: it is slow, as it must be with passwords.
  await admin('PUT', '/master', { accessTokenLifespan: 3600 })
  token = await signIn()

  return { url, port: taken, process: started, admin }
}

/** What a form is answered with; throws unless it went well. */
export async function postForm(
  url: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Record<string, string>> {
  const answer = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(fields) })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text}`)
  return text === '' ? {} : JSON.parse(text)
}

function home(): string {
  const versions = readFileSync(join(ROOT, 'deploy/setup/versions'), 'utf8')
  const folder = join(ROOT, '.tools', `keycloak-${/^KEYCLOAK=(\S+)/m.exec(versions)?.[1]}`)
  if (!existsSync(folder)) throw new Error(`${folder} is missing: run make test-keycloak`)
  return folder
}

async function up(started: Started, page: string): Promise<void> {
  try {
    await until(
      'Keycloak to come up',
      () => {
        if (!started.running()) throw new Error('Keycloak has ended')
        return ok(page)
      },
      START_CAP_MS,
    )
  } catch (error) {
    await started.stop()
    const lines = started.output().trimEnd().split('\n').slice(-15)
    throw new Error([`${(error as Error).message}; its last lines:`, ...lines].join('\n  '))
  }
}

/** Free a moment ago: Keycloak does not tell which one it took. */
async function freePort(): Promise<number> {
  const server = await listen(createServer(), 0)
  await server.close()
  return server.port
}
