// Runs a TypeScript file on a Node that cannot read it (20), without a build: `node test/support/typescript.js FILE ARGUMENTS…`.
// The file exports `main(argv)`, which gives the exit code.

import { resolve } from 'node:path'

import { createViteServer } from 'vitest/node'

const [file = '', ...argv] = process.argv.slice(2)
const server = await createViteServer({
  configFile: false,
  logLevel: 'error',
  appType: 'custom',
  server: { middlewareMode: true, ws: false, hmr: false, watch: null },
  optimizeDeps: { noDiscovery: true, include: [] },
})
try {
  const { main } = await server.ssrLoadModule(resolve(file))
  process.exitCode = await main(argv)
} finally {
  await server.close()
}
