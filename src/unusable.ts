/**
 * Something local that cannot be used: a configuration, key file, bundle or certificate. The message is for
 * the operator: it names the file or setting and the next step, and holds no secret. At start it ends the
 * process; on a reload the last good one stays.
 */
export class Unusable extends Error {
  override readonly name = 'Unusable'
}
