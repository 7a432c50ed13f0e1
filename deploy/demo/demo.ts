import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { FREE_PORTS, missing, PORTS, type Ports, startParts, takenPorts } from './parts.ts'
import { playAll } from './play.ts'
import { answersTable, howToTry, partsTable, whereToLook } from './print.ts'
import { scenarios } from './scenarios.ts'

const HELP = `The whole of agent-authz at work: a development issuer, an upstream, agent-authz and a real Envoy

Usage
  demo.ts [--base-port N]          send the scenarios through Envoy, show the answers, stop everything;
                                   exit 0 only if every answer is as expected
  demo.ts --stay [--base-port N]   leave it running until Ctrl-C, and say what to try

  --base-port N   the ports N to N+5 instead of ${Object.values(PORTS).join(', ')}; 0: any free ones
`

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const INTERRUPTED = 130

async function main(): Promise<number> {
  const { stay, 'base-port': basePort, help } = options()
  if (help) {
    print(HELP)
    return 0
  }
  const ports = portsFrom(basePort)
  const taken = await takenPorts(ports)
  const problems = missing()
  if (taken.length > 0)
    problems.push(
      `in use: ${taken.join(', ')}. Stop what listens there, or choose others: make demo ARGS='--base-port N'`,
    )
  if (problems.length > 0) throw new Error(problems.join('\n'))

  const parts = await startParts(runFolder(basePort), ports)
  try {
    print(partsTable(parts))
    if (stay) {
      print(howToTry(parts))
      let stopping = false
      void parts.service.process.ended.then(() => {
        if (!stopping)
          print('\nagent-authz has ended: Envoy refuses all requests now. Ctrl-C stops the rest.\n')
      })
      await signalled()
      stopping = true
      return 0
    }
    const rows = await playAll(scenarios, parts)
    print(answersTable(rows))
    print(await whereToLook(parts))
    const wrong = rows.filter(row => row.wrong.length > 0).length
    print(
      wrong === 0
        ? `All ${rows.length} answers are as expected.\n`
        : `${wrong} of ${rows.length} answers are not as expected.\n`,
    )
    return wrong === 0 ? 0 : 1
  } finally {
    await parts.stop()
  }
}

function options() {
  return parseArgs({
    options: {
      stay: { type: 'boolean', default: false },
      'base-port': { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  }).values
}

function portsFrom(base: string | undefined): Ports {
  if (base === undefined) return PORTS
  if (base === '0') return FREE_PORTS
  const first = Number(base)
  if (!Number.isInteger(first) || first < 1024 || first > 65_530)
    throw new Error('--base-port is a number from 1024 to 65530, or 0')
  const [issuer, upstream, grpc, admin, envoy, envoyAdmin] = [0, 1, 2, 3, 4, 5].map(n => first + n) as Six
  return { issuer, upstream, grpc, admin, envoy, envoyAdmin }
}

type Six = [number, number, number, number, number, number]

function runFolder(basePort: string | undefined): string {
  const run = join(import.meta.dirname, 'run')
  return basePort === undefined ? run : join(run, `base-port-${basePort}`)
}

function print(text: string): void {
  process.stdout.write(text)
}

function leave(): void {
  process.exit(INTERRUPTED)
}

/** Until then a signal ends this process at once; after it, everything is stopped in order. */
async function signalled(): Promise<void> {
  await new Promise<void>(resolve => {
    for (const signal of SIGNALS) {
      process.off(signal, leave)
      process.once(signal, () => resolve())
    }
  })
  for (const signal of SIGNALS) process.on(signal, leave)
}

for (const signal of SIGNALS) process.on(signal, leave)
// Whoever read the table has gone, as `head` does.
process.stdout.on('error', leave)
process.exit(
  await main().catch((error: Error) => {
    process.stderr.write(`demo: ${error.message}\n`)
    return 1
  }),
)
