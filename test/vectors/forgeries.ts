import { constants, createHmac, createPublicKey, type KeyObject, privateEncrypt } from 'node:crypto'
import { pair, rsaSignature } from './keys.ts'
import { encodedDigest } from './pkcs1.ts'

/**
 * Signatures that no algorithm makes. Those of ES256 and RSA are by the right key, so that nothing is wrong but
 * the form. Right all the same are `high_s`, `pkcs1_raw`, and `pkcs1` and `pss` where the header names them.
 */
export const FORGERIES = {
  none: () => Buffer.alloc(0),

  // The public key taken for a shared secret.
  public_pem: hmac(key => key.export({ type: 'spki', format: 'pem' })),
  public_pem_without_newline: hmac(key => key.export({ type: 'spki', format: 'pem' }).toString().trimEnd()),
  public_der: hmac(key => key.export({ type: 'spki', format: 'der' })),
  public_jwk: hmac(() => JSON.stringify(pair('corp').jwk)),
  public_jwk_with_newline: hmac(() => `${JSON.stringify(pair('corp').jwk)}\n`),

  // ES256: r and s, 32 bytes each (RFC 7518, section 3.4).
  high_s: ecdsa((r, s) => [r, ORDER - s]),
  zeros: () => Buffer.alloc(64),
  zero_r: ecdsa((_, s) => [0n, s]),
  zero_s: ecdsa(r => [r, 0n]),
  order_for_r: ecdsa((_, s) => [ORDER, s]),
  order_for_s: ecdsa(r => [r, ORDER]),
  order_for_both: ecdsa(() => [ORDER, ORDER]),
  /** One more than the order, which is 1 again. */
  above_order: ecdsa(() => [ORDER + 1n, ORDER + 1n]),
  order_added_to_r: ecdsa((r, s) => [r + ORDER, s], 33),
  order_added_to_s: ecdsa((r, s) => [r, s + ORDER], 33),
  widened: ecdsa((r, s) => [r, s], 33),
  swapped: ecdsa((r, s) => [s, r]),
  der: text => der(...read(pair('corp').sign(text))),
  one_byte_less: text => pair('corp').sign(text).subarray(0, 63),
  one_byte_more: text => Buffer.concat([pair('corp').sign(text), Buffer.alloc(1)]),
  twice: text => Buffer.concat([pair('corp').sign(text), pair('corp').sign(text)]),

  // RSA: PKCS #1 version 1.5 and PSS (RFC 7518, sections 3.3 and 3.5).
  pkcs1: text => rsaSignature(text, rsaKey()),
  pkcs1_raw: raw(text => encodedDigest(text)),
  pkcs1_without_null: raw(text => encodedDigest(text, { before: 'sha256_bare' })),
  pkcs1_long_lengths: raw(text => encodedDigest(text, { before: 'sha256_long' })),
  pkcs1_sha1: raw(text => encodedDigest(text, { before: 'sha1' })),
  pkcs1_for_encryption: raw(text => encodedDigest(text, { start: '0002' })),
  pkcs1_other_padding: raw(text => encodedDigest(text, { padding: 0xfe })),
  pkcs1_zero_padding: raw(text => encodedDigest(text, { padding: 0 })),
  pkcs1_garbage_behind: raw(text => encodedDigest(text, { behind: 190 })),
  pkcs1_one_byte_less: text => rsaSignature(text, rsaKey()).subarray(1),
  pkcs1_one_byte_more: text => Buffer.concat([Buffer.alloc(1), rsaSignature(text, rsaKey())]),
  pss: text => rsaSignature(text, rsaKey(), 'digest'),
  pss_without_salt: text => rsaSignature(text, rsaKey(), 0),
  pss_short_salt: text => rsaSignature(text, rsaKey(), 20),
  pss_longest_salt: text => rsaSignature(text, rsaKey(), 222),
} satisfies Record<string, (text: string) => Buffer>

export type ForgeryName = keyof typeof FORGERIES
export const FORGERY_NAMES = Object.keys(FORGERIES) as ForgeryName[]

/** SEC 2, section 2.4.2: the order of the group of P-256. */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

function hmac(secretOf: (key: KeyObject) => string | Buffer): (text: string) => Buffer {
  return text =>
    createHmac('sha256', secretOf(createPublicKey(pair('corp').privateKey as KeyObject)))
      .update(text)
      .digest()
}

/** The signature of `corp` with both of its numbers changed, each written in so many bytes. */
function ecdsa(
  change: (r: bigint, s: bigint) => [r: bigint, s: bigint],
  width = 32,
): (text: string) => Buffer {
  return text => Buffer.concat(change(...read(pair('corp').sign(text))).map(number => bytes(number, width)))
}

function read(signature: Buffer): [r: bigint, s: bigint] {
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)]
  return [BigInt(`0x${r.toString('hex')}`), BigInt(`0x${s.toString('hex')}`)]
}

function bytes(number: bigint, width: number): Buffer {
  return Buffer.from(number.toString(16).padStart(width * 2, '0'), 'hex')
}

/** ECDSA-Sig-Value of RFC 3279, section 2.2.3. */
function der(...numbers: bigint[]): Buffer {
  const integers = numbers.map(number => {
    const hex = number.toString(16)
    const whole = hex.length % 2 === 0 ? hex : `0${hex}`
    const content = Buffer.from(/^[89a-f]/.test(whole) ? `00${whole}` : whole, 'hex')
    return Buffer.concat([Buffer.from([2, content.byteLength]), content])
  })
  const content = Buffer.concat(integers)
  return Buffer.concat([Buffer.from([0x30, content.byteLength]), content])
}

function rsaKey(): KeyObject {
  return pair('rsa_any').privateKey as KeyObject
}

/** What the key makes of a block that is not looked at. */
function raw(block: (text: string) => Buffer): (text: string) => Buffer {
  return text => privateEncrypt({ key: rsaKey(), padding: constants.RSA_NO_PADDING }, block(text))
}
