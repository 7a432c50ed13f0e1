import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { GOOD_CLAIMS, GOOD_HEADER, NOW, SIGNERS } from './token.ts'

/*
 * The form of a vector file. Strict: a key that is not known here is an error, so is taking away what is not there.
 * What several files have in common stands in a file of `common/`: policies, defaults and answers.
 *
 * Over the good token of `token.ts` go the file's defaults, over these the vector: key by key, null takes a key away.
 * In any text `$(ab*3)` is `ababab`; a text that is `$NOW+30` is the time 30 s from now, as a number. In what is sent
 * `$TOKEN` is the token, `$HEADER`, `$PAYLOAD` and `$SIGNATURE` are its parts; in what is wanted `$ID` is the id of
 * the decision.
 */

const bytes = z.strictObject({ base64: z.base64() })
const texts = z.record(z.string(), z.string())
const changes = z.record(z.string(), z.json())

const config = z.strictObject({
  /** By name, over the settings of `vectors.test.ts`; `jwks`: the keys that the issuer publishes. */
  issuers: z.strictObject({ corp: changes.optional(), partner: changes.optional() }).optional(),
  policy: changes.optional(),
  mode: z.string().optional(),
  identity: z.string().optional(),
  authorization: z.string().optional(),
})

const request = z
  .strictObject({
    method: z.string().optional(),
    host: z.string().optional(),
    path: z.string().optional(),
    /** A Bearer header with the token is among them unless there is no token or another one is named. */
    headers: z.record(z.string(), z.string().nullable()).optional(),
    /** In place of `headers`, or beside them: one entry for each header received. */
    header_map: z.array(z.tuple([z.string(), z.union([z.string(), bytes])])).optional(),
    /** This many headers more. */
    more_headers: z.int().optional(),
    body: z.string().optional(),
    raw_body: z.union([z.string(), bytes]).optional(),
    source: changes.optional(),
    /** Envoy's `context_extensions`. */
    route: z.record(z.string(), z.string().nullable()).optional(),
    /** What Envoy's `jwt_authn` writes, by name: the token's claims with changes, or a text. */
    jwt_authn: z
      .record(z.string(), z.union([changes, z.string()]).nullable())
      .nullable()
      .optional(),
    /** The whole message, in place of all else. */
    message: z.union([bytes, z.strictObject({ attributes: changes })]).optional(),
  })
  .refine(
    ({ message, ...rest }) => message === undefined || Object.keys(rest).length === 0,
    'message goes alone',
  )

const token = z.strictObject({
  header: changes.optional(),
  claims: changes.optional(),
  /** Text of the header or payload that is replaced before it is signed; each must be there exactly once. */
  replace_in_header: texts.optional(),
  replace_in_payload: texts.optional(),
  /** In place of the claims. */
  payload: z.union([z.string(), bytes]).optional(),
  key: z.enum(SIGNERS).optional(),
  /** Sent in place of the token. */
  text: z.string().optional(),
})

/** A name with its value, or with all its values in order. */
const fields = z.record(z.string(), z.union([z.string(), z.array(z.string()).min(2)]))

const reply = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('allow'),
    headers: fields,
    removed: z.array(z.string()),
    response_headers: fields,
    query_set: fields,
    query_removed: z.array(z.string()),
    /** Beside decision_id, outcome and reason; issuer, delegator and agent as in the record unless said here. */
    metadata: changes,
  }),
  z.strictObject({
    kind: z.literal('deny'),
    status: z.int(),
    headers: fields,
    /** `$STANDARD`: the reason of the record and the decision id, as README has it. */
    body: z.string(),
    metadata: changes,
  }),
])

/** Without decision_id, time, policy_revision and durations_us, which are looked at in every vector. */
const record = z.strictObject({
  trace_id: z.string().optional(),
  request_id: z.string().optional(),
  mode: z.enum(['enforce', 'observe']),
  outcome: z.enum(['allow', 'deny']),
  enforced: z.boolean(),
  reason: z.string(),
  note: z.string().optional(),
  status: z.int(),
  issuer: z.string().optional(),
  delegator: z.string().optional(),
  agent: z.string().optional(),
  agent_iss: z.string().optional(),
  actor_source: z.enum(['act', 'client', 'none']).optional(),
  prior_actors: z.array(z.strictObject({ sub: z.string(), iss: z.string() })).optional(),
  client_id: z.string().optional(),
  token_id: z.string().optional(),
  source: z.strictObject({ address: z.string().optional(), principal: z.string().optional() }).optional(),
  method: z.string().optional(),
  host: z.string().optional(),
  path: z.string().optional(),
  entrypoint: z.string().optional(),
})

const given = {
  config: config.optional(),
  /** `samples`, or one of the file's `policies`. */
  policy: z.string().optional(),
  request: request.optional(),
}

const common = z.strictObject({
  /** Rego by name. */
  policies: texts.default({}),
  defaults: z.strictObject({ ...given, token: token.optional() }).prefault({}),
  /** Complete answers by name; each vector goes over one of them. */
  answers: z.record(z.string(), z.strictObject({ reply, record })).default({}),
})

