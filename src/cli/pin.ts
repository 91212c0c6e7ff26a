// `pin` and `unpin`: which store paths stay whatever else has to make room.

import { isStoreHash, parseStorePath, type StoreHash } from '../nix/store-path.ts'
import { WrongUse, type CommandName, type Flags } from './arguments.ts'
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

/** The hash of a store path, of its base name, or a bare hash; and the text to show. Throws WrongUse. */
function hashOf(text: string, storeDir: string, command: CommandName): readonly [StoreHash, string] {
  if (isStoreHash(text)) return [text, text]
  const path = parseStorePath(text.startsWith('/') ? text : `${storeDir}/${text}`, storeDir)
  if (path === undefined)
    throw new WrongUse(`${JSON.stringify(text)} is not a store path in ${storeDir}, or its hash`, command)
  return [path.hash, path.path]
}
