import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { newKey } from './identify/issuer.ts'
import { records } from './whole-lines.ts'

export const ROOT = join(import.meta.dirname, '../..')
export const BUNDLE = join(ROOT, 'policies/build/bundle.tar.gz')
export const ISSUER = 'https://idp.example.com'

/** A configuration as it is written: any setting may be changed. */
// biome-ignore lint/suspicious/noExplicitAny: what a test writes need not be valid.
export type Written = any

/**
 * A folder with all that a service needs: a configuration on free ports, a key file with a key to sign with, the real
 * bundle of `policies/`. The time is that of this machine.
 */
export async function configured() {
  const folder = mkdtempSync(join(tmpdir(), 'agent-authz-'))
  const path = (name: string) => join(folder, name)
  const key = await newKey('k1')
  const write = (name: string, content: string): string => {
    writeFileSync(path(name), content)
    return path(name)
  }
  write('jwks.json', JSON.stringify({ keys: [key.jwk] }))

  /** The configuration with changes, as text. */
  const text = (edit: (config: Written) => void = () => undefined): string => {
    const config = {
      listen: { grpc: '127.0.0.1:0', admin: '127.0.0.1:0', check_timeout: '5s' },
      issuers: [
        {
          name: 'corp',
          issuer: ISSUER,
          jwks_file: 'jwks.json',
          audiences: ['https://mail.example.com'],
          algorithms: ['ES256'],
        },
      ],
      policy: { bundle: BUNDLE, reasons: ['agent_unknown', 'identity_missing', 'folder_not_allowed'] },
      decision_log: { file: 'decisions.jsonl' },
    }
    edit(config)
    return stringify(config)
  }

  return {
    folder,
    path,
    write,
    text,
    /** Writes the configuration and gives its path. */
    configure: (edit?: (config: Written) => void) => write('agent-authz.yaml', text(edit)),
    /** A token of alice's mail-summary agent, with changes; undefined takes a claim away. */
    mint(changes: object = {}): Promise<string> {
      const now = Math.floor(Date.now() / 1000)
      const claims = {
        iss: ISSUER,
        sub: 'alice@example.com',
        aud: 'https://mail.example.com',
        iat: now - 1,
        exp: now + 300,
        jti: 'token-1',
        client_id: 'console',
        scope: 'read:mail:inbox',
        act: { sub: 'mail-summary' },
        ...changes,
      }
      return key.sign(JSON.parse(JSON.stringify(claims)))
    },
    /** The lines of a decision log that are whole. */
    decisions: (name = 'decisions.jsonl') => records(path(name)),
    /** An archive as `opa build` writes them, with these files in it. */
    archive(name: string, files: Record<string, string>): string {
      for (const [file, content] of Object.entries(files)) write(file, content)
      execFileSync('tar', ['-czf', path(name), '-C', folder, ...Object.keys(files)])
      return path(name)
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

export type Configured = Awaited<ReturnType<typeof configured>>

/** The HTTP part of a CheckRequest that the sample policy allows to alice's mail-summary agent. */
export function reading(token?: string, changes: object = {}): object {
  return {
    method: 'GET',
    host: 'mail.example.com',
    path: '/v1/folders/inbox/messages',
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    ...changes,
  }
}
