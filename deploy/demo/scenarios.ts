import type { Sent } from './client.ts'
import type { Wanted } from './issuer.ts'

/** One request through Envoy, and the answer it must get. */
export interface Scenario {
  /** Shown beside who acts for whom. */
  readonly note?: string
  readonly request: Omit<Sent, 'headers'> & { readonly headers?: Sent['headers'] }
  /** Minted by the issuer and sent as Bearer; a text is sent as it stands. */
  readonly token?: Wanted | string
  readonly status: number
  /** Of the decision; absent: Envoy answered without asking. */
  readonly reason?: string
  /** The trusted headers as the upstream saw them, but for the issuers and the decision id, which follow from these. */
  readonly trusted?: { readonly delegator?: string; readonly agent?: string; readonly chain?: string }
}
