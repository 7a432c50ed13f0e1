import { statSync } from 'node:fs'

const POLL_MS = 500

export interface WatchedFile {
  /** Calls `act` whenever the file is no more as it was last seen, at first by `watchedFile` itself. */
  onChange(act: () => void): void
  /** The file as it is now is about to be read: no change any more. */
  reading(): void
  close(): void
}

/**
 * A file that may be written or replaced, also through a symbolic link or with its time kept: begin before it
 * is read, so that no change is missed. Polls, since file events do not reach every file system. Does not
 * keep the process alive.
 */
export function watchedFile(file: string): WatchedFile {
  let seen = versionOf(file)
  let looking: NodeJS.Timeout | undefined
  return {
    onChange(act) {
      looking = setInterval(() => {
        const now = versionOf(file)
        if (now === seen) return
        seen = now
        act()
      }, POLL_MS).unref()
    },
    reading() {
      seen = versionOf(file)
    },
    close: () => clearInterval(looking),
  }
}

function versionOf(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? ''
  }
}
