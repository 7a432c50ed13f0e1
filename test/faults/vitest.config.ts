import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts'],
    fileParallelism: false,
    // A line for each cell: together they take a minute and more.
    reporters: 'verbose',
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
