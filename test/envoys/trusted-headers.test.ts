import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TRUSTED_HEADERS } from '../../src/types.ts'
import { ALICE } from '../e2e/stack.ts'
import { AS_ALICE, expectAllowed, expectEnvoysRefusal, trusted } from './expectations.ts'
import { bearer, type Field } from './http1.ts'
import { send2 } from './http2-client.ts'
import { inEachEncoding, type Listener } from './listeners.ts'
import { type Matrix, startMatrix } from './matrix.ts'
import { type Sent, send, utf8 } from './raw-client.ts'

/** agent-authz alone: nothing is stripped before it, and Envoy lets underscores in. */
function bare({ hcm }: Listener): void {
  hcm.http_filters = hcm.http_filters.filter(({ name }) => name !== 'strip-trusted-headers')
  hcm.common_http_protocol_options = {}
}

const SAMPLE = inEachEncoding()
const BARE = inEachEncoding(bare, encoding => `bare-${encoding}`)

let matrix: Matrix
let alice: Field
beforeAll(async () => {
  matrix = await startMatrix({ ...SAMPLE, ...BARE })
  alice = bearer(await matrix.issuer.mint(ALICE))
}, 60_000)
afterAll(() => matrix?.stop())

const each = (spell: (name: string) => Field | Field[]): Field[] =>
  TRUSTED_HEADERS.flatMap(name => {
    const spelt = spell(name)
    return typeof spelt[0] === 'string' ? [spelt as Field] : (spelt as Field[])
  })
const title = (name: string) => name.replace(/(^|-)[a-z]/g, letter => letter.toUpperCase())
const mixed = (name: string) => [...name].map((letter, i) => (i % 2 ? letter.toUpperCase() : letter)).join('')

/** What HTTP takes for the trusted headers themselves. */
const SPELLINGS: [what: string, headers: Field[]][] = [
  ['lower case', each(name => [name, 'forged'])],
  ['upper case', each(name => [name.toUpperCase(), 'forged'])],
  ['title case', each(name => [title(name), 'forged'])],
  ['mixed case', each(name => [mixed(name), 'forged'])],
  [
    'twice',
    each(name => [
      [name, 'forged'],
      [name, 'forged too'],
    ]),
  ],
  [
    'in two spellings, apart',
    [...each(name => [title(name), 'forged']), ['x-other', '1'], ...each(name => [name, 'forged'])],
  ],
  ['twenty times', Array.from({ length: 15 }, () => each(name => [name, 'forged'])).flat()],
  ['a list', each(name => [name, 'forged, forged'])],
  ['an empty value', each(name => [name, ''])],
  ['spaces and tabs around', each(name => [name, ' \t forged \t '])],
  ['a line that goes on', each(name => [name, 'for\r\n ged'])],
  ['bytes that are not UTF-8', each(name => [name, 'forged\xff\xfe'])],
  ['letters outside ASCII', each(name => [name, utf8('forgéd forged')])],
  ['named in Connection', [['connection', TRUSTED_HEADERS.join(', ')], ...each(name => [name, 'forged'])]],
  ['the values that would be right', each(name => [title(name), 'alice@example.com'])],
]

/** What only CGI-like upstreams take for them. */
const ALIKE: [what: string, headers: Field[]][] = [
  ['underscores', each(name => [name.replaceAll('-', '_'), 'forged'])],
  ['underscores in upper case', each(name => [name.replaceAll('-', '_').toUpperCase(), 'forged'])],
  ['one underscore', each(name => [name.replace('-', '_'), 'forged'])],
  ['the other underscore', each(name => [name.replace(/-(?=[^-]*$)/, '_'), 'forged'])],
  [
    'underscores, twice, beside hyphens',
    each(name => [
      [name, 'forged'],
      [name.replaceAll('-', '_'), 'forged'],
      [title(name).replaceAll('-', '_'), 'forged'],
    ]),
  ],
]

/** No underscore, so that Envoy lets them in. */
const DOTTED: [what: string, headers: Field[]][] = [
  ['dots', each(name => [name.replaceAll('-', '.'), 'forged'])],
  ['other characters of a name', each(name => [name.replaceAll('-', '~').replace('~', '|'), 'forged'])],
]

/** Who asks, for what, and what the upstream may then trust. */
const ASKERS: [who: string, target: string, authorization: () => Field[], wanted: Record<string, string>][] =
  [
    ['alice', '/see', () => [alice], AS_ALICE],
    ['nobody', '/public', () => [], {}],
    ['alice, only observed', '/observe', () => [alice], AS_ALICE],
    ['a bad token, only observed', '/observe', () => [['authorization', 'Bearer garbage']], {}],
  ]

const listeners = [...Object.keys(SAMPLE), ...Object.keys(BARE)]

describe.each(listeners)('%s', listener => {
  const ask = (sent: Sent) => matrix.ask(listener, port => send(port, sent))

  it.each([...SPELLINGS, ...DOTTED])('what a client forged does not arrive: %s', async (_, forged) => {
    // Before and behind the token.
    for (const [, target, authorization, wanted] of ASKERS) {
      const asked = await ask({ target, headers: [...forged, ...authorization()] })
      expect(JSON.stringify(expectAllowed(asked, wanted).headers)).not.toMatch(/forg|for ged/)
    }
  })

  it('nor over HTTP/2', async () => {
    for (const [, path, authorization, wanted] of ASKERS)
      for (const [, forged] of [...SPELLINGS, ...DOTTED].filter(([, names]) => isHttp2(names))) {
        const headers = [...authorization(), ...forged]
        expectAllowed(await matrix.ask(listener, port => send2(port, { path, headers })), wanted)
      }
  })

  it.each(ALIKE)('nor what could be taken for it: %s', async (_, forged) => {
    for (const [, target, authorization, wanted] of ASKERS) {
      const asked = await ask({ target, headers: [...authorization(), ...forged] })
      if (listener in SAMPLE) expectEnvoysRefusal(asked, 400)
      else expect(JSON.stringify(expectAllowed(asked, wanted).headers)).not.toContain('forged')
    }
  })
})

describe.each(Object.keys(SAMPLE))('%s', listener => {
  it('what was forged does not arrive on a route that is not checked', async () => {
    for (const [, headers] of SPELLINGS) {
      const asked = await matrix.ask(listener, port => send(port, { target: '/healthz', headers }))
      expect(asked.counted).toEqual({})
      expect(asked.upstream.map(trusted)).toEqual([{}])
    }
  })
})

/** There names are in lower case, `Connection` is no header, and a header is no line. */
function isHttp2(headers: readonly Field[]): boolean {
  return headers.every(
    ([name, value]) => name === name.toLowerCase() && name !== 'connection' && !value.includes('\r\n'),
  )
}
