// The fills that are under way, one per exact NAR: whoever wants the same bytes joins the one that is fetching them.

import type { Substitute } from '../substituter.ts'
import { Fill, fillKey, type FillOptions, type FillStatus } from './fill.ts'

/** What all fills have in common. */
export type FillsOptions = Omit<FillOptions, 'substitute' | 'elsewhere'>

export class Fills {
  readonly #options: FillsOptions
  readonly #running = new Map<string, Fill>()

  constructor(options: FillsOptions) {
    this.#options = { ...options }
  }

  /** The fill of this NAR, if one is under way. */
  running(substitute: Substitute): Fill | undefined {
    return this.#running.get(fillKey(substitute))
  }

  /** Joins the fill of this NAR, or begins one. A fill that has failed is not joined: the next client tries afresh. */
  join(substitute: Substitute, elsewhere: FillOptions['elsewhere']): Fill {
    const key = fillKey(substitute)
    const running = this.#running.get(key)
    if (running && !running.failure) return running
    const fill = new Fill({ ...this.#options, substitute, elsewhere })
    this.#running.set(key, fill)
    void fill.over.then(() => {
      if (this.#running.get(key) === fill) this.#running.delete(key)
    })
    return fill
  }

  /** For the status page. */
  status(): readonly FillStatus[] {
    return [...this.#running.values()].map((fill) => fill.status)
  }

  /**
   * Gives up what is still on its way; what has come whole is proved and kept, unless the signal fires before. Nothing half is kept.
   */
  async close(signal: AbortSignal): Promise<void> {
    const all = Promise.all([...this.#running.values()].map((fill) => fill.over))
    const cancel = (also: (fill: Fill) => boolean): void => {
      for (const fill of this.#running.values()) if (also(fill)) fill.cancel('store: stopping')
    }
    const cancelAll = (): void => cancel(() => true)
    cancel((fill) => !fill.whole)
    if (signal.aborted) cancelAll()
    else signal.addEventListener('abort', cancelAll, { once: true })
    await all
    signal.removeEventListener('abort', cancelAll)
  }
}
