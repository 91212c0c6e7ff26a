// Opens the store for a command that looks after it, and closes it whatever comes.

import { stat } from 'node:fs/promises'

import { withOverrides, type Config } from '../config.ts'
import { ProxyError } from '../errors.ts'
import type { Flags } from './arguments.ts'
import type { Program, Store } from './program.ts'
import { loadConfig, logOf, stateDirectory, type ExitCode, type Shell } from './shell.ts'

/** Rejects with a ProxyError when there is no store, or when another process has it. */
export async function withStore(
  flags: Flags,
  shell: Shell,
  program: Program,
  use: (store: Store, config: Config) => Promise<ExitCode>,
): Promise<ExitCode> {
  const config = withOverrides(await loadConfig(flags.config), flags)
  const stateDir = stateDirectory(shell)
  const root = config.store.path ?? stateDir
  // serve makes a store where there is none; here a wrong --store must not.
  const there = await stat(root).then(
    (found) => found.isDirectory(),
    () => false,
  )
  if (!there) throw new ProxyError('store-failed', `store: there is none in ${root}`)
  const store = await program.openStore(config, {
    log: logOf(shell, { level: 'warn', format: config.log.format }),
    hostname: shell.hostname,
    version: program.version,
    stateDir,
    listenFds: [],
  })
  try {
    return await use(store, config)
  } finally {
    await store.close()
  }
}
