// What an upstream has just said it does not have, for the seconds in which a closure is asked about twice.

import { LRUCache } from 'lru-cache'

import type { StoreHash } from '../nix/store-path.ts'

export interface MissesOptions {
  /** How long a miss is believed, ms. 0: nothing is remembered. */
  readonly ttl: number
  /** Monotonic, ms. */
  readonly clock: () => number
}

/** At most so many; an attacker asking for random hashes pushes out misses and nothing else. */
const most = 10_000

export class Misses {
  readonly #until: LRUCache<StoreHash, number>
  readonly #ttl: number
  readonly #clock: () => number

  constructor({ ttl, clock }: MissesOptions) {
    this.#until = new LRUCache({ max: most })
    this.#ttl = ttl
    this.#clock = clock
  }

  /** It said no: only for a 404 or 410, never for a failure. */
  add(hash: StoreHash): void {
    if (this.#ttl > 0) this.#until.set(hash, this.#clock() + this.#ttl)
  }

  has(hash: StoreHash): boolean {
    const until = this.#until.get(hash)
    if (until === undefined) return false
    if (this.#clock() < until) return true
    this.#until.delete(hash)
    return false
  }

  /** It may have it by now: an upload, or somebody who knows. */
  forget(hash: StoreHash): void {
    this.#until.delete(hash)
  }
}
