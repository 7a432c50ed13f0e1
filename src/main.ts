#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { destination, pino } from 'pino'
import { type Service, startService, VERSION } from './app.ts'
import { configSchema, readConfig } from './config.ts'
import { explain } from './explain.ts'
import { frames } from './frames.ts'
import { inspect, readToken } from './inspect.ts'
import { mint } from './mint.ts'
import { unblocked } from './record/record.ts'
import type { Log } from './types.ts'
import { Unusable } from './unusable.ts'

const HELP = `agent-authz ${VERSION}: Envoy external authorization for AI agents

Usage
  agent-authz serve --config FILE                  answer Envoy until SIGTERM
  agent-authz config check --config FILE           is this configuration valid? exit 0 or 1
  agent-authz config schema                        the configuration as JSON Schema
  agent-authz check --config FILE --request FILE   decide one CheckRequest (protojson) and say why;
                                                   exit 0 allow, 1 deny (observed too), 2 error
  agent-authz token inspect --config FILE          what is made of the token on standard input, rule by
                                                   rule; exit 0 accepted, 1 refused, 2 error
      --token FILE                                 the token in a file instead; - is standard input
  agent-authz token mint --sub NAME --aud URL      a token of the development issuer, which make up runs;
                                                   exit 0 printed, 1 it refuses, 2 error
      --act AGENT,PRIOR,…  --scope "A B"  --client-id NAME  --ttl SECONDS  --typ at+jwt|JWT  --issuer URL
  agent-authz --version | --help

Signals to serve
  SIGTERM, SIGINT   drain, then end        SIGHUP   read the configuration again
  SIGUSR2           open the decision log again, after it was moved away

The service log goes to standard error, one JSON object a line.
`

/** Of the service log, while standard error takes nothing. */
const MOST_UNWRITTEN_BYTES = 1024 * 1024

const EXIT = { ok: 0, failed: 1, error: 2 } as const

/** A fault in how the command was called. */
class Usage extends Error {}

async function main(args: readonly string[]): Promise<number | undefined> {
  const { values, positionals } = parse(args)
  if (values.version) return print(`${VERSION}\n`)
  if (values.help) return print(HELP)
  switch (positionals.join(' ')) {
    case 'serve':
      return serve(required(values.config, '--config FILE'))
    case 'config check':
      readConfig(required(values.config, '--config FILE'))
      return print(`${values.config} is valid; the files that it names are opened by serve\n`)
    case 'config schema':
      return print(`${JSON.stringify(configSchema(), null, 2)}\n`)
    case 'check':
      return check(required(values.config, '--config FILE'), required(values.request, '--request FILE'))
    case 'token inspect':
      return inspectToken(required(values.config, '--config FILE'), values.token ?? '-')
    case 'token mint':
      required(values.sub, '--sub NAME')
      required(values.aud, '--aud URL')
      return mintToken(values)
    case '':
      throw new Usage('a command is missing')
    default:
      if (positionals[0] === 'config') throw new Usage('config check or config schema')
      if (positionals[0] === 'token') throw new Usage('token inspect or token mint; no token as an argument')
      throw new Usage(shown(positionals, `unknown command: ${positionals.join(' ')}`))
  }
}

function check(config: string, request: string): Promise<number> {
  return answering(async () => {
    const { outcome, text } = await explain(config, request, serviceLog())
    print(text)
    return outcome === 'allow' ? EXIT.ok : EXIT.failed
  })
}

function inspectToken(config: string, file: string): Promise<number> {
  return answering(async () => {
    const token = await readToken(file, process.stdin, tell)
    const { outcome, text } = await inspect(config, token, serviceLog())
    print(text)
    return outcome === 'accepted' ? EXIT.ok : EXIT.failed
  })
}

function mintToken(options: ReturnType<typeof parse>['values']): Promise<number> {
  const { sub, act, aud, scope, ttl, typ, issuer, 'client-id': client_id } = options
  return answering(async () => {
    const minted = await mint({ sub, act, aud, scope, ttl, typ, client_id }, issuer)
    if ('token' in minted) return print(`${minted.token}\n`)
    tell(`the issuer mints no such token:\n${minted.refused}\n`)
    return EXIT.failed
  })
}

