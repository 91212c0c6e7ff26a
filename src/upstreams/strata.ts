// All strata, the nearest first: the next one is asked when this one has said no, and also when it takes longer than its hedge.

import type { Asking, Substitute, Substituter, Wanted } from '../substituter.ts'
import { race } from './race.ts'

export interface StrataOptions {
  /** In the order in which they are asked. `hedge`: milliseconds after which the next stratum is asked too. */
  readonly strata: readonly { readonly substituter: Substituter; readonly hedge: number }[]
}

export class Strata implements Substituter {
  readonly name = 'strata'
  readonly #strata: StrataOptions['strata']

  constructor({ strata }: StrataOptions) {
    this.#strata = [...strata]
  }

  /**
   * The first substitute that a stratum gives, and the others are told to stop. A stratum that says no at once (an empty one does)
   * costs nothing; one that is silent costs its hedge. Rejects as `Stratum` does.
   */
  async find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const entrants = this.#strata.map(({ substituter, hedge }) => ({
      hedge,
      enter: (signal: AbortSignal) => substituter.find(wanted, { ...asking, signal }),
    }))
    const found = await race(this.name, entrants, asking.signal)
    if (found) asking.trail.winner = found.from
    return found
  }
}
