import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/keycloak/**/*.test.ts'],
    // Each file starts a Keycloak, which builds itself when it is started for the first time.
    fileParallelism: false,
    testTimeout: 420_000,
    hookTimeout: 420_000,
  },
})
