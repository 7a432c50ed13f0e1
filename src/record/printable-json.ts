/** What JSON leaves as it is, and a terminal may obey, or a reader take for the end of a line. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu

/** JSON text that means the same, control and invisible characters escaped. */
export function printableJson(text: string): string {
  return text.replace(UNPRINTABLE, one => one.split('').map(escaped).join(''))
}

/** One half of a surrogate pair at a time, where it is one. */
function escaped(half: string): string {
  return `\\u${half.charCodeAt(0).toString(16).padStart(4, '0')}`
}
