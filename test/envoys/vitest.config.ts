import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

const root = join(import.meta.dirname, '../..')
const versions = readFileSync(join(root, 'deploy/setup/versions'), 'utf8')
const named = (name: string) => new RegExp(`^${name}='?([^'#\\n]*)`, 'm').exec(versions)?.[1]?.trim() ?? ''

const others = named('ENVOYS').split(/\s+/).filter(Boolean)
const binaries: [version: string, path: string][] = [
  ...others.map((version): [string, string] => [version, `.tools/envoys/${version}/envoy`]),
  [named('ENVOY'), '.tools/bin/envoy'],
]

export default defineConfig({
  test: {
    // One Envoy at a time: two cores are few.
    fileParallelism: false,
    projects: binaries.map(([version, path]) => ({
      test: {
        name: `envoy ${version}`,
        include: ['test/envoys/**/*.test.ts'],
        env: { ENVOY: join(root, path), ENVOY_VERSION: version },
        testTimeout: 60_000,
        hookTimeout: 120_000,
      },
    })),
  },
})
