import { defineConfig } from 'vitest/config'

/** The built program against the real client: one file after the other, each with its own ports, HOME and stores. */
export default defineConfig({
  test: {
    include: ['test/e2e/**/*.test.ts'],
    globalSetup: ['test/e2e/support/global-setup.ts'],
    fileParallelism: false,
    // Each promise by its name, and what is skipped with its reason.
    reporters: ['verbose'],
    testTimeout: 120_000,
    hookTimeout: 300_000,
  },
})
