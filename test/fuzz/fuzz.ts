import { setImmediate as turn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { save, told } from './findings.ts'
import { type Finding, INPUTS_PER_SEED, type Target } from './target.ts'
import { TARGETS } from './targets.ts'

const NAMES = TARGETS.map(({ name }) => name)
const HELP = `Inputs that chance makes, for the parts that read what others write, until one shows a fault

Usage
  fuzz.ts [--minutes N] [--target NAME] [--seed N]

  --minutes N     how long, all targets together; 60 unless said otherwise
  --target NAME   one of ${NAMES.join(', ')}; otherwise all, in turn
  --seed N        the first seed, so that a run can be had again; otherwise by chance

Exit code 0 when the time is over, 1 with a finding, 2 for a wrong argument, 130 after Ctrl-C.
A finding is made small and written to test/fuzz/findings/.
`

const FOUND = 1
const MISUSED = 2
const INTERRUPTED = 130
const REWRITE_MS = 1_000
const LINE_MS = 30_000

interface Options {
  readonly minutes: number
  readonly targets: readonly Target[]
  readonly seed: number
}

interface Run {
  readonly target: Target
  readonly began: number
  readonly tally: { inputs: number; accepted: number }
  ended?: number
}

let interrupted = false

async function main(): Promise<number> {
  const options = optionsFrom()
  if (options === undefined) {
    process.stdout.write(HELP)
    return 0
  }
  const { minutes, targets, seed } = options
  process.on('SIGINT', () => {
    interrupted = true
  })
  process.stdout.write(`first seed ${seed}\n`)
  const runs: Run[] = []
  for (const target of targets) {
    const run: Run = { target, began: performance.now(), tally: { inputs: 0, accepted: 0 } }
    runs.push(run)
    const finding = await runFor((minutes * 60_000) / targets.length, run, seed)
    run.ended = performance.now()
    if (process.stdout.isTTY) endLine()
    else showProgress(rowOf(run))
    if (finding) {
      process.stdout.write(`\n${told(finding)}\nIt is written to ${save(finding)}\n`)
      summarise(runs)
      return FOUND
    }
    if (interrupted) break
  }
  summarise(runs)
  return interrupted ? INTERRUPTED : 0
}

async function runFor(millis: number, run: Run, firstSeed: number): Promise<Finding | undefined> {
  const { target, began, tally } = run
  let shown = began
  for (let seed = firstSeed; performance.now() < began + millis && !interrupted; seed++) {
    // A seed is a 32-bit number.
    const finding = target.run(INPUTS_PER_SEED, seed | 0, tally)
    if (finding) return finding
    if (performance.now() > shown + (process.stdout.isTTY ? REWRITE_MS : LINE_MS)) {
      shown = performance.now()
      showProgress(`${rowOf(run)}   seed ${seed | 0}`)
    }
    // In between, Ctrl-C is heard.
    await turn()
  }
  return undefined
}

function showProgress(line: string): void {
  process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${line}` : `${line}\n`)
}

function endLine(): void {
  process.stdout.write('\r\x1b[K')
}

function summarise(runs: readonly Run[]): void {
  process.stdout.write(`\n${runs.map(rowOf).join('\n')}\n`)
}

function rowOf({ target, began, tally: { inputs, accepted }, ended = performance.now() }: Run): string {
  const perSecond = Math.round(inputs / ((ended - began) / 1000))
  const share = inputs === 0 ? 0 : Math.round((accepted / inputs) * 100)
  return `${target.name.padEnd(14)}${`${inputs}`.padStart(12)} inputs${`${perSecond}`.padStart(8)}/s${`${share}`.padStart(5)} % accepted`
}

/** Undefined where help is asked for; throws an Error that says what is wrong. */
function optionsFrom(): Options | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '60' },
      target: { type: 'string' },
      seed: { type: 'string', default: `${Math.floor(Math.random() * 2 ** 31)}` },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return undefined
  const { target, minutes, seed } = values
  if (target !== undefined && !NAMES.includes(target))
    throw new Error(`--target is one of ${NAMES.join(', ')}`)
  if (!(Number(minutes) > 0)) throw new Error('--minutes is a number over 0')
  if (!/^-?\d{1,10}$/.test(seed)) throw new Error('--seed is a whole number')
  return {
    minutes: Number(minutes),
    targets: TARGETS.filter(({ name }) => target === undefined || name === target),
    seed: Number(seed),
  }
}

process.stdout.on('error', () => process.exit(INTERRUPTED))
process.exitCode = await main().catch((error: Error) => {
  process.stderr.write(`fuzz: ${error.message}\n`)
  return MISUSED
})
