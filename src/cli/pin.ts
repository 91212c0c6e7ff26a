// `pin` and `unpin`: which store paths stay whatever else has to make room.

import type { Flags } from './arguments.ts'
import { hashOf } from './operand.ts'
import type { Program } from './program.ts'
import type { ExitCode, Shell } from './shell.ts'
import { withStore } from './with-store.ts'

export function pin(flags: Flags, shell: Shell, program: Program, operands: readonly string[]): Promise<ExitCode> {
  return withStore(flags, shell, program, async (store, { server }) => {
    // All are read before the first is pinned: a slip in the last leaves nothing half done.
    for (const [hash, shown] of operands.map((text) => hashOf(text, server.storeDir, 'pin'))) {
      await store.pin(hash)
      shell.out(`pinned ${shown}\n`)
    }
    return 0
  })
}

export function unpin(flags: Flags, shell: Shell, program: Program, operands: readonly string[]): Promise<ExitCode> {
  return withStore(flags, shell, program, async (store, { server }) => {
    for (const [hash, shown] of operands.map((text) => hashOf(text, server.storeDir, 'unpin'))) {
      await store.unpin(hash)
      shell.out(`unpinned ${shown}\n`)
    }
    return 0
  })
}
