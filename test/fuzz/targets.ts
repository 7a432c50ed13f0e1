import type { Target } from './target.ts'
import { actParser } from './targets/act.ts'
import { bearer } from './targets/bearer.ts'
import { decoder } from './targets/decoder.ts'
import { gather } from './targets/gather.ts'
import { policyResult } from './targets/policy-result.ts'

export const TARGETS: readonly Target[] = [decoder, bearer, actParser, policyResult, gather]
