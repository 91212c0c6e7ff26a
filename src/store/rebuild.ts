// Makes the rows of a new catalogue from the files, while the store is already serving: until it is done a path without a row is
// looked up in its directory.

import { codeOf } from '../errors.ts'
import { chain, silentLog, type Log } from '../log.ts'
import { reconcile, type Repaired, type RepairParts } from './repair.ts'

export interface RebuildOptions {
  readonly parts: RepairParts
  /** Called when every NAR on disk has its row. */
  readonly whole: () => void
  readonly log?: Log | undefined
}

export class Rebuild {
  readonly #options: RebuildOptions
  readonly #log: Log
  readonly #stop = new AbortController()
  #running: Promise<Repaired | undefined> | undefined
  #again = false

  constructor(options: RebuildOptions) {
    this.#options = { ...options }
    this.#log = options.log ?? silentLog
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when the present run is over, with what it did; undefined: it could not be finished, or none runs. Never rejects. */
  get done(): Promise<Repaired | undefined> {
    return this.#running ?? Promise.resolve(undefined)
  }

  /** Begins, or begins anew after the present run. */
  start(): void {
    this.#again = true
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Stops where it is: the next start of the store goes on. Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<Repaired | undefined> {
    let repaired: Repaired | undefined
    while (this.#again && !this.#stop.signal.aborted) {
      this.#again = false
      try {
        repaired = await reconcile(this.#options.parts, this.#stop.signal)
        if (this.#again) continue
        this.#options.whole()
        this.#log.info('store: catalogue and files agree', { ...repaired })
      } catch (error) {
        repaired = undefined
        const code = codeOf(error)
        if (code === 'aborted') return undefined
        // The catalogue's own troubles have been warned of.
        if (code === 'store-full' || code === 'store-failed') continue
        this.#log.warn(`store: the files could not all be looked at: ${chain(error)}`)
      }
    }
    return repaired
  }
}
