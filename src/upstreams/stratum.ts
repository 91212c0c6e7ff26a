// One stratum: its substituters are all asked at once, with the real question, and the first who has the path wins.

import type { Asking, Substitute, Substituter, Wanted } from '../substituter.ts'
import { race } from './race.ts'

export interface StratumOptions {
  readonly name: string
  /** Who is in it now: asked for afresh at each race, since peers come and go. Never throws. */
  readonly members: () => readonly Substituter[]
}

export class Stratum implements Substituter {
  readonly name: string
  readonly #members: () => readonly Substituter[]

  constructor({ name, members }: StratumOptions) {
    this.name = name
    this.#members = members
  }

  /**
   * The first substitute that a member gives; the others are told to stop. Undefined, at once, when all have said no or there are
   * none. Rejects when nobody has it and somebody could not answer (see `race`).
   */
  async find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const entrants = this.#members().map((member) => ({
      hedge: 0,
      enter: (signal: AbortSignal) => member.find(wanted, { ...asking, signal }),
    }))
    const found = await race(`stratum ${this.name}`, entrants, asking.signal)
    // Where strata are raced in turn, the one that is taken writes last.
    if (found) asking.trail.winner = found.from
    return found
  }
}
