import { dirname, resolve } from 'node:path'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import { problemsOf } from './config-problems.ts'
import { policySettings } from './decide/decide.ts'
import { issuersSettings } from './identify/identify.ts'
import { listenSettings } from './listen/listen.ts'
import { readNamedFile } from './named-file.ts'
import { decisionLogSettings } from './record/record.ts'
import { Unusable } from './unusable.ts'

const settings = z.strictObject({
  listen: listenSettings.prefault({}),
  issuers: issuersSettings,
  policy: policySettings,
  decision_log: decisionLogSettings,
  mode: z
    .enum(['enforce', 'observe'])
    .default('enforce')
    .describe('observe: decide, count and log, but let refusals through.'),
  identity: z
    .enum(['required', 'optional'])
    .default('required')
    .describe(
      'optional: without a token policy decides with no input.identity; a bad token is refused all the same.',
    ),
  authorization: z
    .enum(['remove', 'keep'])
    .default('remove')
    .describe('What becomes of a verified Bearer header towards the upstream.'),
})

export type Config = z.infer<typeof settings>

/** The configuration as JSON Schema, for editors. */
export function configSchema(): object {
  return z.toJSONSchema(settings, { io: 'input' })
}

/**
 * The configuration of a file, complete and valid, its relative paths made absolute from the file's folder.
 * Otherwise Unusable with every problem at once. What the settings point to (bundle, keys, certificates) is
 * not opened here.
 */
export function readConfig(file: string): Config {
  const folder = dirname(resolve(file))
  const problems: string[] = []
  const raw = references(parse(file), folder, '', problems)
  const { data, error } = settings.safeParse(raw)
  problems.push(...(error?.issues ?? []).flatMap(issue => problemsOf(issue, configSchema())))
  if (!data || problems.length > 0) throw new Unusable([`${file} cannot be used:`, ...problems].join('\n  '))
  return absolute(data, folder)
}

function parse(file: string): unknown {
  let text: string
  try {
    text = readNamedFile(file).toString()
  } catch (error) {
    throw new Unusable(`cannot read the configuration ${file} (${(error as NodeJS.ErrnoException).code})`)
  }
  const document = parseDocument(text, { prettyErrors: true, stringKeys: true })
  const problems = [...document.errors, ...document.warnings].map(({ message, linePos }) => {
    const place = linePos ? `line ${linePos[0].line}: ` : ''
    const [what = ''] = message.replace(/^With stringKeys, /, '').split('\n')
    return `${place}${what.replace(/ at line \d+, column \d+:?$/, '')}`
  })
  if (problems.length > 0) throw new Unusable([`${file} is not YAML:`, ...problems].join('\n  '))
  try {
    const settings: unknown = document.toJS() ?? {}
    // Refuses what refers to itself.
    JSON.stringify(settings)
    return settings
  } catch (error) {
    const why = error instanceof ReferenceError ? error.message : 'a part of it refers to itself'
    throw new Unusable(`${file} cannot be used:\n  ${why}`)
  }
}

/** An opening alone is found too: it would otherwise stand for itself. */
const REFERENCE = /\$\{(?:(env|file):([^}]*)\})?/g

/** `${env:NAME}` and `${file:PATH}` in any text, so that secrets need not stand in the file. */
function references(value: unknown, folder: string, place: string, problems: string[]): unknown {
  if (typeof value === 'string')
    return value.replace(REFERENCE, (_, kind: string | undefined, name: string) => {
      if (kind === 'env') {
        if (process.env[name] === undefined) problems.push(`${place}: the environment has no ${name}`)
        return process.env[name] ?? ''
      }
      if (kind === 'file') return fileText(resolve(folder, name), place, problems)
      problems.push(`${place}: a reference is \${env:NAME} or \${file:PATH}`)
      return ''
    })
  if (Array.isArray(value))
    return value.map((item, i) => references(item, folder, `${place}[${i}]`, problems))
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        references(item, folder, place === '' ? key : `${place}.${key}`, problems),
      ]),
    )
  return value
}

function fileText(path: string, place: string, problems: string[]): string {
  try {
    return readNamedFile(path).toString().trimEnd()
  } catch (error) {
    problems.push(`${place}: cannot read ${path} (${(error as NodeJS.ErrnoException).code})`)
    return ''
  }
}

function absolute(config: Config, folder: string): Config {
  const at = (path: string) => resolve(folder, path)
  const { listen, issuers, policy, decision_log: decisionLog } = config
  return {
    ...config,
    listen: {
      ...listen,
      grpc: listen.grpc.startsWith('unix:') ? `unix:${at(listen.grpc.slice('unix:'.length))}` : listen.grpc,
      ...(listen.tls && {
        tls: {
          cert: at(listen.tls.cert),
          key: at(listen.tls.key),
          ...(listen.tls.client_ca !== undefined && { client_ca: at(listen.tls.client_ca) }),
        },
      }),
    },
    issuers: issuers.map(issuer => ({
      ...issuer,
      ...(issuer.jwks_file !== undefined && { jwks_file: at(issuer.jwks_file) }),
      ...(issuer.ca_file !== undefined && { ca_file: at(issuer.ca_file) }),
    })),
    policy: {
      ...policy,
      bundle: at(policy.bundle),
      ...(policy.canaries !== undefined && { canaries: at(policy.canaries) }),
    },
    decision_log:
      decisionLog === 'none' || decisionLog.file === undefined
        ? decisionLog
        : { ...decisionLog, file: at(decisionLog.file) },
  }
}
