import { z } from 'zod'

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const

const FORM = /^(\d{1,9})(ms|s|m|h)$/
const EXAMPLES = 'a duration such as 150ms, 30s, 15m or 24h'

/** `150ms`, `30s`, `15m` or `24h`, as milliseconds. A bare number is refused: its unit would be a guess. */
export const duration = z
  .string(EXAMPLES)
  .regex(FORM, EXAMPLES)
  .transform(text => {
    const [, amount, unit] = FORM.exec(text) as unknown as [string, string, keyof typeof MILLISECONDS]
    return Number(amount) * MILLISECONDS[unit]
  })
