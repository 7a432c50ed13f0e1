import { readFileSync } from 'node:fs'
import { relative } from 'node:path'
import { styleText } from 'node:util'
import type { Parts } from './parts.ts'
import { acting, type Row } from './play.ts'
import { ok } from './processes.ts'

/** Colours only where a person looks: not in a pipe, and not with NO_COLOR. */
const paint = (style: 'green' | 'red' | 'bold' | 'yellow', text: string) =>
  styleText(style, text, { stream: process.stdout })

/** What is up, and where. */
export function partsTable({ issuer, upstream, service, envoy }: Parts): string {
  return [
    `issuer       ${issuer.url}   ${paint('yellow', 'for development only: mints any token for anybody who asks')}`,
    `upstream     http://127.0.0.1:${upstream.port}   answers with what it received`,
    `agent-authz  ${service.grpc} (gRPC), ${service.adminUrl}/metrics`,
    `envoy        ${envoy.url}, admin ${envoy.adminUrl}`,
    '',
    '',
  ].join('\n')
}

const COLUMNS = [
  '',
  'request',
  'who acts for whom',
  'status',
  'reason',
  'x-delegator-id',
  'x-agent-id',
  'x-agent-chain',
]

const DOMAIN = '.example.com'

/** One line for each request under what it shows, and below them what is not as wanted. */
export function answersTable(rows: readonly Row[]): string {
  const cells = rows.map(({ scenario, played, reason, enforced, wrong }) => [
    wrong.length === 0 ? '✓' : '✗',
    `${scenario.request.method} ${scenario.request.host.replace(DOMAIN, '')}${scenario.request.path}`,
    acting(scenario),
    `${played.status}`,
    reason === undefined ? 'not asked' : `${reason}${enforced ? '' : ' (observed)'}`,
    seen(played.seen, 'x-delegator-id'),
    seen(played.seen, 'x-agent-id'),
    seen(played.seen, 'x-agent-chain'),
  ])
  const widths = COLUMNS.map((title, i) =>
    Math.max(...[COLUMNS, ...cells].map(row => (row[i] ?? title).length)),
  )
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  const lines = cells.map((row, i) => {
    const wrong = rows[i]?.wrong ?? []
    const mark = wrong.length === 0 ? paint('green', '✓') : paint('red', '✗')
    const group = rows[i]?.scenario.group as string
    const heading = group === rows[i - 1]?.scenario.group ? [] : ['', paint('bold', group)]
    return [...heading, mark + line(row).slice(1), ...wrong.map(text => `     ${paint('red', text)}`)].join(
      '\n',
    )
  })
  return [
    paint('bold', line(COLUMNS)),
    ...lines,
    '',
    `Hosts without their ${DOMAIN}. The last three columns are what the upstream received; with them come`,
    'x-delegator-issuer, x-agent-issuer and x-authz-decision-id. A dash: no such header, or no request.',
    '',
    '',
  ].join('\n')
}

function seen(headers: { readonly [name: string]: string } | undefined, name: string): string {
  return headers?.[name] ?? '–'
}

/** Where the record of all this is, with one line of each. */
export async function whereToLook({ service, decisionLog, envoy }: Parts): Promise<string> {
  const lines = readFileSync(decisionLog, 'utf8').trimEnd().split('\n')
  const metrics = ((await ok(`${service.adminUrl}/metrics`)) ?? '').split('\n')
  const access = envoy.accessLog().find(({ agent }) => agent !== null)
  return [
    `decision log  ${relative('', decisionLog)}, ${lines.length} lines, the first:`,
    `  ${lines[0]}`,
    `metrics       ${service.adminUrl}/metrics while it runs, for example:`,
    `  ${metrics.find(line => line.startsWith('agent_authz_decisions_total{'))}`,
    `access log    Envoy's, with our fields, for example:`,
    `  ${JSON.stringify(access)}`,
    '',
    '',
  ].join('\n')
}

/** Commands to copy. */
export function howToTry({ issuer, envoy, service, config, decisionLog }: Parts): string {
  const call = (path: string, more = '') =>
    `  curl -si ${envoy.url}${path} -H 'Host: mail.example.com' -H "Authorization: Bearer $TOKEN"${more}`
  return [
    paint('bold', 'Try'),
    '',
    'A token for the agent mail-summary that acts for alice:',
    `  TOKEN=$(.tools/bin/node src/main.ts token mint --issuer ${issuer.url} --sub alice --act mail-summary \\`,
    `    --aud https://mail.example.com --scope read:mail:inbox)`,
    'What is made of it, rule by rule:',
    `  echo $TOKEN | .tools/bin/node src/main.ts token inspect --config ${relative('', config)}`,
    '',
    'Allowed; the answer is what the upstream received:',
    call('/v1/folders/inbox/messages'),
    'Refused by policy:',
    call('/v1/folders/archive/messages'),
    'Refused without a token:',
    `  curl -si ${envoy.url}/v1/folders/inbox/messages -H 'Host: mail.example.com'`,
    'A client that claims to be somebody else does not get through with it:',
    call('/v1/folders/inbox/messages', " -H 'X-Agent-Id: admin'"),
    '',
    'The record:',
    `  tail -f ${relative('', decisionLog)}`,
    `  curl -s ${service.adminUrl}/metrics | grep agent_authz_decisions_total`,
    `  curl -s ${service.adminUrl}/readyz`,
    '',
    'Ctrl-C stops everything.',
    '',
  ].join('\n')
}
