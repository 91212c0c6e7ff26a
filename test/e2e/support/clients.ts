// How the test files are laid out: the same promises for every Nix client that this machine can run.

import { inject } from 'vitest'

import { describeUnless } from '../../support/needs.ts'
import { Client, type NixProgram } from './client.ts'
import type { Fixture } from './fixture.ts'

/** What promises are made of. */
export interface Given {
  readonly fixture: Fixture
  /** A machine that has never run Nix, gone when the test has finished. */
  readonly machine: () => Promise<Client>
}

/** Stands where no fixture could be built: the tests that would read it are skipped. */
const nothing = {} as Fixture

/** Makes the promises once for each client. */
export function forEachClient(promises: (given: Given) => void): void {
  for (const program of inject('clients')) promiseFor(program, promises)
}

/** For promises where the client's version makes no difference: the system's own Nix only. */
export function forSystemClient(promises: (given: Given) => void): void {
  for (const program of inject('clients').slice(0, 1)) promiseFor(program, promises)
}

function promiseFor(program: NixProgram, promises: (given: Given) => void): void {
  const fixture = inject('fixture')
  const lack = program.lack ?? (fixture === undefined ? 'no fixture without the system’s Nix' : undefined)
  describeUnless(lack, program.name, () => {
    promises({ fixture: fixture ?? nothing, machine: () => Client.fresh(program) })
  })
}
