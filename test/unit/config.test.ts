import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { configSchema, readConfig } from '../../src/config.ts'
import { Unusable } from '../../src/unusable.ts'

const folder = mkdtempSync(join(tmpdir(), 'config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const MINIMAL = `
issuers:
  - name: corp
    issuer: https://idp.example.com
    jwks_file: ./jwks.json
    audiences: [https://api.example.com]
policy: { bundle: ./bundle.tar.gz }
`

function read(text: string) {
  const file = join(folder, 'agent-authz.yaml')
  writeFileSync(file, text)
  return readConfig(file)
}

function problems(text: string): string {
  try {
    read(text)
  } catch (error) {
    expect(error).toBeInstanceOf(Unusable)
    return (error as Error).message.replaceAll(folder, '')
  }
  throw new Error('the configuration was accepted')
}

describe('a configuration', () => {
  it('needs little, and the rest has defaults', () => {
    expect(read(MINIMAL)).toMatchObject({
      listen: { grpc: '127.0.0.1:9191', admin: '127.0.0.1:9192', check_timeout: 150 },
      issuers: [
        {
          algorithms: ['RS256', 'ES256'],
          profile: 'rfc8693',
          types: ['at+jwt', 'JWT'],
          clients: [],
          required_claims: [],
          max_lifetime: 900_000,
          clock_skew: 30_000,
          max_depth: 4,
          require_agent: true,
          require_delegator: true,
          required: false,
        },
      ],
      policy: { entrypoint: 'envoy/authz/result', reasons: [], input: { credentials: false } },
      decision_log: { on_full: 'refuse' },
      mode: 'enforce',
      identity: 'required',
      authorization: 'remove',
    })
  })

  it('takes every documented setting', () => {
    const config = read(`
listen:
  grpc: unix:./run/authz.sock
  admin: 127.0.0.1:0
  check_timeout: 1s
  tls: { cert: ./tls.crt, key: ./tls.key, client_ca: ./ca.crt }
issuers:
  - name: corp
    issuer: https://idp.example.com
    jwks_uri: https://idp.example.com/keys
    ca_file: ./corp-ca.pem
    proxy: http://proxy.example.com:3128
    audiences: [https://api.example.com]
    algorithms: [RS256]
    profile: rfc8693
    types: [at+jwt]
    clients: [console]
    required_claims: [jti]
    max_lifetime: 5m
    clock_skew: 10s
    max_depth: 2
    require_agent: false
    require_delegator: false
    required: true
policy:
  bundle: /srv/bundle.tar.gz
  entrypoint: envoy/authz/other
  canaries: ./canaries
  reasons: [folder_not_allowed]
  input: { credentials: true }
decision_log: { file: ./decisions.jsonl, on_full: drop }
mode: observe
identity: optional
authorization: keep
`)
    expect(config.listen).toEqual({
      grpc: `unix:${folder}/run/authz.sock`,
      admin: '127.0.0.1:0',
      check_timeout: 1000,
      tls: { cert: `${folder}/tls.crt`, key: `${folder}/tls.key`, client_ca: `${folder}/ca.crt` },
    })
    expect(config.issuers[0]?.ca_file).toBe(`${folder}/corp-ca.pem`)
    expect(config.policy).toMatchObject({ bundle: '/srv/bundle.tar.gz', canaries: `${folder}/canaries` })
    expect(config.decision_log).toEqual({ file: `${folder}/decisions.jsonl`, on_full: 'drop' })
  })

  it('may leave the decision log away', () => {
    expect(read(`${MINIMAL}decision_log: none`).decision_log).toBe('none')
  })

  it('reports every problem at once, and names the nearest known key', () => {
    const text = problems(`
issuers:
  - name: corp
    issuer: https://idp.example.com
    audience: [https://api.example.com]
    max_depth: many
policies: { bundle: x }
mode: audit
decision_log: { fil: ./x }
`)
    expect(text).toMatch(/issuers\[0\]\.audience: unknown key; did you mean audiences\?/)
    expect(text).toMatch(/issuers\[0\]\.audiences: is required/)
    expect(text).toMatch(/issuers\[0\]\.max_depth: /)
    expect(text).toMatch(/policies: unknown key; did you mean policy\?/)
    expect(text).toMatch(/policy: is required/)
    expect(text).toMatch(/mode: /)
    expect(text).toMatch(/decision_log\.fil: unknown key; did you mean file\?/)
  })

  it.each([
    ['no audience', MINIMAL.replace('[https://api.example.com]', '[]'), /audiences/],
    ['a shared secret', MINIMAL.replace('jwks_file', 'algorithms: [HS256]\n    jwks_file'), /algorithms/],
    [
      'plain HTTP to elsewhere',
      MINIMAL.replace('jwks_file: ./jwks.json', 'jwks_uri: http://idp.example.com/k'),
      /jwks_uri/,
    ],
    [
      'two sources of keys',
      MINIMAL.replace('jwks_file', 'jwks_uri: https://a.example.com\n    jwks_file'),
      /jwks/,
    ],
    ['a duration without a unit', `${MINIMAL}listen: { check_timeout: 150 }`, /check_timeout/],
    ['no issuer', 'issuers: []\npolicy: { bundle: x }', /issuers/],
    ['a setting that is not there yet', `${MINIMAL}workers: 2`, /workers: unknown key/],
  ])('is refused with %s', (_, text, problem) => {
    expect(problems(text)).toMatch(problem)
  })

  it('is refused with two issuers of one name or one URL', () => {
    const again = MINIMAL.replace(
      'policy:',
      `  - name: corp
    issuer: https://other.example.com
    jwks_file: ./jwks.json
    audiences: [a]
policy:`,
    )
    expect(problems(again)).toMatch(/same name/)
    expect(
      problems(again.replace('name: corp', 'name: other').replace('https://other', 'https://idp')),
    ).toMatch(/same issuer/)
  })

  it('is refused where it is not YAML, or says a key twice', () => {
    expect(problems('issuers: [')).toMatch(/not YAML:\n {2}line \d+/)
    expect(problems(`${MINIMAL}mode: observe\nmode: enforce`)).toMatch(/unique/)
  })

  it('is refused where there is no file', () => {
    expect(() => readConfig(join(folder, 'absent.yaml'))).toThrow(/cannot read the configuration .*ENOENT/)
    mkdirSync(join(folder, 'folder.yaml'))
    expect(() => readConfig(join(folder, 'folder.yaml'))).toThrow(Unusable)
  })

  it('takes values from the environment and from files, and names those that are missing', () => {
    vi.stubEnv('AUDIENCE', 'https://from.env')
    writeFileSync(join(folder, 'audience'), 'https://from.file\n')
    const both = MINIMAL.replace('[https://api.example.com]', `["\${env:AUDIENCE}", "\${file:audience}"]`)
    expect(read(both).issuers[0]?.audiences).toEqual(['https://from.env', 'https://from.file'])
    vi.unstubAllEnvs()
    const missing = problems(both.replace('file:audience', 'file:absent'))
    expect(missing).toMatch(/issuers\[0\]\.audiences\[0\]: the environment has no AUDIENCE/)
    expect(missing).toMatch(/issuers\[0\]\.audiences\[1\]: cannot read .*absent/)
  })

  it('has a JSON Schema that describes every setting', () => {
    const undescribed: string[] = []
    const walk = (schema: Record<string, unknown>, place: string) => {
      for (const [name, inner] of Object.entries(
        (schema.properties ?? {}) as Record<string, Record<string, unknown>>,
      )) {
        if (inner.description === undefined && inner.properties === undefined)
          undescribed.push(`${place}${name}`)
        walk(inner, `${place}${name}.`)
      }
      if (schema.items) walk(schema.items as Record<string, unknown>, place)
      for (const branch of (schema.anyOf ?? []) as Record<string, unknown>[]) walk(branch, place)
    }
    walk(configSchema() as Record<string, unknown>, '')
    expect(undescribed).toEqual([])
  })
})