/** For commands whose answer may be no: that none could be found is told apart from it. */
async function answering(answer: () => Promise<number>): Promise<number> {
  try {
    return await answer()
  } catch (error) {
    report(error)
    return EXIT.error
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        request: { type: 'string' },
        token: { type: 'string' },
        sub: { type: 'string' },
        act: { type: 'string' },
        aud: { type: 'string' },
        scope: { type: 'string' },
        ttl: { type: 'string' },
        typ: { type: 'string' },
        'client-id': { type: 'string' },
        issuer: { type: 'string' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new Usage(shown(args, (error as Error).message))
  }
}

/** What stands among the arguments may be a token, which no message may show. */
function shown(args: readonly string[], message: string): string {
  return args.some(arg => /^-*eyJ|[^-=]{64}/.test(arg)) ? 'one of the arguments is not understood' : message
}

function required(value: string | undefined, option: string): string {
  if (value === undefined) throw new Usage(`${option} is missing`)
  return value
}

function print(text: string): number {
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
    // A reader that has seen enough, such as head, is no fault, and must not change what the exit code says.
    if (code === 'EPIPE') return
    process.stderr.write(`agent-authz: cannot write to standard output (${code})\n`)
    process.exit(EXIT.error)
  })
  process.stdout.write(text)
  return EXIT.ok
}

function serviceLog(): Log {
  const standardError = destination({
    fd: unblocked(2),
    sync: true,
    maxLength: MOST_UNWRITTEN_BYTES,
    // Otherwise it would sleep, and all checks with it, until somebody reads.
    retryEAGAIN: () => false,
  })
  // A full disk behind it must not end the service; what was not written is tried with the next line.
  standardError.on('error', () => undefined)
  return pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, standardError)
}

/** Runs until a signal ends the process. A signal that comes before the service is there is not lost. */
async function serve(config: string): Promise<undefined> {
  const log = serviceLog()
  let service: Service | undefined
  let draining = false
  let exitCode: number = EXIT.ok
  const drain = () => {
    if (draining) return
    draining = true
    // Nobody was answered yet.
    if (service === undefined) process.exit(exitCode)
    service.stop().then(
      () => {
        log.info({}, 'drained')
        process.exit(exitCode)
      },
      () => process.exit(EXIT.failed),
    )
  }
  const leave = (signal: string) => {
    if (!draining) log.info({ signal }, 'draining')
    drain()
  }
  const onceStarted = (act: (service: Service) => void) => () => void starting.then(act, () => undefined)
  process.on('SIGTERM', leave)
  process.on('SIGINT', leave)
  process.on(
    'SIGHUP',
    onceStarted(({ reload }) => void reload()),
  )
  process.on(
    'SIGUSR2',
    onceStarted(({ reopen }) => reopen()),
  )
  // What state this leaves is not to be trusted with a request. Its message may quote one, its type cannot.
  process.on('uncaughtException', error => {
    const what = error instanceof Error ? { error: error.name, at: frames(error) } : { error: typeof error }
    log.error(what, 'a fault inside: draining')
    exitCode = EXIT.failed
    drain()
  })

  const starting = startService(config, log)
  service = await starting
  log.info({ version: VERSION, grpc: service.grpc, admin: service.admin }, 'listening')
}

function report(error: unknown): void {
  const known = error instanceof Unusable || error instanceof Usage
  const text = known ? error.message : `a fault inside: ${(error as Error)?.stack}`
  tell(`${text}\n`)
}

/** To a person, beside what the command is for. */
function tell(text: string): void {
  process.stderr.write(`agent-authz: ${text}`)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  report(error)
  if (error instanceof Usage) process.stderr.write('agent-authz --help shows the commands\n')
  process.exit(error instanceof Usage ? EXIT.error : EXIT.failed)
}
