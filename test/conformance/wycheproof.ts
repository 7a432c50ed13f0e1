import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Reason } from '../../src/denied.ts'
import { EXCEPTIONS, type Exception } from './exceptions.ts'
import { readVectors, type Vector } from './vectors.ts'
import { joseAccepts, refusalOf } from './verifiers.ts'

/*
 * The public vectors of Wycheproof on what stands between a token and its claims: compact form, header, choice of key,
 * signature. Exit code 0 where nothing invalid is accepted and every refusal of something valid is one of EXCEPTIONS.
 */

interface Judged extends Vector {
  readonly refused: Reason | undefined
  readonly joseAccepts: boolean
}

const clone = process.env.WYCHEPROOF
if (!clone || !existsSync(join(clone, 'testvectors_v1')))
  stop(`${clone ? `${clone} holds no testvectors_v1` : 'WYCHEPROOF is not set'}. The vectors are public:
  git clone --depth 1 https://github.com/C2SP/wycheproof
  WYCHEPROOF=wycheproof make conformance`)

const judged: Judged[] = []
for (const vector of vectorsOf(clone))
  judged.push({
    ...vector,
    refused: await refusalOf(vector.token, vector.keys),
    joseAccepts: await joseAccepts(vector.token, vector.keys),
  })

const wronglyAccepted = judged.filter(({ valid, refused }) => !valid && refused === undefined)
const wronglyRefused = judged.filter(({ valid, refused }) => valid && refused !== undefined)
const explains = (exception: Exception, { path, refused }: Judged) =>
  exception.of.test(path) && exception.refused === refused
const explained = EXCEPTIONS.map(exception => ({
  ...exception,
  vectors: wronglyRefused.filter(vector => explains(exception, vector)),
}))

printCounts()
printList(
  'Valid, and refused on purpose:',
  explained.map(({ vectors, refused, why }) => `${count(vectors.length)}  ${refused.padEnd(16)} ${why}`),
)
printList(
  'Invalid, and accepted by jose alone:',
  judged.filter(vector => !vector.valid && vector.joseAccepts).map(named),
)

const problems = [
  ...wronglyAccepted.map(vector => `invalid, and accepted: ${named(vector)}`),
  ...wronglyRefused
    .filter(vector => !EXCEPTIONS.some(exception => explains(exception, vector)))
    .map(vector => `valid, and refused without an exception: ${named(vector)}`),
  ...explained
    .filter(({ vectors }) => vectors.length === 0)
    .map(({ of, refused }) => `an exception that no vector needs: ${of} ${refused}`),
  ...(judged.some(({ refused }) => refused === undefined) ? [] : ['nothing at all is accepted']),
]
printList('Problems:', problems)
console.log(problems.length === 0 ? '\nEvery difference is explained.' : '')
process.exitCode = problems.length === 0 ? 0 : 1

function vectorsOf(clone: string): Vector[] {
  try {
    return readVectors(clone)
  } catch (error) {
    stop(`These vectors cannot be read: ${(error as Error).message}`)
  }
}

function stop(message: string): never {
  console.error(message)
  process.exit(2)
}

function printCounts(): void {
  const row = (first: string, numbers: readonly (string | number)[]) =>
    console.log(first.padEnd(20) + numbers.map(number => `${number}`.padStart(18)).join(''))
  const counts = (vectors: readonly Judged[]) => [
    vectors.length,
    vectors.filter(({ valid }) => valid).length,
    vectors.filter(({ refused }) => refused === undefined).length,
    vectors.filter(({ refused }) => refused !== undefined).length,
    vectors.filter(({ valid, refused }) => !valid && refused === undefined).length,
    vectors.filter(vector => !vector.valid && vector.joseAccepts).length,
  ]
  row('', ['vectors', 'of them valid', 'accepted', 'refused', 'wrongly accepted', 'by jose alone'])
  for (const [file, vectors] of Map.groupBy(judged, ({ file }) => file)) row(file, counts(vectors))
  row('together', counts(judged))
  printList(
    'Refusals by reason:',
    [...Map.groupBy(judged, ({ refused }) => refused)]
      .flatMap(([reason, { length }]) => (reason === undefined ? [] : [{ reason, length }]))
      .sort((a, b) => b.length - a.length)
      .map(({ reason, length }) => `${count(length)}  ${reason}`),
  )
}

function printList(title: string, lines: readonly string[]): void {
  if (lines.length > 0) console.log(`\n${[title, ...lines.map(line => `  ${line}`)].join('\n')}`)
}

function count(number: number): string {
  return `${number}`.padStart(4)
}

function named({ path, id, refused }: Judged): string {
  return `${path} (${id})${refused === undefined ? '' : `: ${refused}`}`
}
