import { lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { Unusable } from '../unusable.ts'

/**
 * A socket that a killed process left behind is removed; one that answers, or anything else of that name, is
 * not ours.
 */
export async function freeSocket(address: string): Promise<void> {
  if (!address.startsWith('unix:')) return
  const path = address.slice('unix:'.length)
  const found = usable(path, () => lstatSync(path, { throwIfNoEntry: false }))
  if (!found) return
  if (!found.isSocket())
    throw new Unusable(`listen.grpc: ${path} exists and is not a socket; remove it, or name another path`)
  const answer = await probe(path)
  if (answer === 'ECONNREFUSED') usable(path, () => unlinkSync(path))
  else if (answer === undefined)
    throw new Unusable(`listen.grpc: another process is listening on ${path}; end it, or name another path`)
  else throw new Unusable(`listen.grpc: ${path} is a socket of another process (${answer})`)
}

function usable<T>(path: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw new Unusable(`listen.grpc: ${path} cannot be used (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** The code of the error on connecting; undefined where somebody answers. */
function probe(path: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connect(path)
      .on('connect', () => {
        socket.destroy()
        resolve(undefined)
      })
      .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
  })
}

/** An address that cannot be bound, told by its setting, with the next step where there is one to guess. */
export function cannotListen(setting: string, address: string, code = 'not an address'): Unusable {
  const hint = code === 'EADDRINUSE' ? '; is another process using it?' : ''
  return new Unusable(`${setting}: cannot listen on ${address} (${code})${hint}`)
}

/** A Unix socket, or loopback: what is said there does not cross a network. */
export function isLocal(address: string): boolean {
  return /^(unix:|localhost:|127(\.\d{1,3}){3}:|\[::1\]:)/.test(address)
}
