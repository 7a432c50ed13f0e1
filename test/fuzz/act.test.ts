import { fuzzed } from './fuzzed.ts'
import { actParser } from './targets/act.ts'

fuzzed(actParser)
