import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { asDenied, type Reason } from '../../src/denied.ts'
import type { HeldRequest } from '../../src/types.ts'
import { claims, type Key, newKey, patient, ROUTE, startRoom } from '../unit/identify/issuer.ts'
import { heldRequest } from '../unit/trail.ts'

/*
 * What a token costs, in processor time of the whole process, beside a good one that was never seen before: a hostile
 * token must not cost more. Rounds alternate between all kinds, the first is thrown away, and the least of each kind
 * counts, since what else the machine did is not the token's.
 */

const ROUNDS = 8
const CALLS = 400
/** Two kinds that do the same work, such as good and forged, differ by as much. */
const NOISE = 1.2

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

const REFERENCE = 'good, never seen'

interface Kind {
  /** Another token at every call, but for the one that is known. */
  readonly make: () => string | Promise<string>
  /** What it must come to: otherwise something else is measured. */
  readonly refused?: Reason
}

const CLAIMS = Array.from({ length: 900 }, (_, i) => `"c${i}":${i}`).join()
const SOME_CLAIMS = Array.from({ length: 399 }, (_, i) => `"c${i}":${i}`).join()
const NUMBERS = Array(5_900).fill(1).join()
const LONG_NUMBERS = Array(500).fill('12345678901234567890').join()
const TEXTS = Array(4_000).fill('""').join()

const KINDS: { readonly [kind: string]: Kind } = {
  [REFERENCE]: { make: () => key.sign(fresh()) },
  'good, known': { make: () => good },
  'no token at all': { make: () => `garbage-${serial++}`, refused: 'token_malformed' },
  '1 MiB of text': { make: () => `${serial++}${'a'.repeat(1024 * 1024)}`, refused: 'token_too_large' },
  '16 KiB of dots': { make: () => `${serial++}${'.'.repeat(16_000)}`, refused: 'token_malformed' },
  '16 KiB of nested JSON': {
    make: () => `${part('{"a":'.repeat(2_000))}.${part(`${serial++}`)}.AAAA`,
    refused: 'token_malformed',
  },
  '13 KiB of claims, one of them twice': {
    make: () => `${part('{"alg":"RS256"}')}.${part(`{"jti":"${serial++}",${CLAIMS},"a":1,"a":1}`)}.AAAA`,
    refused: 'token_malformed',
  },
  '12 KiB of numbers, one with an exponent': {
    make: () => `${part('{"alg":"RS256"}')}.${part(`{"iss":"${serial++}","a":[${NUMBERS}],"z":1e400}`)}.AAAA`,
    refused: 'token_malformed',
  },
  '10 KiB of long numbers': {
    make: () => `${part('{"alg":"RS256"}')}.${part(`{"iss":"${serial++}","a":[${LONG_NUMBERS}]}`)}.AAAA`,
    refused: 'issuer_unknown',
  },
  '12 KiB of empty texts': {
    make: () => `${part('{"alg":"RS256"}')}.${part(`{"iss":"${serial++}","a":[${TEXTS}]}`)}.AAAA`,
    refused: 'token_malformed',
  },
  'as many names as there may be': {
    make: () => `${part('{"alg":"RS256"}')}.${part(`{"iss":"${serial++}",${SOME_CLAIMS}}`)}.AAAA`,
    refused: 'issuer_unknown',
  },
  'unknown issuer': {
    make: () => stranger.sign(fresh({ iss: 'https://mallory.example.com' })),
    refused: 'issuer_unknown',
  },
  'algorithm none': {
    make: async () =>
      `${part('{"alg":"none","typ":"at+jwt"}')}.${(await stranger.sign(fresh())).split('.')[1]}.AAAA`,
    refused: 'token_algorithm',
  },
  'keys in the header': {
    make: () => stranger.sign(fresh(), { kid: 'k2', jku: 'https://mallory.example.com/keys' }),
    refused: 'key_unknown',
  },
  'unknown kid': { make: () => stranger.sign(fresh(), { kid: `k${serial++}` }), refused: 'key_unknown' },
  'forged signature': { make: () => stranger.sign(fresh()), refused: 'signature_invalid' },
  'expired long ago': { make: () => key.sign(fresh({ exp: 1, iat: 0 })), refused: 'token_expired' },
  'another audience': {
    make: () => key.sign(fresh({ aud: 'https://elsewhere.example.com' })),
    refused: 'audience_mismatch',
  },
}

const measured = new Map(Object.keys(KINDS).map(kind => [kind, [] as number[]]))
console.log(`${ROUNDS} rounds of ${CALLS} tokens of each of ${measured.size} kinds …`)
await reasonFor(bearing(good))
for (let round = 0; round < ROUNDS; round++)
  for (const [kind, { make, refused }] of Object.entries(KINDS)) {
    const requests = (await Promise.all(Array.from({ length: CALLS }, make))).map(bearing)
    const before = process.cpuUsage()
    const reasons = new Set<Reason | undefined>()
    for (const request of requests) reasons.add(await reasonFor(request))
    const { user, system } = process.cpuUsage(before)
    if (reasons.size > 1 || !reasons.has(refused)) throw new Error(`${kind}: ${[...reasons]}`)
    if (round > 0) measured.get(kind)?.push((user + system) / CALLS)
    time.now += 1
  }
room.close()
rmSync(folder, { recursive: true })

const full = Math.min(...(measured.get(REFERENCE) as number[]))
const rows = [...measured].map(([kind, rounds]) => {
  const micros = Math.min(...rounds)
  return { kind, micros, ratio: micros / full }
})
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

/** Why it is refused; undefined where it is not. */
async function reasonFor(request: HeldRequest): Promise<Reason | undefined> {
  try {
    await room.identify(request, ROUTE, patient)
    return undefined
  } catch (thrown) {
    return asDenied(thrown).reason
  }
}
