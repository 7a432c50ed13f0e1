/**
 * Something local that cannot be used: a configuration, key file, bundle or certificate. The message is for
 * the operator: it names the file or setting and the next step, and holds no secret. At start it ends the
 * process; on a reload the last good one stays.
 */
export class Unusable extends Error {
  override readonly name = 'Unusable'
}

/** The one converter of whatever was thrown on a reload. Of a fault of ours only its type is told. */
export function asUnusable(thrown: unknown): Unusable {
  return thrown instanceof Unusable ? thrown : new Unusable(`a fault inside: ${(thrown as Error)?.name}`)
}
