import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const FILES = ['json_web_signature', 'json_web_key', 'json_web_crypto', 'json_web_encryption']

export interface Vector {
  readonly file: string
  /** `file/group/comment`, by which exceptions name it; not unique. */
  readonly path: string
  readonly id: number
  readonly token: string
  /** The JWK Set that it is to be verified with. */
  readonly keys: object
  readonly valid: boolean
}

const text = z.union([z.string(), z.looseObject({}).transform(value => JSON.stringify(value))])

const vectorFile = z.object({
  numberOfTests: z.int(),
  testGroups: z.array(
    z.object({
      comment: z.string(),
      private: z.looseObject({}),
      public: z.looseObject({}).optional(),
      tests: z.array(
        z.object({
          tcId: z.int(),
          comment: z.string(),
          // `acceptable` is not used by these files; whoever meets it must decide what it means here.
          result: z.enum(['valid', 'invalid']),
          jws: text.optional(),
          jwe: text.optional(),
        }),
      ),
    }),
  ),
})

/** Every vector of a clone of Wycheproof that is about JWS, JWE or JWK. Throws where one is missing or odd. */
export function readVectors(clone: string): Vector[] {
  return FILES.flatMap(file => {
    const path = join(clone, 'testvectors_v1', `${file}_test.json`)
    const { testGroups, numberOfTests } = vectorFile.parse(JSON.parse(readFileSync(path, 'utf8')))
    const vectors = testGroups.flatMap(({ comment: group, tests, ...pair }) => {
      const key = pair.public ?? pair.private
      return tests.map(({ tcId, comment, result, jws, jwe }) => ({
        file,
        path: `${file}/${group}/${comment}`,
        id: tcId,
        token: (jws ?? jwe) as string,
        keys: 'keys' in key ? key : { keys: [key] },
        valid: result === 'valid',
      }))
    })
    if (vectors.length !== numberOfTests) throw new Error(`${file}: ${vectors.length} of ${numberOfTests}`)
    return vectors
  })
}
