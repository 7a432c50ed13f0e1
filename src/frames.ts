/** Where an error was thrown, without its message: that may quote, over several lines, what it choked on. */
export function frames({ stack = '', message }: Error): string[] {
  const lines = stack.replace(message, '').match(/^ +at .*/gm) ?? []
  return lines.slice(0, 8).map(line => line.trim())
}
