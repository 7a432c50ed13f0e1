import { compactVerify, errors } from 'jose'
import { Denied } from '../denied.ts'
import type { VerificationKey } from './keys/key-set.ts'

/**
 * Refuses (`signature_invalid`) unless this key made the signature (RFC 7515, section 5.2) with this
 * algorithm, whatever the header says (RFC 8725, sections 3.1 and 3.3).
 */
export async function checkSignature(token: string, { key }: VerificationKey, alg: string): Promise<void> {
  try {
    await compactVerify(token, key, { algorithms: [alg] })
  } catch (error) {
    if (error instanceof errors.JOSEError) throw new Denied('signature_invalid')
    throw error
  }
}
