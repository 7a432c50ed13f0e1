import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { parse, stringify } from 'yaml'
import { configSchema, readConfig } from '../../src/config.ts'
import { Unusable } from '../../src/unusable.ts'

const folder = mkdtempSync(join(tmpdir(), 'config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
afterEach(() => vi.unstubAllEnvs())

const MINIMAL = `
issuers:
  - name: corp
    issuer: https://idp.example.com
    jwks_file: ./jwks.json
    audiences: [https://api.example.com]
policy: { bundle: ./bundle.tar.gz }
`

const WHOLE = `
listen:
  grpc: unix:./run/authz.sock
  admin: 127.0.0.1:0
  check_timeout: 1s
  max_connections: 16
  max_concurrent_streams: 100
  max_connection_age: 10m
  keepalive: 10s
  reflection: true
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
`

function read(text: string) {
  const file = join(folder, 'agent-authz.yaml')
  writeFileSync(file, text)
  return readConfig(file)
}

/** What is wrong, one problem an entry, the folder's own name taken out. */
function problems(text: string): string[] {
  try {
    read(text)
  } catch (error) {
    expect(error).toBeInstanceOf(Unusable)
    const [first, ...rest] = (error as Error).message.replaceAll(folder, '').split('\n  ')
    expect(first).toMatch(/^\/agent-authz\.yaml (cannot be used|is not YAML):$/)
    return rest
  }
  throw new Error('the configuration was accepted')
}

/** The whole configuration with one value put at a path such as `listen.tls.cert` or `issuers.0.name`. */
function whole(path: string, value: unknown): string {
  const config = parse(WHOLE)
  const steps = path.split('.')
  const last = steps.pop() as string
  steps.reduce((inner, step) => inner[step], config)[last] = value
  return stringify(config)
}

describe('a configuration', () => {
  it('needs little, and the rest has defaults', () => {
    expect(read(MINIMAL)).toEqual({
      listen: {
        grpc: '127.0.0.1:9191',
        admin: '127.0.0.1:9192',
        check_timeout: 150,
        max_connections: 1024,
        max_concurrent_streams: 1024,
        max_connection_age: 1_800_000,
        keepalive: 30_000,
        reflection: false,
      },
      issuers: [
        {
          name: 'corp',
          issuer: 'https://idp.example.com',
          jwks_file: `${folder}/jwks.json`,
          audiences: ['https://api.example.com'],
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
      policy: {
        bundle: `${folder}/bundle.tar.gz`,
        entrypoint: 'envoy/authz/result',
        reasons: [],
        input: { credentials: false },
      },
      decision_log: { on_full: 'refuse' },
      mode: 'enforce',
      identity: 'required',
      authorization: 'remove',
    })
  })

  it('takes every documented setting, its paths from the folder of the file', () => {
    expect(read(WHOLE)).toEqual({
      listen: {
        grpc: `unix:${folder}/run/authz.sock`,
        admin: '127.0.0.1:0',
        check_timeout: 1000,
        max_connections: 16,
        max_concurrent_streams: 100,
        max_connection_age: 600_000,
        keepalive: 10_000,
        reflection: true,
        tls: { cert: `${folder}/tls.crt`, key: `${folder}/tls.key`, client_ca: `${folder}/ca.crt` },
      },
      issuers: [
        {
          name: 'corp',
          issuer: 'https://idp.example.com',
          jwks_uri: 'https://idp.example.com/keys',
          ca_file: `${folder}/corp-ca.pem`,
          proxy: 'http://proxy.example.com:3128',
          audiences: ['https://api.example.com'],
          algorithms: ['RS256'],
          profile: 'rfc8693',
          types: ['at+jwt'],
          clients: ['console'],
          required_claims: ['jti'],
          max_lifetime: 300_000,
          clock_skew: 10_000,
          max_depth: 2,
          require_agent: false,
          require_delegator: false,
          required: true,
        },
      ],
      policy: {
        bundle: '/srv/bundle.tar.gz',
        entrypoint: 'envoy/authz/other',
        canaries: `${folder}/canaries`,
        reasons: ['folder_not_allowed'],
        input: { credentials: true },
      },
      decision_log: { file: `${folder}/decisions.jsonl`, on_full: 'drop' },
      mode: 'observe',
      identity: 'optional',
      authorization: 'keep',
    })
  })

  it('has its paths from the folder of the file also when it is named from elsewhere', () => {
    writeFileSync(join(folder, 'agent-authz.yaml'), MINIMAL)
    const before = process.cwd()
    process.chdir(tmpdir())
    try {
      expect(readConfig(`${folder.slice(tmpdir().length + 1)}/agent-authz.yaml`).policy.bundle).toMatch(
        /^\/.*\/bundle\.tar\.gz$/,
      )
    } finally {
      process.chdir(before)
    }
    mkdirSync(join(folder, 'linked'), { recursive: true })
    symlinkSync('../agent-authz.yaml', join(folder, 'linked/config.yaml'))
    expect(readConfig(join(folder, 'linked/config.yaml')).policy.bundle).toBe(
      `${folder}/linked/bundle.tar.gz`,
    )
  })

  it('may leave the decision log away', () => {
    expect(read(`${MINIMAL}decision_log: none`).decision_log).toBe('none')
  })

  it('may say a part once and refer to it', () => {
    const shared = MINIMAL.replace(
      'policy:',
      `  - name: other
    issuer: https://other.example.com
    jwks_file: ./jwks.json
    audiences: *audiences
policy:`,
    ).replace('[https://api', '&audiences [https://api')
    expect(read(shared).issuers.map(({ audiences }) => audiences)).toEqual([
      ['https://api.example.com'],
      ['https://api.example.com'],
    ])
  })

  it('does not open what it points to', () => {
    expect(() => read(WHOLE)).not.toThrow()
  })
})

describe('an unknown key', () => {
  it.each([
    ['at the top', `${MINIMAL}polcies: {}`, 'polcies: unknown key; did you mean policy?'],
    ['in listen', whole('listen.grcp', 'x'), 'listen.grcp: unknown key; did you mean grpc?'],
    ['in listen.tls', whole('listen.tls.crt', 'x'), 'listen.tls.crt: unknown key; did you mean cert?'],
    [
      'in an issuer',
      whole('issuers.0.audience', ['a']),
      'issuers[0].audience: unknown key; did you mean audiences?',
    ],
    ['in policy', whole('policy.bundel', 'x'), 'policy.bundel: unknown key; did you mean bundle?'],
    [
      'in policy.input',
      whole('policy.input.credential', true),
      'policy.input.credential: unknown key; did you mean credentials?',
    ],
    [
      'in the decision log',
      whole('decision_log.fil', './x'),
      'decision_log.fil: unknown key; did you mean file?',
    ],
    ['that is not there yet', `${MINIMAL}workers: 2`, 'workers: unknown key; did you mean issuers?'],
    ['that an object has anyway', `${MINIMAL}__proto__: {}`, '__proto__: unknown key; did you mean policy?'],
  ])('is named with the nearest known one %s', (_, text, problem) => {
    expect(problems(text)).toEqual([problem])
  })
})

describe('a configuration that is wrong', () => {
  it('is told with every problem at once', () => {
    const text = `
listen: { grpc: here, admin: 127.0.0.1:70000, check_timeout: 150 }
issuers:
  - name: corp
    issuer: https://idp.example.com
    audience: [https://api.example.com]
    max_depth: many
    jwks_uri: https://idp.example.com/keys
    jwks_file: ./jwks.json
  - { name: corp, issuer: http://idp.example.com, audiences: [] }
policies: { bundle: x }
mode: audit
decision_log: { fil: ./x, on_full: wait }
identity: "\${env:ABSENT}"
`
    expect(problems(text).toSorted()).toEqual(
      [
        'identity: the environment has no ABSENT',
        'listen.grpc: host:port or unix:/path',
        'listen.admin: a port is at most 65535',
        'listen.check_timeout: a duration such as 150ms, 30s, 15m or 24h',
        'issuers[0].audiences: is required',
        'issuers[0].max_depth: expected number, received string',
        'issuers[0].audience: unknown key; did you mean audiences?',
        'issuers[0].jwks_file: either jwks_uri or jwks_file',
        'issuers[1].audiences: is empty',
        'issuers[1].issuer: for discovery: an https URL without credentials, or http on loopback',
        'issuers: two issuers have the same name',
        'policy: is required',
        'decision_log.on_full: expected one of "refuse"|"drop"',
        'decision_log.fil: unknown key; did you mean file?',
        'mode: expected one of "enforce"|"observe"',
        'identity: expected one of "required"|"optional"',
        'policies: unknown key; did you mean policy?',
      ].toSorted(),
    )
  })

  it.each([
    ['listen.grpc', '127.0.0.1', 'host:port or unix:/path'],
    ['listen.grpc', 'unix:', 'host:port or unix:/path'],
    ['listen.admin', 'unix:/x', 'host:port'],
    ['listen.admin', '127.0.0.1:65536', 'a port is at most 65535'],
    ['listen.check_timeout', '0ms', 'from 1ms to 60s'],
    ['listen.check_timeout', '61s', 'from 1ms to 60s'],
    ['listen.tls', { cert: 'x' }, /^listen\.tls\.key: is required$/],
    ['issuers', [], /^issuers: /],
    ['issuers', {}, 'expected array, received object'],
    [
      'issuers.0.name',
      'two words',
      'a name such as corp: at most 64 letters, digits, dots, hyphens and underscores',
    ],
    ['issuers.0.audiences', [], /^issuers\[0\]\.audiences: /],
    ['issuers.0.audiences', [''], /^issuers\[0\]\.audiences\[0\]: /],
    ['issuers.0.algorithms', ['HS256'], /^issuers\[0\]\.algorithms\[0\]: /],
    ['issuers.0.algorithms', ['none'], /^issuers\[0\]\.algorithms\[0\]: /],
    ['issuers.0.profile', 'ping', /^issuers\[0\]\.profile: /],
    ['issuers.0.types', [], /^issuers\[0\]\.types: /],
    ['issuers.0.max_lifetime', 900, 'a duration such as 150ms, 30s, 15m or 24h'],
    ['issuers.0.clock_skew', '-1s', 'a duration such as 150ms, 30s, 15m or 24h'],
    ['issuers.0.max_depth', 0, /^issuers\[0\]\.max_depth: /],
    ['issuers.0.max_depth', 17, /^issuers\[0\]\.max_depth: /],
    ['issuers.0.max_depth', 1.5, /^issuers\[0\]\.max_depth: /],
    ['issuers.0.require_agent', 'yes', 'expected boolean, received string'],
    [
      'issuers.0.jwks_uri',
      'http://idp.example.com/k',
      'an https URL without credentials, or http on loopback',
    ],
    ['issuers.0.jwks_file', './jwks.json', 'either jwks_uri or jwks_file'],
    ['issuers.0.proxy', 'proxy:3128', 'a URL such as http://proxy.example.com:3128'],
    ['policy.bundle', '', /^policy\.bundle: /],
    ['policy.entrypoint', '/envoy', 'a path such as envoy/authz/result'],
    ['policy.reasons', ['Not A Code'], /^policy\.reasons\[0\]: a code such as folder_not_allowed$/],
    ['policy.reasons', ['deadline'], /^policy\.reasons\[0\]: is a reason of the service itself$/],
    ['policy.input', null, 'expected object, received null'],
    ['decision_log', './decisions.jsonl', 'expected "none" or object'],
    ['decision_log', 7, 'expected "none" or object'],
    ['decision_log.file', '', /^decision_log\.file: /],
    ['mode', 'audit', 'expected one of "enforce"|"observe"'],
    ['identity', true, 'expected one of "required"|"optional"'],
    ['authorization', 'drop', 'expected one of "remove"|"keep"'],
  ])('is refused with one problem, at its place, with %s: %j', (path, value, problem) => {
    const place = path.replace(/\.(\d+)/g, '[$1]')
    const wanted = typeof problem === 'string' ? `${place}: ${problem}` : expect.stringMatching(problem)
    expect(problems(whole(path, value))).toEqual([wanted])
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
    expect(problems(again)).toEqual(['issuers: two issuers have the same name'])
    expect(
      problems(again.replace('name: corp', 'name: other').replace('https://other', 'https://idp')),
    ).toEqual(['issuers: two entries are for the same issuer'])
  })

  it('is refused with a tag that YAML does not know', () => {
    expect(problems(`${MINIMAL}mode: !!foo observe\n`).join()).toContain('Unresolved tag')
  })

  it('is refused without keys where the issuer cannot be asked for them', () => {
    const text = MINIMAL.replace('jwks_file: ./jwks.json', '').replace('https://idp', 'http://idp')
    expect(problems(text)).toEqual([
      'issuers[0].issuer: for discovery: an https URL without credentials, or http on loopback',
    ])
  })

  it.each([
    ['empty', '', ['issuers: is required', 'policy: is required']],
    ['a comment', '# nothing\n', ['issuers: is required', 'policy: is required']],
    ['a list', '- issuers: []', ['configuration: expected object, received array']],
    ['a text', 'agent-authz', ['configuration: expected object, received string']],
    ['a number', '7', ['configuration: expected object, received number']],
  ])('is refused where it is %s', (_, text, wanted) => {
    expect(problems(text)).toEqual(wanted)
  })

  it.each([
    ['an open list', `${MINIMAL}mode: [`, /^line 8: /],
    ['an open text', 'mode: "enforce\n', /^line 2: Missing closing "quote$/],
    ['a tab that indents', 'listen:\n\tgrpc: x\n', /^line 2: Tabs are not allowed/],
    ['a key twice', `${MINIMAL}mode: observe\nmode: enforce`, /^line 9: Map keys must be unique$/],
    [
      'a key twice further in',
      MINIMAL.replace('    issuer:', '    name: corp\n    issuer:'),
      /^line 4: Map keys must be unique$/,
    ],
    ['a key that is no text', `${MINIMAL}? [listen]\n: 1`, /^line 8: all keys must be strings$/],
    ['two documents', `${MINIMAL}---\n${MINIMAL}`, /^line 8: Source contains multiple documents/],
  ])('is refused with the line where it holds %s', (_, text, problem) => {
    const told = problems(text)
    expect(told[0]).toMatch(problem)
    expect(told.filter(line => !/^line \d+: /.test(line))).toEqual([])
  })

  it('is told with every line that is no YAML', () => {
    expect(problems('mode: a\nmode: b\nmode: c\n')).toHaveLength(2)
  })

  const nine = (name: string) => `[${Array.from({ length: 9 }, () => name).join(', ')}]`
  const BILLION = ['b', 'c', 'd', 'e', 'f', 'g', 'h'].reduce(
    (text, name, i) => `${text}${name}: &${name} ${nine(`*${'abcdefg'[i]}`)}\n`,
    `a: &a ${nine('lol')}\n`,
  )
  it.each([
    ['refers to itself', 'listen: &x { tls: *x }', /^a part of it refers to itself$/],
    ['refers to itself in a list', 'listen: &x [*x]', /^a part of it refers to itself$/],
    ['refers to one part more often than memory would do', BILLION, /^Excessive alias count/],
    ['refers to what is not there', 'listen: *nowhere', /^Unresolved alias .*: nowhere$/],
    ['is 100000 levels deep', '['.repeat(100_000), /^line 1: /],
    ['is 3000 levels deep', `listen: ${'['.repeat(3_000)}${']'.repeat(3_000)}`, /^line 1: /],
  ])('is refused where it %s', (_, text, problem) => {
    expect(problems(text)[0]).toMatch(problem)
  })

  it('is refused where there is no file', () => {
    const absent = join(folder, 'absent.yaml')
    expect(() => readConfig(absent)).toThrow(new Unusable(`cannot read the configuration ${absent} (ENOENT)`))
    const directory = join(folder, 'folder.yaml')
    mkdirSync(directory)
    expect(() => readConfig(directory)).toThrow(
      new Unusable(`cannot read the configuration ${directory} (EISDIR)`),
    )
  })
})

describe('a reference', () => {
  it('takes its value from the environment or from a file, the end of its line left out', () => {
    vi.stubEnv('AUDIENCE', 'https://from.env')
    writeFileSync(join(folder, 'audience'), 'https://from.file\n')
    const both = MINIMAL.replace('[https://api.example.com]', `["\${env:AUDIENCE}", "\${file:audience}"]`)
    expect(read(both).issuers[0]?.audiences).toEqual(['https://from.env', 'https://from.file'])
  })

  it('may be a part of a text, and stand in it more than once', () => {
    vi.stubEnv('HOST', 'proxy.example.com')
    vi.stubEnv('PASSWORD', 'p')
    writeFileSync(join(folder, 'user'), 'u')
    const text = whole('issuers.0.proxy', `http://\${file:${folder}/user}:\${env:PASSWORD}@\${env:HOST}:1`)
    expect(read(text).issuers[0]?.proxy).toBe('http://u:p@proxy.example.com:1')
  })

  it('reads a path that stands for the place of a file from the folder of the configuration', () => {
    vi.stubEnv('BUNDLE', './elsewhere.tar.gz')
    expect(read(whole('policy.bundle', `\${env:BUNDLE}`)).policy.bundle).toBe(`${folder}/elsewhere.tar.gz`)
  })

  it('is not looked for in what another one gave', () => {
    vi.stubEnv('OUTER', `\${env:INNER} $& $1`)
    vi.stubEnv('INNER', 'inner')
    const text = whole('issuers.0.audiences', [`\${env:OUTER}`])
    expect(read(text).issuers[0]?.audiences).toEqual([`\${env:INNER} $& $1`])
  })

  it('is left alone where it is none', () => {
    const text = whole('issuers.0.audiences', ['$HOME', '{env:HOME}', '$ {env:HOME}', '}'])
    expect(read(text).issuers[0]?.audiences).toEqual(['$HOME', '{env:HOME}', '$ {env:HOME}', '}'])
  })

  it.each([
    ['a name that is not there', `\${env:ABSENT}`, 'the environment has no ABSENT'],
    ['a file that is not there', `\${file:absent}`, 'cannot read /absent (ENOENT)'],
    ['a folder', `\${file:.}`, 'cannot read  (EISDIR)'],
    ['another kind', `\${vault:x}`, `a reference is \${env:NAME} or \${file:PATH}`],
    ['a name alone', `\${HOME}`, `a reference is \${env:NAME} or \${file:PATH}`],
    ['no end', `\${env:HOME`, `a reference is \${env:NAME} or \${file:PATH}`],
  ])('is a problem at its place when it names %s', (_, reference, problem) => {
    const told = problems(whole('issuers.0.audiences', ['https://a.example.com', reference]))
    expect(told).toContain(`issuers[0].audiences[1]: ${problem}`)
  })

  it('gives no part of its value away, wherever it stands and whatever is wrong with it', () => {
    vi.stubEnv('SECRET', 'hunter 2')
    const places = valuesOf(parse(WHOLE))
    expect(places.length).toBeGreaterThan(25)
    const leaks = places.filter(place => {
      const text = whole(place, `\${env:SECRET}`)
      return told(`${text}unknown: "\${env:SECRET}"\n`).includes('hunter')
    })
    expect(leaks).toEqual([])
  })
})

/** The places of every value in a configuration, as `whole` takes them. */
function valuesOf(value: unknown, place = ''): string[] {
  if (typeof value !== 'object' || value === null) return [place]
  return Object.entries(value).flatMap(([key, inner]) =>
    valuesOf(inner, place === '' ? key : `${place}.${key}`),
  )
}

function told(text: string): string {
  return problems(text).join('\n')
}

describe('the JSON Schema', () => {
  it('describes every setting', () => {
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

  it('wants what has no default, and knows no other key', () => {
    expect(configSchema()).toMatchObject({
      type: 'object',
      required: ['issuers', 'policy'],
      additionalProperties: false,
      properties: { issuers: { items: { required: ['name', 'issuer', 'audiences'] } } },
    })
  })
})
