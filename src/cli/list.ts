// `list`: a line for each path that the store holds.

import { printSize } from '../units.ts'
import type { Flags } from './arguments.ts'
import type { Listed, Program } from './program.ts'
import type { ExitCode, Shell } from './shell.ts'
import { withStore } from './with-store.ts'

export function list(flags: Flags, shell: Shell, program: Program): Promise<ExitCode> {
  return withStore(flags, shell, program, async (store, { server }) => {
    await store.settled()
    let [paths, bytes] = [0, 0]
    for (const held of store.list()) {
      paths++
      bytes += held.size
      const kept = [held.pinned ? 'pinned' : '', held.uploaded ? 'uploaded' : '']
        .filter((mark) => mark !== '')
        .join('+')
      shell.out(`${printSize(held.size).padStart(9)}  ${kept.padEnd(8)}  ${pathOf(held, server.storeDir)}\n`)
    }
    // A program that reads the lines wants no other.
    if (shell.columns !== undefined) shell.err(`${paths} paths, ${printSize(bytes)}\n`)
    return 0
  })
}

function pathOf({ hash, narinfo }: Listed, storeDir: string): string {
  return /^StorePath:\s*(\S+)/m.exec(narinfo)?.[1] ?? `${storeDir}/${hash}`
}
