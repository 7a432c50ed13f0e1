import { execFileSync } from 'node:child_process'
import { copyFileSync, renameSync } from 'node:fs'
import { describe, expect } from 'vitest'
import { BUNDLE } from '../unit/configured.ts'
import { certificatesIn } from '../unit/listen/certificates.ts'
import { set, TOGETHER } from './command-line.ts'
import { eventually, it } from './serving.ts'

describe('a file that becomes a pipe to which nobody writes', TOGETHER, () => {
  it.for<[name: string, failed: string]>([
    ['jwks.json', 'agent_authz_key_fetches_total{issuer="corp",outcome="unreachable"}'],
    ['authz.crt', 'agent_authz_certificate_loads_total{outcome="error"}'],
    ['agent-authz.yaml', 'agent_authz_configuration_loads_total{outcome="error"}'],
    ['bundle.tar.gz', 'agent_authz_policy_loads_total{outcome="error"}'],
  ])('is told, and the one before stays in force: %s', async ([name, failed], { at, serve }) => {
    copyFileSync(BUNDLE, at.path('bundle.tar.gz'))
    const { crt, key } = certificatesIn(at.folder).leaf('authz')
    const file = at.configure(config => {
      set({ tls: { cert: crt, key } })(config.listen)
      set({ bundle: 'bundle.tar.gz' })(config.policy)
    })
    const serving = await serve(file)
    execFileSync('mkfifo', [at.path('pipe')])
    renameSync(at.path('pipe'), at.path(name))
    await eventually('it to be told', async () => (await serving.metric(failed)) > 0)
    expect(await serving.healthy()).toBe(true)
    serving.child.kill('SIGTERM')
    expect(await serving.ended()).toEqual([0, null])
  })
})
