// `serve`: answers Nix clients until it is told to stop.

import { once } from 'node:events'

import { withOverrides } from '../config.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { listenDescriptors, notifySystemd } from '../notify.ts'
import type { Flags } from './arguments.ts'
import type { Program } from './program.ts'
import { loadConfig, logOf, stateDirectory, type ExitCode, type Shell } from './shell.ts'

/** Resolves once it has stopped; rejects when it could not start. */
export async function serve(flags: Flags, shell: Shell, program: Program): Promise<ExitCode> {
  const config = withOverrides(await loadConfig(flags.config), flags)
  const log = logOf(shell, config.log)
  const service = await program.compose(config, {
    log,
    hostname: shell.hostname,
    version: program.version,
    stateDir: stateDirectory(shell),
    listenFds: listenDescriptors(shell.env, shell.pid),
  })
  try {
    await service.start()
    const where = `listening on ${service.addresses.map(urlOf).join(' and ')}`
    log.info(where, { version: program.version })
    await tellSystemd(shell, log, 'READY=1', `STATUS=${where}`)
    if (!shell.stop.aborted) await once(shell.stop, 'abort')
    log.info('stopping; transfers that are under way may finish, a second Ctrl-C stops at once')
    await tellSystemd(shell, log, 'STOPPING=1')
  } finally {
    await service.stop()
  }
  return 0
}

/** As it goes into nix.conf: `http://127.0.0.1:8501`; a socket file has no URL. */
function urlOf(address: string): string {
  return /:\d+$/.test(address) ? `http://${address}` : address
}

/** Systemd is told as a courtesy: a unit that waits for it will say so itself when it does not hear it. */
async function tellSystemd({ env }: Shell, log: Log, ...states: readonly string[]): Promise<void> {
  try {
    await notifySystemd(env, ...states)
  } catch (error) {
    log.warn(`systemd could not be told: ${messageOf(error)}`)
  }
}
