import { z } from 'zod'

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const

/** `150ms`, `30s`, `15m` or `24h`, as milliseconds. A bare number is refused: its unit would be a guess. */
export const duration = z
  .string('a duration such as 150ms, 30s, 15m or 24h')
  .regex(/^\d{1,9}(ms|s|m|h)$/, 'a duration such as 150ms, 30s, 15m or 24h')
  .transform(text => {
    const [, amount, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) as unknown as [
      string,
      string,
      keyof typeof MILLISECONDS,
    ]
    return Number(amount) * MILLISECONDS[unit]
  })
