import { fuzzed } from './fuzzed.ts'
import { decoder } from './targets/decoder.ts'

fuzzed(decoder)
