import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Denied } from '../../src/denied.ts'
import type { HeldRequest } from '../../src/types.ts'
import { claims, type Key, newKey, ROUTE, startRoom } from '../unit/identify/issuer.ts'
import { heldRequest } from '../unit/trail.ts'

/*
 * What a token costs, in processor time of the whole process, beside a good one that was never seen before: a hostile
 * token must cost less. Rounds alternate between all kinds, the first is thrown away, and medians are compared.
 */

const ROUNDS = 6
const CALLS = 400
/** Two ways that do the same work differ by as much on a busy machine. */
const NOISE = 1.1

const folder = mkdtempSync(join(tmpdir(), 'agent-authz-bench-'))
const [key, stranger] = (await Promise.all([newKey('k1', 'RS256'), newKey('k1', 'RS256')])) as [Key, Key]
const file = join(folder, 'jwks.json')
writeFileSync(file, JSON.stringify({ keys: [key.jwk] }))
const { room, time } = startRoom([{ jwks_file: file }])
room.start()

let serial = 0
const fresh = (changes = {}) => claims({ jti: `token-${serial++}`, ...changes })
const part = (text: string) => Buffer.from(text).toString('base64url')
const good = await key.sign(fresh())

/** Each makes another token at every call, but for the one that is known. */
const KINDS: Record<string, () => string | Promise<string>> = {
  'good, never seen': () => key.sign(fresh()),
  'good, known': () => good,
  'no token at all': () => `garbage-${serial++}`,
  '1 MiB of text': () => `${serial++}${'a'.repeat(1024 * 1024)}`,
  '16 KiB of dots': () => `${serial++}${'.'.repeat(16_000)}`,
  '16 KiB of nested JSON': () => `${part('{"a":'.repeat(2_000))}.${part(`${serial++}`)}.AAAA`,
  '11 KiB of claims, one of them twice': () =>
    `${part('{"alg":"RS256"}')}.${part(`{${Array.from({ length: 900 }, (_, i) => `"c${serial++}":${i}`)},"a":1,"a":1}`)}.AAAA`,
  'unknown issuer': () => stranger.sign(fresh({ iss: 'https://mallory.example.com' })),
  'algorithm none': async () =>
    `${part('{"alg":"none","typ":"at+jwt"}')}.${(await stranger.sign(fresh())).split('.')[1]}.AAAA`,
  'keys in the header': () => stranger.sign(fresh(), { kid: 'k2', jku: 'https://mallory.example.com/keys' }),
  'unknown kid': () => stranger.sign(fresh(), { kid: `k${serial++}` }),
  'forged signature': () => stranger.sign(fresh()),
  'expired long ago': () => key.sign(fresh({ exp: 1, iat: 0 })),
  'another audience': () => key.sign(fresh({ aud: 'https://elsewhere.example.com' })),
}

const measured = new Map(Object.keys(KINDS).map(kind => [kind, [] as number[]]))
console.log(`${ROUNDS} rounds of ${CALLS} tokens of each of ${measured.size} kinds …`)
await ask(bearing(good))
for (let round = 0; round < ROUNDS; round++)
  for (const [kind, make] of Object.entries(KINDS)) {
    const requests = (await Promise.all(Array.from({ length: CALLS }, make))).map(bearing)
    const before = process.cpuUsage()
    for (const request of requests) await ask(request)
    const { user, system } = process.cpuUsage(before)
    if (round > 0) measured.get(kind)?.push((user + system) / CALLS)
    time.now += 1
  }
room.close()
rmSync(folder, { recursive: true })

const [reference] = measured.keys() as Iterable<string>
const full = median(measured.get(reference as string) as number[])
const rows = [...measured].map(([kind, micros]) => ({
  kind,
  micros: median(micros),
  ratio: median(micros) / full,
}))
console.log(`\n${'token'.padEnd(40)}${'µs of CPU'.padStart(12)}${'beside a good one'.padStart(20)}`)
for (const { kind, micros, ratio } of rows)
  console.log(`${kind.padEnd(40)}${micros.toFixed(1).padStart(12)}${ratio.toFixed(2).padStart(20)}`)
const dear = rows.filter(({ ratio }) => ratio > NOISE)
console.log(
  dear.length === 0
    ? '\nNo token costs more than a good one.'
    : `\nDearer than a good one: ${dear.map(({ kind }) => kind).join(', ')}`,
)
process.exitCode = dear.length === 0 ? 0 : 1

function bearing(token: string): HeldRequest {
  // As it comes off the wire: one piece.
  const value = Buffer.from(`Bearer ${token}`).toString('latin1')
  return heldRequest({ headers: { authorization: [value] } })
}

async function ask(request: HeldRequest): Promise<void> {
  const deadline = { at: Number.POSITIVE_INFINITY, signal: () => new AbortController().signal }
  try {
    await room.identify(request, ROUTE, deadline)
  } catch (thrown) {
    if (!(thrown instanceof Denied)) throw thrown
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
}
