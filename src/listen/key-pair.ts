import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { readNamedFile } from '../named-file.ts'
import { Unusable } from '../unusable.ts'

export interface TlsSettings {
  readonly cert: string
  readonly key: string
  /** Given, clients must show a certificate of this CA. */
  readonly client_ca?: string | undefined
}

/** What OpenSSL is given: the chain, its key, and the authorities that clients are held to. */
export interface KeyPair {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | undefined
  /** When the certificate itself ends, in seconds since the epoch. */
  readonly notAfter: number
}

/**
 * Reads and checks the certificate, its key and the CA of the clients; not whether they are in date.
 * Unusable, by file.
 */
export function readKeyPair(tls: TlsSettings): KeyPair {
  const cert = readPem('cert', tls.cert)
  const key = readPem('key', tls.key)
  const [leaf] = certificates('cert', tls.cert, cert)
  if (!leaf?.checkPrivateKey(privateKey(tls.key, key)))
    throw new Unusable(`listen.tls: the key ${tls.key} is not that of the certificate ${tls.cert}`)
  assertAccepted(tls, { cert, key })
  const notAfter = Date.parse(leaf.validTo) / 1000
  if (tls.client_ca === undefined) return { cert, key, ca: undefined, notAfter }
  const ca = readPem('client_ca', tls.client_ca)
  // To OpenSSL a file without certificates is an empty list of authorities: it would refuse every client.
  certificates('client_ca', tls.client_ca, ca)
  return { cert, key, ca, notAfter }
}

/** OpenSSL has rules of its own, such as the shortest key, which would show as an address not to be bound. */
function assertAccepted(tls: TlsSettings, pair: { cert: Buffer; key: Buffer }): void {
  try {
    createSecureContext(pair)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Unusable(`listen.tls: ${tls.cert} and ${tls.key} cannot be used (${code})`)
  }
}

function readPem(name: string, file: string): Buffer {
  try {
    return readNamedFile(file)
  } catch (error) {
    throw new Unusable(`listen.tls.${name}: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`)
  }
}

function certificates(name: string, file: string, pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g)
  try {
    if (!blocks) throw new Error('none')
    return blocks.map(block => new X509Certificate(block))
  } catch {
    throw new Unusable(`listen.tls.${name}: ${file} is no list of PEM certificates`)
  }
}

function privateKey(file: string, pem: Buffer) {
  try {
    return createPrivateKey(pem)
  } catch {
    throw new Unusable(`listen.tls.key: ${file} is no unencrypted private key in PEM`)
  }
}
