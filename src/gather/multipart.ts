import { Denied } from '../denied.ts'

/**
 * The fields of a multipart form (RFC 7578) as JSON text: lists by name; a part whose type is JSON is read as JSON, any other is
 * text. File names are ignored, parts without a name skipped. Refuses (`body_invalid`) a form that is not closed.
 */
export function parseMultipart(text: string, boundary: string, jsonText: (text: string) => string): string {
  if (boundary === '') throw invalid()
  const [preamble, ...parts] = `\r\n${text}`.split(`\r\n--${boundary}`)
  const closing = parts.pop()
  if (preamble === undefined || closing === undefined || !/^--[ \t]*(\r\n|$)/.test(closing)) throw invalid()
  const fields = new Map<string, string[]>()
  for (const part of parts) {
    const split = part.indexOf('\r\n\r\n')
    if (!/^[ \t]*\r\n/.test(part) || split < 0) throw invalid()
    const headers = part.slice(0, split)
    const name = /^content-disposition:[^\r\n]*;\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))/im.exec(headers)
    const key = name?.[1]?.replace(/\\(.)/g, '$1') ?? name?.[2]
    if (key === undefined || key === '') continue
    const value = part.slice(split + 4)
    const json = /^content-type:[^\r\n]*application\/json/im.test(headers)
    fields.set(key, [...(fields.get(key) ?? []), json ? jsonText(value) : JSON.stringify(value)])
  }
  return `{${[...fields].map(([key, values]) => `${JSON.stringify(key)}:[${values.join(',')}]`).join(',')}}`
}

function invalid(): Denied {
  return new Denied('body_invalid', 'multipart form')
}
