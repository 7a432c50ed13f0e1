import { readFileSync } from 'node:fs'
import { describe, expect } from 'vitest'
import { reading } from '../unit/configured.ts'
import { json, newKey, startServer } from '../unit/identify/issuer.ts'
import { caller } from '../unit/listen/callers.ts'
import { encodeHttp } from '../unit/listen/wire/oracle.ts'
import { TOGETHER } from './command-line.ts'
import { eventually, it as withServices } from './serving.ts'

const FAULT = 'a fault inside: draining'
const SECRET = 'what-a-request-said'
/** As JavaScript; the text itself would stand in the name of the module, which is told. */
const MESSAGE = `atob('${btoa(SECRET)}')`
const HELD = 'https://held.example.com'
const WAITING = 4

const it = withServices
  // A service that throws on SIGWINCH, with checks that wait for a key which the issuer gives when it is told to.
  .extend('waiting', ({ at, onTestFinished, serve }) => async (fault: string) => {
    const key = await newKey('before')
    const issuer = await startServer(json({ keys: [key.jwk] }))
    onTestFinished(issuer.close)
    const file = at.configure(config => {
      const held = { name: 'held', issuer: HELD, jwks_uri: `${issuer.url}/keys`, jwks_file: undefined }
      config.issuers.push({ ...config.issuers[0], ...held })
    })
    const serving = await serve(file, { preload: `process.on('SIGWINCH',()=>{${fault}})` })
    await eventually('the keys', async () => (await serving.metric('agent_authz_keys{issuer="held"}')) > 0)

    let asked = false
    const given = Promise.withResolvers<void>()
    issuer.answer = async (_, response) => {
      asked = true
      await given.promise
      response.end(readFileSync(at.path('jwks.json')))
    }
    const request = encodeHttp(reading(await at.mint({ iss: HELD })))
    const client = caller(serving.grpc())
    onTestFinished(client.close)
    const answers = Promise.all(Array.from({ length: WAITING }, () => client.check(request)))
    answers.catch(() => undefined)
    await eventually('the issuer to be asked', () => asked)
    return { serving, answers, give: given.resolve }
  })

describe('what nothing catches', TOGETHER, () => {
  it.for<[what: string, fault: string, name: string]>([
    ['an exception', `throw new TypeError(${MESSAGE})`, 'TypeError'],
    ['a rejection', `Promise.reject(new RangeError(${MESSAGE}))`, 'RangeError'],
    ['a rejection with what is no error', `Promise.reject(${MESSAGE})`, 'UnhandledPromiseRejection'],
  ])(
    '%s: it is told, what is under way is answered and recorded, and it ends with 1',
    async ([, fault, name], { at, waiting }) => {
      const { serving, answers: waited, give } = await waiting(fault)
      serving.child.kill('SIGWINCH')
      await serving.told(FAULT)
      give()
      const answers = await waited

      expect(await serving.ended()).toEqual([1, null])
      expect(answers.map(({ code }) => code)).toEqual(answers.map(() => 0))
      const answered = answers.map(({ metadata }) => (metadata as { decision_id: string }).decision_id)
      const recorded = at.decisions().map(line => line.decision_id)
      expect(recorded.toSorted()).toEqual(answered.toSorted())
      const lines = serving.log().trimEnd().split('\n')
      const told = lines.map(line => JSON.parse(line)).filter(({ msg }) => msg === FAULT)
      expect(told).toMatchObject([{ level: 50, error: name, at: expect.any(Array) }])
      expect(serving.count('drained')).toBe(1)
      expect(serving.log()).not.toContain(SECRET)
    },
  )

  it('is told, and ends with 1, also where it comes while the service drains', async ({ waiting }) => {
    const { serving, answers, give } = await waiting('throw new TypeError()')
    serving.child.kill('SIGTERM')
    await serving.told('draining')
    serving.child.kill('SIGWINCH')
    await serving.told(FAULT)
    give()
    expect((await answers).map(({ code }) => code)).toEqual(Array(WAITING).fill(0))
    expect(await serving.ended()).toEqual([1, null])
    expect([serving.count(FAULT), serving.count('drained')]).toEqual([1, 1])
  })
})
