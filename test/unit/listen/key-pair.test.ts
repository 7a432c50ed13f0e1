import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readKeyPair, type TlsSettings } from '../../../src/listen/key-pair.ts'
import { Unusable } from '../../../src/unusable.ts'
import { type Certificate, certificatesIn, openssl, RSA } from './certificates.ts'

const folder = mkdtempSync(join(tmpdir(), 'credentials-'))
const make = certificatesIn(folder)
let ca: Certificate
let server: Certificate
let other: Certificate
beforeAll(() => {
  ca = make.authority('ca')
  server = make.leaf('server', 'ca')
  other = make.leaf('other', 'ca')
  make.write('absent-of-pem', 'garbage')
  make.write('empty', '')
  make.write('of-nothing', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  make.write('one-good-one-bad', Buffer.concat([server.pem, Buffer.from('\n'), ofNothing()]))
  make.write('der', openssl('x509', '-in', server.crt, '-outform', 'DER'))
  make.write('encrypted', openssl('pkcs8', '-topk8', '-in', server.key, '-passout', 'pass:secret'))
  make.write('ca-first', Buffer.concat([ca.pem, server.pem]))
  make.write('public', openssl('pkey', '-in', server.key, '-pubout'))
  make.leaf('weak', undefined, RSA(1024))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const ofNothing = () => Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')

describe('a certificate with its key', () => {
  it.each<[string, () => TlsSettings]>([
    ['of an elliptic curve', () => ({ cert: server.crt, key: server.key })],
    ['of RSA', () => pair(make.leaf('rsa', 'ca', RSA(2048)))],
    ['signed by itself', () => pair(make.leaf('self'))],
    [
      'with those that signed it behind',
      () => ({ cert: concat('chain', server.pem, ca.pem), key: server.key }),
    ],
    [
      'with text around, as openssl writes it',
      () => ({ cert: make.write('text', openssl('x509', '-in', server.crt, '-text')), key: server.key }),
    ],
    ['in one file', () => pair({ crt: concat('both', server.keyPem, server.pem), key: path('both') })],
    ['and a CA of the clients', () => ({ ...pair(server), client_ca: ca.crt })],
    ['and several CAs', () => ({ ...pair(server), client_ca: concat('cas', ca.pem, other.pem) })],
  ])('can be used: %s', (_, settings) => {
    expect(readKeyPair(settings()).notAfter).toBeGreaterThan(Date.now() / 1000)
  })
})

describe('what is no certificate with its key', () => {
  const good = () => ({ cert: 'server.crt', key: 'server.key' })
  const unusable: [string, () => Record<string, string>, setting: string, file: string, RegExp][] = [
    ['a certificate that is not there', () => ({ cert: 'no' }), 'listen.tls.cert', 'no', /ENOENT/],
    ['a certificate that is a folder', () => ({ cert: '.' }), 'listen.tls.cert', '', /EISDIR/],
    [
      'a certificate that is no PEM',
      () => ({ cert: 'absent-of-pem' }),
      'listen.tls.cert',
      'absent-of-pem',
      /PEM/,
    ],
    ['a certificate that is empty', () => ({ cert: 'empty' }), 'listen.tls.cert', 'empty', /PEM/],
    [
      'a certificate in PEM of nothing',
      () => ({ cert: 'of-nothing' }),
      'listen.tls.cert',
      'of-nothing',
      /PEM/,
    ],
    ['a certificate in DER', () => ({ cert: 'der' }), 'listen.tls.cert', 'der', /PEM/],
    [
      'a chain with garbage',
      () => ({ cert: 'one-good-one-bad' }),
      'listen.tls.cert',
      'one-good-one-bad',
      /PEM/,
    ],
    ['a key for a certificate', () => ({ cert: 'server.key' }), 'listen.tls.cert', 'server.key', /PEM/],
    ['a key that is not there', () => ({ key: 'no' }), 'listen.tls.key', 'no', /ENOENT/],
    [
      'a key that is no PEM',
      () => ({ key: 'absent-of-pem' }),
      'listen.tls.key',
      'absent-of-pem',
      /private key/,
    ],
    ['a certificate for a key', () => ({ key: 'server.crt' }), 'listen.tls.key', 'server.crt', /private key/],
    ['a public key', () => ({ key: 'public' }), 'listen.tls.key', 'public', /private key/],
    ['an encrypted key', () => ({ key: 'encrypted' }), 'listen.tls.key', 'encrypted', /unencrypted/],
    ['the key of another', () => ({ key: 'other.key' }), 'listen.tls', 'other.key', /not that of/],
    ['a chain with the CA first', () => ({ cert: 'ca-first' }), 'listen.tls', 'ca-first', /not that of/],
    [
      'a key that is too short',
      () => ({ cert: 'weak.crt', key: 'weak.key' }),
      'listen.tls',
      'weak.crt',
      /KEY_TOO_SMALL/,
    ],
    ['a CA that is not there', () => ({ client_ca: 'no' }), 'listen.tls.client_ca', 'no', /ENOENT/],
    ['a CA that is empty', () => ({ client_ca: 'empty' }), 'listen.tls.client_ca', 'empty', /PEM/],
    ['a CA that is a key', () => ({ client_ca: 'server.key' }), 'listen.tls.client_ca', 'server.key', /PEM/],
    [
      'a CA in PEM of nothing',
      () => ({ client_ca: 'of-nothing' }),
      'listen.tls.client_ca',
      'of-nothing',
      /PEM/,
    ],
  ]
  it.each(unusable)('is refused by the names of setting and file: %s', (_, changes, setting, file, why) => {
    const settings = Object.fromEntries(
      Object.entries({ ...good(), ...changes() }).map(([name, at]) => [name, path(at)]),
    )
    const message = refusal(settings as unknown as TlsSettings)
    expect(message.startsWith(`${setting}: `)).toBe(true)
    expect(message).toContain(path(file))
    expect(message).toMatch(why)
  })

  it('is refused without a word of what is in the files', () => {
    const message = refusal({ cert: server.crt, key: other.key })
    for (const line of [...lines(server.keyPem), ...lines(other.keyPem)]) expect(message).not.toContain(line)
    expect(message).not.toMatch(/-----/)
  })
})

const path = (name: string) => join(folder, name)
const pair = ({ crt, key }: Pick<Certificate, 'crt' | 'key'>) => ({ cert: crt, key })
const concat = (name: string, ...parts: Buffer[]) => make.write(name, Buffer.concat(parts))
const lines = (pem: Buffer) =>
  pem
    .toString()
    .split('\n')
    .filter(line => line.length > 20)

function refusal(settings: TlsSettings): string {
  try {
    readKeyPair(settings)
  } catch (error) {
    expect(error).toBeInstanceOf(Unusable)
    return (error as Unusable).message
  }
  throw new Error('was accepted')
}
