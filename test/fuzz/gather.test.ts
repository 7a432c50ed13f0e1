import { fuzzed } from './fuzzed.ts'
import { gather } from './targets/gather.ts'

fuzzed(gather)
