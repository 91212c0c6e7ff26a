// `rebuild`: makes the store's catalogue again from the files on disk.

import { once } from 'node:events'

import { printSize } from '../units.ts'
import type { Flags } from './arguments.ts'
import type { Program } from './program.ts'
import type { ExitCode, Shell } from './shell.ts'
import { withStore } from './with-store.ts'

/** 1 when it was stopped before the end. */
export function rebuild(flags: Flags, shell: Shell, program: Program): Promise<ExitCode> {
  return withStore(flags, shell, program, async (store) => {
    const stopped = shell.stop.aborted ? undefined : once(shell.stop, 'abort').then(() => undefined)
    // Closing the store ends a rebuild that is under way.
    const repaired = await Promise.race([stopped, store.rebuild()])
    if (repaired === undefined) {
      shell.err('substrata: stopped before the end; serve, or another rebuild, goes on with it\n')
      return 1
    }
    const { nars, bytes } = store.stats()
    shell.out(`the catalogue has ${nars} NARs again (${printSize(bytes)})\n`)
    const { removed, quarantined } = repaired
    if (removed + quarantined > 0)
      shell.out(`${removed} useless files removed, ${quarantined} NARs of wrong size set aside\n`)
    return 0
  })
}
