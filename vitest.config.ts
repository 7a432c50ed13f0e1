import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

// The timeout is for what hangs; on a busy machine a test takes many times as long as on a quiet one.
const folder = (name: string) => ({ name, include: [`test/${name}/**/*.test.ts`], testTimeout: 30_000 })

// The service and its command line are started some hundred times.
const env = { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/compiled') }

export default defineConfig({
  test: {
    // The report is what .ci/run counts; people read the default reporter.
    reporters: process.env.CI ? ['default', ['json', { outputFile: 'test-report.json' }]] : ['default'],
    projects: [
      { test: folder('unit') },
      { test: folder('vectors') },
      { test: folder('house') },
      // One file at a time: each starts Envoy and a service, and two cores are few.
      { test: { ...folder('e2e'), fileParallelism: false, testTimeout: 60_000, hookTimeout: 120_000, env } },
    ],
  },
})
