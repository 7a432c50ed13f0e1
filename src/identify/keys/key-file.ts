import { readNamedFile } from '../../named-file.ts'
import { KeysUnreadable } from './keys-unreadable.ts'

/** What stands in a file of keys, as JSON. Throws KeysUnreadable. */
export function readKeyFile(path: string): unknown {
  try {
    return JSON.parse(readNamedFile(path).toString())
  } catch (error) {
    if (error instanceof SyntaxError) throw new KeysUnreadable('malformed', 'it is not JSON')
    throw new KeysUnreadable('unreachable', 'it cannot be read', (error as NodeJS.ErrnoException).code)
  }
}
