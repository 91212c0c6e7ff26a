// `check-config`: says everything that is wrong with a configuration, or what it comes to. Binds and writes nothing.

import type { Config } from '../config.ts'
import { readCredentials } from '../credentials.ts'
import { printDuration, printSize } from '../units.ts'
import type { Flags } from './arguments.ts'
import { loadConfig, stateDirectory, type ExitCode, type Shell } from './shell.ts'

/** Rejects with a ProxyError `bad-config`, a line for each mistake. */
export async function checkConfig({ config: file }: Flags, shell: Shell): Promise<ExitCode> {
  const config = await loadConfig(file)
  const { keys, uploaders, warnings } = await readCredentials(config)
  for (const warning of warnings) shell.err(`substrata: ${warning}\n`)
  const names = keys.map(({ name }) => name)
  const lines = [
    ['listens on', config.server.listen.join(', ')],
    ['keeps', keeps(config, stateDirectory(shell))],
    ['trusts', names.length === 0 ? 'whatever comes: nothing is verified here' : names.join(', ')],
    ...asks(config).map((line, i) => [i === 0 ? 'asks' : 'then', line]),
    ['uploads', uploads(config, uploaders.size)],
  ]
  shell.out(`${file ?? 'the built-in defaults'}: no mistakes\n`)
  for (const [what = '', is = ''] of lines) shell.out(`  ${what.padEnd(11)} ${is}\n`)
  return 0
}

function keeps({ store }: Config, stateDir: string): string {
  const most = store.maxSize === undefined ? '' : `at most ${printSize(store.maxSize)}, `
  return `${store.path ?? stateDir}, ${most}leaving ${printSize(store.minFree)} free`
}

function asks({ strata, peers }: Config): readonly string[] {
  return strata.map((stratum, i) => {
    const near = peers.map(({ id }) => `peer ${id}`)
    const members = [...(stratum.peers ? near : []), ...stratum.upstreams.map(({ url }) => url)]
    const hedge = i === strata.length - 1 ? '' : ` (and after ${printDuration(stratum.hedge)} the next)`
    return `${stratum.name}: ${members.length === 0 ? 'peers, of which there are none' : members.join(', ')}${hedge}`
  })
}

function uploads({ server }: Config, logins: number): string {
  if (server.uploads === undefined) return 'refused'
  const { addresses, evict } = server.uploads
  const who = [...(logins > 0 ? [`${logins} login${logins === 1 ? '' : 's'}`] : []), ...addresses].join(', ')
  return `from ${who}; ${evict ? 'evicted like everything else' : 'never evicted'}`
}
