import { createHash } from 'node:crypto'

/** RFC 8017, section 9.2, note 1: what stands before a digest, up to the digest itself. */
const BEFORE = {
  sha256: '3031300d060960864801650304020105000420',
  sha1: '3021300906052b0e03021a05000414',
  /** Without the NULL of its parameters. */
  sha256_bare: '302f300b06096086480165030402010420',
  /** Its length in two bytes, as BER allows and DER does not. */
  sha256_long: '308131300d060960864801650304020105000420',
}

/** RFC 8017, section 9.2, for a key of 2048 bits; with changes, as it must not be. */
export function encodedDigest(
  text: string,
  {
    before = 'sha256',
    start = '0001',
    padding = 0xff,
    behind = 0,
  }: { before?: keyof typeof BEFORE; start?: string; padding?: number; behind?: number } = {},
): Buffer {
  const digest = createHash(before === 'sha1' ? 'sha1' : 'sha256')
    .update(text)
    .digest()
  const end = [Buffer.from([0]), Buffer.from(BEFORE[before], 'hex'), digest, Buffer.alloc(behind, 0xaa)]
  const length = end.reduce((sum, { byteLength }) => sum + byteLength, start.length / 2)
  return Buffer.concat([Buffer.from(start, 'hex'), Buffer.alloc(256 - length, padding), ...end])
}