const file = common.extend({
  /** A file of `common/`; what stands here under the same name goes before. */
  common: z.string().optional(),
  vectors: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        ...given,
        /** What the policy's entry point is, whatever the request. */
        result: z.json().optional(),
        /** null: no token. */
        token: token.nullable().optional(),
        /** The deadline is over, or the decision log has no room. */
        when: z.enum(['late', 'full']).optional(),
        answer: z.string(),
        reply: changes.optional(),
        record: changes.optional(),
      }),
    )
    .min(1),
})

const GOOD = { header: GOOD_HEADER, claims: GOOD_CLAIMS }

type Changes = Record<string, unknown>
export type WantedReply = z.infer<typeof reply>
export type WantedRecord = z.infer<typeof record>

export interface Vector {
  readonly name: string
  readonly config: z.infer<typeof config>
  /** A name, Rego, or what it results in. */
  readonly policy: 'samples' | { readonly rego: string } | { readonly result: unknown }
  readonly request: z.infer<typeof request>
  readonly token: z.infer<typeof token> | null
  readonly when: 'late' | 'full' | undefined
  readonly reply: WantedReply
  readonly record: WantedRecord
}

/** The vectors of one file, complete. Throws an Error for whatever is not as it must be. */
export function readVectors(path: string): Vector[] {
  const own = file.parse(contentOf(path))
  const shared = common.parse(
    own.common === undefined ? {} : contentOf(join(dirname(path), 'common', own.common)),
  )
  const { vectors } = own
  const policies = { ...shared.policies, ...own.policies }
  const defaults = { ...shared.defaults, ...own.defaults }
  const answers = { ...shared.answers, ...own.answers }
  const names = vectors.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new Error(`${path}: two vectors are called "${twice}"`)
  const used = new Set([defaults.policy, ...vectors.flatMap(({ answer, policy }) => [answer, policy])])
  const unused = [...Object.keys(own.answers), ...Object.keys(own.policies)].find(name => !used.has(name))
  if (unused !== undefined) throw new Error(`${path}: no vector uses ${unused}`)
  return vectors.map(vector => {
    try {
      return complete(vector)
    } catch (error) {
      throw new Error(`${path}: "${vector.name}": ${(error as Error).message}`, { cause: error })
    }
  })

  function complete(vector: (typeof vectors)[number]): Vector {
    const { name, answer, result, when } = vector
    const wanted = answers[answer]
    if (!wanted) throw new Error(`there is no answer ${answer}`)
    if (result !== undefined && vector.policy !== undefined) throw new Error('either policy or result')
    const { metadata = wanted.reply.metadata, ...changed } = vector.reply ?? {}
    return {
      name,
      config: config.parse(over(over({}, defaults.config, 3), vector.config, 3)),
      policy: result === undefined ? policyOf(vector.policy ?? defaults.policy ?? 'samples') : { result },
      request: request.parse(over(over({}, defaults.request, 2), vector.request, 2)),
      token: vector.token === null ? null : token.parse(over(over(GOOD, defaults.token, 2), vector.token, 2)),
      when,
      reply: reply.parse({ ...over(wanted.reply, changed, 2), metadata }),
      record: record.parse(over(wanted.record, vector.record, 1)),
    }
  }

  function policyOf(name: string): Vector['policy'] {
    if (name === 'samples') return name
    const rego = policies[name]
    if (rego === undefined) throw new Error(`there is no policy ${name}`)
    return { rego }
  }
}

function contentOf(path: string): unknown {
  const text = readFileSync(path, 'utf8')
  if (!/^# \S.*\.\n(?!#)/.test(text))
    throw new Error(`${path} does not begin with one line that says what it is about`)
  return expanded(parse(text, { merge: true }))
}

/** `depth`: how far down objects are merged; below, they are replaced. */
export function over(base: Changes = {}, changes: Changes = {}, depth = 1): Changes {
  const merged = { ...base }
  for (const [key, value] of Object.entries(changes)) {
    const there = base[key]
    if (value === null) {
      if (!Object.hasOwn(base, key)) throw new Error(`${key} cannot be taken away: it is not there`)
      delete merged[key]
    } else
      merged[key] = depth > 1 && isObject(there) && isObject(value) ? over(there, value, depth - 1) : value
  }
  return merged
}

function isObject(value: unknown): value is Changes {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function expanded(value: unknown): unknown {
  if (typeof value === 'string') {
    const time = /^\$NOW(?:([+-])(\d+(?:\.\d+)?))?$/.exec(value)
    if (time) return NOW + Number(`${time[1] ?? '+'}${time[2] ?? 0}`)
    return value.replace(/\$\((.+?)\*(\d+)\)/gs, (_, text: string, times: string) =>
      text.repeat(Number(times)),
    )
  }
  if (Array.isArray(value)) return value.map(expanded)
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [expanded(key), expanded(item)]))
}
