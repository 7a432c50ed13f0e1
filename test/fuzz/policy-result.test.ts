import { fuzzed } from './fuzzed.ts'
import { policyResult } from './targets/policy-result.ts'

fuzzed(policyResult)
