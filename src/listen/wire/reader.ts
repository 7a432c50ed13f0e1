import { Denied } from '../../denied.ts'

/** Protobuf's wire types that proto3 knows. Groups (3, 4) are not among them. */
const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

/** Of a whole message, what is nested in it included: each takes time and room, however few bytes it has. */
const MOST_FIELDS = 262_144

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads one protobuf message field by field. Every length is checked against the message's end; what cannot
 * be read, text that is not UTF-8 included, is a refusal (`request_malformed`), as are over 262,144 fields.
 */
export class Reader {
  readonly #bytes: Buffer
  readonly #end: number
  readonly #fields: { left: number }
  #at: number

  constructor(bytes: Buffer, from = 0, end = bytes.length, fields = { left: MOST_FIELDS }) {
    this.#fields = fields
    this.#bytes = bytes
    this.#at = from
    this.#end = end
  }

  /** The next field's number and wire type; undefined at the end of the message. */
  next(): { field: number; type: number } | undefined {
    if (this.#at >= this.#end) return undefined
    if (--this.#fields.left < 0) throw malformed()
    const key = this.varint()
    const field = Math.floor(key / 8)
    if (field === 0 || key > 0xffffffff) throw malformed()
    return { field, type: key & 7 }
  }

  /** An unsigned varint; exact up to 2^53, beyond that the nearest double. */
  varint(): number {
    const { low, high } = this.#varint64()
    return high * 0x100000000 + low
  }

  /** A varint that stands for a signed 64-bit integer. */
  int64(): number {
    const { low, high } = this.#varint64()
    return (high | 0) * 0x100000000 + low
  }

  /** The low 32 bits of a varint, which is how protobuf cuts a longer one to a 32-bit field. */
  low32(): number {
    return this.#varint64().low
  }

  #varint64(): { low: number; high: number } {
    let low = 0
    let high = 0
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.#at >= this.#end) throw malformed()
      const byte = this.#bytes[this.#at++] as number
      const bits = byte & 0x7f
      if (shift < 28) low |= bits << shift
      else if (shift === 28) {
        low |= bits << 28
        high |= bits >> 4
      } else if (shift < 63) high |= bits << (shift - 32)
      else {
        if (bits > 1) throw malformed()
        high |= bits << 31
      }
      if (byte < 0x80) return { low: low >>> 0, high: high >>> 0 }
    }
    throw malformed()
  }

  double(): number {
    return this.#bytes.readDoubleLE(this.#skip(8))
  }

  text(): string {
    const [from, to] = this.#span()
    try {
      return utf8.decode(this.#bytes.subarray(from, to))
    } catch {
      throw malformed()
    }
  }

  bytes(): Buffer {
    const [from, to] = this.#span()
    return this.#bytes.subarray(from, to)
  }

  /** The message nested in this field. */
  message(): Reader {
    const [from, to] = this.#span()
    return new Reader(this.#bytes, from, to, this.#fields)
  }

  /** Passes over a field that is not known here. */
  skip(type: number): void {
    if (type === VARINT) this.#varint64()
    else if (type === FIXED64) this.#skip(8)
    else if (type === BYTES) this.#span()
    else if (type === FIXED32) this.#skip(4)
    else throw malformed()
  }

  #span(): [from: number, to: number] {
    const length = this.varint()
    const from = this.#skip(length)
    return [from, from + length]
  }

  #skip(length: number): number {
    const from = this.#at
    if (length > this.#end - from) throw malformed()
    this.#at = from + length
    return from
  }
}

function malformed(): Denied {
  return new Denied('request_malformed', 'not a protobuf message')
}
