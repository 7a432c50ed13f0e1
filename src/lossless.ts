import { runInNewContext } from 'node:vm'
import { isObject, type Json } from './types.ts'

/** ECMAScript's JSON.parse source text access, which the compiler's library does not know yet. */
interface SourceText {
  parse(text: string, revive: (key: string, value: Json, context: { source?: string }) => Json): Json
  rawJSON(source: string): Json
  isRawJSON(value: unknown): boolean
}

/**
 * Of a realm apart: V8 reads escaped names by what its realm has read before, text of clients included
 * (nodejs/node#63785).
 */
const { parse, rawJSON, isRawJSON }: SourceText = runInNewContext('JSON')

/**
 * JSON that keeps every digit of its numbers through `JSON.stringify`: policy compares digits, and as doubles
 * two long ids may be one. A number stays one where `isHeld`, and else stands as an opaque object.
 */
export function parseLossless(
  text: string,
  isHeld = (number: number, source: string) => String(number) === source,
): Json {
  return parse(text, (_key, value, { source }) =>
    typeof value !== 'number' || source === undefined || isHeld(value, source) ? value : rawJSON(source),
  )
}

/** A JSON object, and no such number. */
export function isLosslessObject(value: unknown): value is { [key: string]: Json } {
  return isObject(value) && !isRawJSON(value)
}
