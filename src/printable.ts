/** A name may hold what a terminal obeys: control and invisible characters are spelt out. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, one => `\\u{${one.codePointAt(0)?.toString(16)}}`)
}
