import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../deploy/demo/processes.ts'
import { CHECK_PATH } from '../../src/listen/ext-authz.ts'
import type { Cell, Fault } from './cells.ts'
import type { Excuse } from './oracle.ts'
import { DIRECT, FRESH, HURRIED, KNOWN, WAITING } from './requests.ts'
import type { Scene } from './scene.ts'
import type { How } from './sending.ts'
import { markOf } from './upstream.ts'

const UNDELIVERED: Excuse = { undelivered: true }
const MANY = 8
/** Long enough for every check that runs to be over its deadline. */
const STOPPED_MS = 2_500
const JUNK = [
  Buffer.from('GET / HTTP/1.1\r\nhost: mail.example.com\r\n\r\n'),
  // The beginning of a TLS hello, and no more.
  Buffer.from('16030100f8010000f40303', 'hex'),
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand then nonsense'),
  // A frame that claims 16 MiB.
  Buffer.from('505249202a20485454502f322e300d0a0d0a534d0d0a0d0affffff000000000000', 'hex'),
  Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919) % 256)),
]

/** Connections that the service has not closed. */
const open = new Set<Socket>()

/** Bytes onto the gRPC port, on a connection that is then left open until the service has closed it or we do. */
async function junk(port: number, bytes: Buffer): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(bytes)
  socket.resume()
  open.add(socket)
  socket.once('close', () => open.delete(socket))
}

/** Whole HTTP/2 that is no gRPC, and gRPC that is no call. */
async function strangeRequests(port: number): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  session.on('error', () => undefined)
  const grpc = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }
  const packed = Buffer.from([1, 0, 0, 0, 2, 0x0a, 0])
  const lying = Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 0x0a])
  const requests: [Record<string, string>, Buffer][] = [
    [{ ':method': 'POST', ':path': '/' }, Buffer.alloc(0)],
    [{ ...grpc, ':path': '/no.such.Service/Call' }, packed],
    [{ ...grpc, ':path': CHECK_PATH, 'grpc-encoding': 'gzip' }, packed],
    [{ ...grpc, ':path': CHECK_PATH }, lying],
    [{ ...grpc, ':path': CHECK_PATH }, Buffer.alloc(0)],
  ]
  await Promise.all(
    requests.map(async ([headers, bytes]) => {
      const stream = session.request({ ...headers })
      stream.on('error', () => undefined)
      stream.end(bytes)
      stream.resume()
      let status: unknown
      stream.on('trailers', trailers => (status = trailers['grpc-status']))
      await once(stream, 'close')
      if (headers[':path'] === CHECK_PATH && status !== '0')
        throw new Error(`a call that brought no message was answered with status ${status}`)
    }),
  )
  session.destroy()
}

/** Clients leave once the service has begun with many checks more. */
async function leaving(scene: Scene): Promise<How> {
  const begun = () => scene.metric('token_cache_total')
  const before = await begun()
  return { leaves: until('checks to begin', async () => (await begun()) >= before + MANY) }
}

/** Checks that wait for keys when their clients leave: each of them leaves a record. */
async function manyLeave(scene: Scene): Promise<void> {
  const how = await leaving(scene)
  const left = await Promise.all(Array.from({ length: MANY }, () => scene.ask(WAITING, how)))
  await until('a record of each', () => {
    const marks = new Set(scene.parts.log.read().lines.map(({ path }) => markOf(path)))
    return left.every(({ mark }) => marks.has(mark))
  })
}

/** Requests of every kind, of which those with a new key wait for an issuer that does not answer. */
async function waiting(scene: Scene): Promise<{ readonly answers: Promise<unknown> }> {
  const { issuer } = scene.subjects
  issuer.spoil(() => undefined)
  const answers = scene.everyKind()
  await until('a check to wait', () => issuer.fetches() > 0)
  return { answers }
}

export const envoyCells: Record<Fault, Cell> = {
  async slow(scene) {
    const { envoy } = scene.parts
    const { answers } = await waiting(scene)
    envoy.process.signal('SIGSTOP')
    const stopped = scene.everyKind()
    await until('the service to answer without it', async () => (await scene.ask(DIRECT)).passed)
    await sleep(STOPPED_MS)
    envoy.process.signal('SIGCONT')
    scene.subjects.issuer.spoil()
    await Promise.all([answers, stopped, scene.everyKind({ drips: 20 })])
    await scene.letsThrough(KNOWN, FRESH)
    return UNDELIVERED
  },
  async error(scene) {
    // A check that waits for keys is one that a client can leave.
    const { issuer } = scene.subjects
    issuer.spoil(() => undefined)
    await manyLeave(scene)
    await scene.everyKind(await leaving(scene))
    for (const ms of [1, 5, 20]) await scene.everyKind({ leaves: sleep(ms) })
    for (const deadline of [1, 15]) await scene.ask(HURRIED, { deadline })
    await scene.ask(DIRECT, { deadline: 25 })
    issuer.spoil()
    // Less than is left for the way back, and a little more than that.
    for (const timeout of ['0.001s', '0.030s']) {
      await scene.parts.newEnvoy(timeout)
      await scene.everyKind()
      await scene.everyKind()
    }
    await scene.parts.newEnvoy()
    await scene.letsThrough(KNOWN, FRESH)
    return UNDELIVERED
  },
  async garbage(scene) {
    const { grpcPort } = scene.parts
    await Promise.all([
      scene.everyKind(),
      ...JUNK.map(bytes => junk(grpcPort, bytes)),
      strangeRequests(grpcPort),
    ])
    await scene.everyKind()
    await scene.letsThrough(KNOWN, FRESH)
    for (const socket of open) socket.destroy()
    return { unread: 3 }
  },
  async gone(scene) {
    const { envoy } = scene.parts
    const { answers } = await waiting(scene)
    const crossing = scene.everyKind()
    envoy.process.signal('SIGKILL')
    await until('Envoy to be gone', () => !envoy.process.running())
    await Promise.all([answers, crossing])
    await scene.everyKind()
    await scene.letsThrough(DIRECT)
    scene.subjects.issuer.spoil()
    return UNDELIVERED
  },
  async back(scene) {
    await scene.parts.newEnvoy()
    await scene.everyKind()
    await scene.letsThrough(KNOWN, FRESH)
    return {}
  },
}
