import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificate {
  /** The paths of the PEM files. */
  readonly crt: string
  readonly key: string
  readonly pem: Buffer
  readonly keyPem: Buffer
}

/** Certificates made by the `openssl` of this machine, in a folder. */
export function certificatesIn(folder: string) {
  const path = (name: string) => join(folder, name)
  const at = (name: string): Certificate => ({
    crt: path(`${name}.crt`),
    key: path(`${name}.key`),
    get pem() {
      return readFileSync(path(`${name}.crt`))
    },
    get keyPem() {
      return readFileSync(path(`${name}.key`))
    },
  })
  const make = (name: string, by: string | undefined, extensions: string, algorithm = EC): Certificate => {
    openssl('req', '-new', '-newkey', ...algorithm, '-nodes', '-subj', `/CN=${name}`, ...out(name, 'csr'))
    writeFileSync(path(`${name}.ext`), extensions)
    const signer = by === undefined ? ['-signkey', path(`${name}.key`)] : signedBy(by)
    openssl(
      ...['x509', '-req', '-in', path(`${name}.csr`), '-days', '1', '-extfile', path(`${name}.ext`)],
      ...[...signer, '-out', path(`${name}.crt`)],
    )
    return at(name)
  }
  const out = (name: string, kind: string) => [
    '-keyout',
    path(`${name}.key`),
    '-out',
    path(`${name}.${kind}`),
  ]
  const signedBy = (by: string) => [
    ...['-CA', path(`${by}.crt`), '-CAkey', path(`${by}.key`)],
    ...['-CAserial', path(`${by}.srl`), '-CAcreateserial'],
  ]
  return {
    path,
    authority: (name: string, by?: string) => make(name, by, 'basicConstraints=critical,CA:TRUE'),
    leaf: (name: string, by?: string, algorithm?: string[]) =>
      make(name, by, 'subjectAltName=DNS:authz.example.com', algorithm),
    write(name: string, content: string | Buffer): string {
      writeFileSync(path(name), content)
      return path(name)
    },
  }
}

const EC = ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
export const RSA = (bits: number) => [`rsa:${bits}`]

export function openssl(...args: string[]): Buffer {
  try {
    return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new Error('these tests need `openssl`, which is not on the PATH')
  }
}
