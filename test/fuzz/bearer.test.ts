import { fuzzed } from './fuzzed.ts'
import { bearer } from './targets/bearer.ts'

fuzzed(bearer)
