import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/crash/**', 'test/e2e/**'],
    coverage: { include: ['src/**'], exclude: ['src/main.ts'] },
    // Two cores run the suite: a test waits for events, and this bounds a wait that never ends.
    testTimeout: 20_000,
  },
})
