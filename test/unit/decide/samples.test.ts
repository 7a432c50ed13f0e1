import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCanaries, runCanaries } from '../../../src/decide/canaries.ts'
import { policyInput } from '../../../src/decide/input.ts'
import { verdict } from '../../../src/decide/verdict.ts'
import { createProgram } from '../../../src/decide/wasm.ts'
import { gather } from '../../../src/gather/gather.ts'
import { heldRequest, identity } from '../trail.ts'
import { compile, unpack } from './compile.ts'

const POLICIES = join(import.meta.dirname, '../../../policies')
const ENTRY = 'envoy/authz/result'

const sources = readdirSync(POLICIES).filter(name => name.endsWith('.rego') && !name.endsWith('_test.rego'))
const bundle = await unpack(
  compile(Object.fromEntries(sources.map(name => [name, readFileSync(join(POLICIES, name), 'utf8')])), {
    data: readFileSync(join(POLICIES, 'data.json'), 'utf8'),
  }),
)
const program = createProgram(
  bundle['/policy.wasm'] as Buffer,
  new Uint8Array(bundle['/data.json'] as Buffer).buffer,
)
const reasons = new Set([
  'agent_unknown',
  'identity_missing',
  'token_for_another_api',
  'parameters_not_allowed',
  'operation_not_allowed',
  'folder_not_allowed',
  'dataset_not_allowed',
  'query_not_allowed',
  'repository_not_allowed',
  'api_not_allowed',
])

/** `METHOD host/path`, asked by an agent with these scopes, with a token for that host or another. */
function ask(
  agent: string | undefined,
  call: string,
  { scopes = [] as string[], json = '', aud = '', agentIss = identity.iss } = {},
): string {
  const [method = '', url = ''] = call.split(' ')
  const slash = url.indexOf('/')
  const [host, path] = [url.slice(0, slash), url.slice(slash)]
  const request = heldRequest({
    attributes: { request: { http: { method, host, path } } },
    method,
    host,
    path,
    headers: { 'content-type': ['application/json'] },
    body: () => ({ text: json, bytes: Buffer.byteLength(json) }),
  })
  const who =
    agent === undefined
      ? undefined
      : {
          ...identity,
          agent: { sub: agent, iss: agentIss },
          scopes,
          claims: { aud: aud || `https://${host}` },
        }
  const set = program.evaluate(policyInput(gather(request, who, 0), { credentials: false }), ENTRY)
  const { outcome, reason } = verdict(set, { entrypoint: ENTRY, revision: 'r' }, reasons)
  return outcome === 'allow' ? 'allow' : reason
}

const INBOX = 'mail.example.com/v1/folders/inbox/messages'
const inbox = { scopes: ['read:mail:inbox'] }

describe('the sample policies, as WebAssembly, decide', () => {
  it.each<[agent: string | undefined, call: string, answer: string, more?: Parameters<typeof ask>[2]]>([
    ['mail-summary', `GET ${INBOX}`, 'allow', inbox],
    ['mail-summary', `GET ${INBOX}?folder=drafts`, 'parameters_not_allowed', inbox],
    ['mail-summary', `GET ${INBOX}`, 'insufficient_scope', { scopes: ['read:mail'] }],
    [
      'mail-summary',
      'GET mail.example.com/v1/folders/drafts/messages',
      'folder_not_allowed',
      { scopes: ['read:mail:drafts'] },
    ],
    ['mail-summary', `POST ${INBOX}`, 'operation_not_allowed', inbox],
    ['mail-summary', `GET ${INBOX}/`, 'operation_not_allowed', inbox],
    ['sql-analytics', 'GET sql.example.com/v1/datasets/sales/rows', 'allow'],
    ['sql-analytics', 'GET sql.example.com/v1/datasets/salaries/rows', 'dataset_not_allowed'],
    ['sql-analytics', 'DELETE sql.example.com/v1/datasets/sales/rows', 'operation_not_allowed'],
    ['sql-analytics', 'GET mail.example.com/v1/datasets/sales/rows', 'operation_not_allowed'],
    ['sql-analytics', 'POST sql.example.com/v1/queries', 'allow', { json: '{"name": "revenue_by_month"}' }],
    [
      'sql-analytics',
      'POST sql.example.com/v1/queries',
      'query_not_allowed',
      { json: '{"sql": "select 1"}' },
    ],
    [
      'sql-analytics',
      'POST sql.example.com/v1/queries',
      'query_not_allowed',
      { json: '{"name": "revenue_by_month", "Name": "drop_everything"}' },
    ],
    ['sql-analytics', 'POST sql.example.com/v1/queries', 'query_not_allowed'],
    ['git-bot', 'GET git.example.com/v1/repos/acme-web/contents', 'allow'],
    ['git-bot', 'POST git.example.com/v1/repos/acme-web/pulls', 'allow'],
    ['git-bot', 'POST git.example.com/v1/repos/acme-web/pulls/7/merge', 'operation_not_allowed'],
    ['git-bot', 'GET git.example.com/v1/repos/payroll/contents', 'repository_not_allowed'],
    ['git-bot', 'GET git.example.com/v1/repos/acme-web%2F..%2Fpayroll/contents', 'operation_not_allowed'],
    ['assistant', 'GET calendar.example.com/v1/events', 'allow'],
    ['assistant', 'POST crm.example.com/v1/contacts', 'allow'],
    ['assistant', 'POST calendar.example.com/v1/events', 'operation_not_allowed'],
    ['assistant', 'GET git.example.com/v1/events', 'api_not_allowed'],
    [
      'assistant',
      'GET crm.example.com/v1/contacts',
      'token_for_another_api',
      { aud: 'https://calendar.example.com' },
    ],
    ['newcomer', `GET ${INBOX}`, 'agent_unknown', inbox],
    [
      'git-bot',
      'GET git.example.com/v1/repos/acme-web/pulls',
      'agent_unknown',
      { agentIss: 'https://elsewhere.example' },
    ],
    [undefined, 'GET mail.example.com/public/terms', 'allow'],
    [undefined, 'GET mail.example.com/public/terms?lang=en', 'allow'],
    [undefined, 'GET mail.example.com/public/%2e%2e/v1', 'identity_missing'],
    [undefined, 'GET mail.example.com/public/%2e%2e;/v1', 'identity_missing'],
    [undefined, `GET ${INBOX}`, 'identity_missing'],
  ])('%s: %s → %s', (agent, call, answer, more) => {
    expect(ask(agent, call, more)).toBe(answer)
  })

  it('as their canaries expect', () => {
    const cases = readCanaries(join(POLICIES, 'canaries'))
    expect(cases.length).toBeGreaterThan(2)
    runCanaries(cases, ENTRY, program.evaluate)
  })
})
