import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'

/**
 * The bytes of a file that may be replaced while we run. Throws as node:fs does, with the code `a pipe` for
 * one: reading it would hold the process until somebody writes.
 */
export function readNamedFile(path: string): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (fstatSync(fd).isFIFO()) throw Object.assign(new Error('a pipe'), { code: 'a pipe', syscall: 'read' })
    return readFileSync(fd)
  } finally {
    closeSync(fd)
  }
}
