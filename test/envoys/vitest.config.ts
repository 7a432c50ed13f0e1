import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { binariesOf } from './binaries.ts'

const root = join(import.meta.dirname, '../..')
const binaries = binariesOf(readFileSync(join(root, 'deploy/setup/versions'), 'utf8'))

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
