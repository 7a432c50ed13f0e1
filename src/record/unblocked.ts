import { constants, fstatSync, openSync } from 'node:fs'
import { isatty } from 'node:tty'

const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants

/**
 * Standard output (1) or error (2), to be written to without waiting for its reader. A pipe or a terminal is
 * opened anew, and the one that we share with others stays as it is. A socket, as the journal gives, cannot
 * be; Node's own stream, once there is one, makes it such. Whatever else it is stays as it is.
 */
export function unblocked(output: 1 | 2): number {
  try {
    const found = fstatSync(output)
    if (found.isFIFO() || isatty(output))
      return openSync(`/dev/fd/${output}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
    if (found.isSocket()) return (output === 1 ? process.stdout : process.stderr).fd
  } catch {}
  return output
}
