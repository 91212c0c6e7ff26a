// Narinfos that will be asked for next: a client that has one asks for those of its references, one round trip later. Asked for ahead,
// they are here by then.

import { LRUCache } from 'lru-cache'

import type { NarInfo } from '../nix/narinfo.ts'
import { isStoreHash, type StoreHash } from '../nix/store-path.ts'

/** Questions ahead at a time, and such as wait for their turn; beyond that there is nothing to be gained. */
const atOnce = 16
const waitingAtMost = 2048
/** Paths whose references were looked at, and milliseconds until they are looked at again. */
const seenAtMost = 20_000
const seenFor = 10 * 60_000

export interface LookAheadOptions {
  /** Asks for a path and remembers the answer; does nothing where it is known already. May reject. */
  readonly ask: (hash: StoreHash, signal: AbortSignal) => Promise<unknown>
}

export class LookAhead {
  readonly #ask: LookAheadOptions['ask']
  readonly #seen = new LRUCache<StoreHash, true>({ max: seenAtMost, ttl: seenFor })
  readonly #waiting = new Set<StoreHash>()
  readonly #stop = new AbortController()
  #running = 0

  constructor({ ask }: LookAheadOptions) {
    this.#ask = ask
  }

  /**
   * A client has been given this narinfo: its references may be next. Those of what is asked for ahead are left for when somebody asks
   * for that: one step ahead of the client, never more.
   */
  from({ storePath, references }: Pick<NarInfo, 'storePath' | 'references'>): void {
    if (this.#seen.has(storePath.hash) || this.#stop.signal.aborted) return
    this.#seen.set(storePath.hash, true)
    for (const reference of references) {
      const hash = reference.slice(0, 32)
      if (this.#waiting.size >= waitingAtMost) return
      if (isStoreHash(hash) && hash !== storePath.hash) this.#waiting.add(hash)
    }
    this.#go()
  }

  /** Asks nobody any more. */
  close(): void {
    this.#waiting.clear()
    this.#stop.abort()
  }

  #go(): void {
    for (const hash of this.#waiting) {
      if (this.#running >= atOnce) return
      this.#waiting.delete(hash)
      this.#running += 1
      // Whoever asks for it himself hears of the failure.
      void this.#ask(hash, this.#stop.signal)
        .catch(() => {})
        .finally(() => {
          this.#running -= 1
          this.#go()
        })
    }
  }
}
