import { isDeepStrictEqual } from 'node:util'
import { ServerCredentials } from '@grpc/grpc-js'
import type { Clock, Log } from '../types.ts'
import { asUnusable } from '../unusable.ts'
import { watchedFile } from '../watched-file.ts'
import { type KeyPair, readKeyPair, type TlsSettings } from './key-pair.ts'

export interface CertificateEvents {
  /** When the certificate that is shown ends, in seconds since the epoch. */
  certificateLoaded(notAfter: number): void
  certificateFailed(): void
}

export interface Credentials {
  readonly credentials: ServerCredentials
  /** Looks at the files no more. */
  close(): void
}

/**
 * TLS by files that are read again when one was replaced. Connections go on with what they began with; new
 * ones are shown the new certificate and held to the new CA. What cannot be used, such as a certificate whose
 * key is still the old one, leaves the pair before in force. Unusable where that is so at the start.
 */
export function reloadedCredentials(
  tls: TlsSettings,
  { clock, log, events }: { clock: Clock; log: Log; events: CertificateEvents },
): Credentials {
  const files = [tls.cert, tls.key, ...(tls.client_ca === undefined ? [] : [tls.client_ca])]
  const watched = files.map(watchedFile)
  let loaded = readKeyPair(tls)
  let refused = false
  tell(loaded)
  const credentials = ServerCredentials.createSsl(
    loaded.ca ?? null,
    [{ private_key: loaded.key, cert_chain: loaded.cert }],
    loaded.ca !== undefined,
  )
  for (const file of watched) file.onChange(reload)
  return {
    credentials,
    close() {
      for (const file of watched) file.close()
    },
  }

  function reload(): void {
    try {
      const next = readKeyPair(tls)
      const same = isDeepStrictEqual(next, loaded)
      if (same && refused) log.info({}, 'the files of listen.tls are again those in force')
      refused = false
      if (same) return
      show(credentials, next)
      loaded = next
      log.info({ not_after: ends(next) }, 'the certificate was read again and is shown from now on')
      tell(next)
    } catch (thrown) {
      refused = true
      events.certificateFailed()
      log.error({}, `${asUnusable(thrown).message}\nthe certificate before stays in force`)
    }
  }

  function tell(pair: KeyPair): void {
    events.certificateLoaded(pair.notAfter)
    if (pair.notAfter * 1000 < clock())
      log.warn({ not_after: ends(pair) }, 'the certificate has expired, and is shown all the same')
  }
}

const ends = ({ notAfter }: KeyPair) => new Date(notAfter * 1000)

/** What grpc-js keeps for its own kinds of credentials, and its types do not name. */
interface Internals {
  _getConstructorOptions(): object
  updateSecureContextOptions(options: object): void
}

/** Each server that is bound with these credentials hears of it. */
function show(credentials: ServerCredentials, { cert, key, ca }: KeyPair): void {
  const internals = credentials as unknown as Internals
  // Whatever is left out here falls back to Node's own choice: the list of ciphers too.
  const others = internals._getConstructorOptions()
  internals.updateSecureContextOptions({ ...others, ca, cert: [cert], key: [key] })
}
