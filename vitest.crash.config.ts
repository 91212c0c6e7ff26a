import { defineConfig } from 'vitest/config'

/** The built program killed and starved of its disk: one file after the other, the machine has two cores. */
export default defineConfig({
  test: {
    include: ['test/crash/**/*.test.ts'],
    fileParallelism: false,
    reporters: ['verbose'],
    testTimeout: 300_000,
  },
})
