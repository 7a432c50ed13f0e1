import { Denied } from '../../../../src/denied.ts'

/** The reason of a refusal, or `read`; anything else that is thrown fails the test. */
export function outcome(read: () => unknown): string {
  try {
    read()
  } catch (error) {
    if (error instanceof Denied) return error.reason
    throw error
  }
  return 'read'
}
