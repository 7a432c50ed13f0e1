import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Client, credentials } from '@grpc/grpc-js'
import { startIssuer } from '../../deploy/demo/issuer.ts'
import { createProcesses } from '../../deploy/demo/processes.ts'
import { startService, writeConfig } from '../../deploy/demo/service.ts'
import { AUTHORIZATION } from '../../src/listen/ext-authz.ts'
import { reading } from '../unit/configured.ts'
import { encodeHttp, responseOf } from '../unit/listen/wire/oracle.ts'

/*
 * What a flood of forged tokens does to a known one: a real service over gRPC, asked with one known token at a steady
 * rate, with and without the flood beside it, in alternating rounds of which the first is thrown away. The known
 * token must always be allowed.
 */

const ROUNDS = 4
const ROUND_MS = 3_000
const KNOWN_PER_SECOND = 200
/** Forged tokens on their way at a time. */
const FLOOD = 256

interface Flooding {
  readonly address: string
  readonly token: string
}

if (isMainThread) await measure()
else flood(workerData as Flooding)

async function measure(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-flood-'))
  const processes = createProcesses(folder)
  const issuer = await startIssuer(0)
  const config = writeConfig(folder, settings => {
    Object.assign(settings.listen, { grpc: '127.0.0.1:0', admin: '127.0.0.1:0' })
    for (const trusted of settings.issuers) trusted.issuer = issuer.url
  })
  const { grpc: address, adminUrl } = await startService(processes, config)
  const token = await issuer.mint({
    sub: 'alice@example.com',
    act: ['mail-summary'],
    aud: 'https://mail.example.com',
    scope: 'read:mail:inbox',
  })
  const ask = caller(address)
  await ask(token)

  const took: { quiet: number[]; flooded: number[] } = { quiet: [], flooded: [] }
  let asked = 0
  let refused = 0
  console.log(
    `${ROUNDS} rounds of ${ROUND_MS / 1000} s without a flood, and with one of ${FLOOD} forged tokens at a time …`,
  )
  for (let round = 0; round < ROUNDS; round++)
    for (const kind of ['quiet', 'flooded'] as const) {
      const worker =
        kind === 'flooded' ? new Worker(import.meta.filename, { workerData: { address, token } }) : undefined
      if (worker) await new Promise(resolve => worker.once('message', resolve))
      const answers: Promise<void>[] = []
      const began = performance.now()
      for (let i = 0; i < (ROUND_MS / 1000) * KNOWN_PER_SECOND; i++) {
        const due = began + (i * 1000) / KNOWN_PER_SECOND
        await sleep(Math.max(0, due - performance.now()))
        answers.push(
          ask(token).then(allowed => {
            asked++
            if (!allowed) refused++
            // From when it was due: what the generator was late with counts too.
            if (round > 0) took[kind].push(performance.now() - due)
          }),
        )
      }
      await Promise.all(answers)
      await worker?.terminate()
    }

  const page = await (await fetch(`${adminUrl}/metrics`)).text()
  console.log(`\n${'the known token'.padEnd(20)}${'p50 ms'.padStart(10)}${'p99 ms'.padStart(10)}`)
  for (const [kind, times] of Object.entries(took))
    console.log(`${kind.padEnd(20)}${at(times, 0.5).padStart(10)}${at(times, 0.99).padStart(10)}`)
  console.log(`\nknown   ${asked} asked, ${refused} refused`)
  for (const reason of ['signature_invalid', 'overloaded', 'deadline'])
    console.log(`forged  ${new RegExp(`reason="${reason}".*} (\\d+)`).exec(page)?.[1] ?? 0} ${reason}`)
  await processes.stop()
  await issuer.close()
  rmSync(folder, { recursive: true })
  process.exit(refused === 0 ? 0 : 1)
}

/** Runs until it is ended. */
function flood({ address, token }: Flooding): void {
  const ask = caller(address)
  const [header, payload = ''] = token.split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  let made = 0
  const forged = () => {
    const changed = Buffer.from(JSON.stringify({ ...claims, jti: `forged-${made++}` })).toString('base64url')
    return `${header}.${changed}.${'A'.repeat(86)}`
  }
  const again = (): Promise<void> => ask(forged()).then(again)
  for (let i = 0; i < FLOOD; i++) void again()
  parentPort?.postMessage('begun')
}

/** One connection of its own; says whether a token was allowed. */
function caller(address: string): (token: string) => Promise<boolean> {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 })
  return token =>
    new Promise(resolve => {
      const answered = (error: unknown, answer?: Buffer) =>
        resolve(!error && answer !== undefined && !responseOf(answer).deniedResponse)
      client.makeUnaryRequest(`/${AUTHORIZATION}/Check`, encodeHttp, bytes => bytes, reading(token), answered)
    })
}

function at(times: readonly number[], share: number): string {
  return (times.toSorted((a, b) => a - b)[Math.floor(times.length * share)] as number).toFixed(1)
}
