import { until } from '../../deploy/demo/processes.ts'
import type { Cell, Fault } from './cells.ts'
import { isDiscovery, type Spoilt } from './faulty-issuer.ts'
import { DIRECT, FRESH, KNOWN, ROTATED } from './requests.ts'
import type { Scene } from './scene.ts'

const FIRST_RETRIES_MS = 30_000
const DRIP_MS = 50
/** More than one, since a line is written soon. */
const RELOADS = 4
const LARGE = 300 * 1024

const never: Spoilt = () => undefined
const drips: Spoilt = (_, response) => {
  response.writeHead(200)
  const drip = setInterval(() => response.write(' '), DRIP_MS)
  response.once('close', () => clearInterval(drip))
}
const fails: Spoilt = (_, response) => void response.writeHead(500).end()
const resets: Spoilt = request => void request.socket.resetAndDestroy()
const redirects: Spoilt = (_, response) => void response.writeHead(302, { location: '/elsewhere' }).end()
const html: Spoilt = (_, response) => void response.end('<html>Bad gateway</html>')
/** Discovery as it is, keys as given. */
const keys =
  (text: string): Spoilt =>
  (request, response, whole) =>
    isDiscovery(request) ? whole(request, response) : void response.end(text)

/** Keys are read until each of these answers was given once, with requests of every kind beside it. */
async function spoilt(scene: Scene, answers: readonly Spoilt[], outcomes: readonly string[]): Promise<void> {
  const { issuer } = scene.subjects
  issuer.publish(issuer.first, scene.subjects.next)
  issuer.spoil(...answers)
  await scene.everyKind()
  await until('every spoilt answer', () => issuer.fetches() >= answers.length, FIRST_RETRIES_MS)
  await Promise.all([scene.everyKind(), scene.letsThrough(KNOWN, FRESH)])
  for (const outcome of outcomes) await failed(scene, outcome)
}

/** The configuration is read again while there is always a line that waits to be written. */
async function reloaded(scene: Scene): Promise<void> {
  const loads = () => scene.metric('configuration_loads_total')
  const before = await loads()
  let read = false
  const asking = async () => {
    while (!read) await scene.ask(DIRECT)
  }
  scene.parts.service.signal('SIGHUP')
  const reading = until('the configuration to be read again', async () => (await loads()) > before)
  await Promise.all([reading.finally(() => (read = true)), asking()])
}

/** The service has seen its keys fail in this way. */
function failed({ parts, subjects }: Scene, outcome: string): Promise<number> {
  const name = `agent_authz_key_fetches_total{issuer="${subjects.issuer.name}",outcome="${outcome}"}`
  return until(`keys that fail with ${outcome}`, async () => (await parts.samples()).get(name))
}

export const issuerCells: Record<Fault, Cell> = {
  async slow(scene) {
    await spoilt(scene, [never, drips], ['timeout'])
    return {}
  },
  async error(scene) {
    await spoilt(scene, [fails, resets, redirects], ['status', 'unreachable'])
    return {}
  },
  async garbage(scene) {
    const { stranger } = scene.subjects
    const strange = JSON.stringify({ keys: [stranger.jwk] })
    const anothers: Spoilt = (request, response) =>
      void response.end(
        isDiscovery(request)
          ? JSON.stringify({ issuer: 'http://127.0.0.1', jwks_uri: `http://${request.headers.host}/keys` })
          : strange,
      )
    await spoilt(
      scene,
      [html, keys(strange.slice(0, -9)), keys(strange + ' '.repeat(LARGE)), anothers],
      ['malformed', 'too_large', 'wrong_issuer'],
    )
    return {}
  },
  async gone(scene) {
    await scene.subjects.issuer.gone()
    await scene.everyKind()
    await failed(scene, 'unreachable')
    for (let times = 0; times < RELOADS; times++) await reloaded(scene)
    await Promise.all([scene.everyKind(), scene.letsThrough(KNOWN, FRESH)])
    return {}
  },
  async back(scene) {
    const { issuer, next } = scene.subjects
    await issuer.gone()
    await scene.everyKind()
    await failed(scene, 'unreachable')
    issuer.publish(next)
    await issuer.back()
    await scene.letsThrough(ROTATED)
    issuer.forget()
    await scene.everyKind()
    // Of the key that it has withdrawn.
    return { token: ['key_unknown'] }
  },
}
