// What is never evicted: store paths marked by an empty file in the directory of their NARs, so that a mark outlives the catalogue.

import { rm, writeFile } from 'node:fs/promises'

import type { StoreHash } from '../nix/store-path.ts'
import { syncDirectory } from './durable.ts'
import type { Layout, Mark } from './layout.ts'
import { keptBits } from './schema.ts'
import type { Shelves } from './shelves.ts'
import type { SteadyCatalogue } from './steady-catalogue.ts'
import type { StoreHealth } from './store-health.ts'

export interface MarksOptions {
  readonly layout: Layout
  readonly catalogue: SteadyCatalogue
  readonly shelves: Shelves
  readonly health: StoreHealth
}

export class Marks {
  readonly #options: MarksOptions

  constructor(options: MarksOptions) {
    this.#options = { ...options }
  }

  /** Marks a store path, whether a NAR of it is here or not; for good once it resolves. Rejects with `store-full` or `store-failed`. */
  async set(hash: StoreHash, mark: Mark): Promise<void> {
    await this.#change(hash, mark, (path) => writeFile(path, ''))
    this.#options.catalogue.change((index) => index.setMark(hash, index.mark(hash) | keptBits[mark]))
  }

  /** Takes a mark away. Rejects as {@link set} does. */
  async clear(hash: StoreHash, mark: Mark): Promise<void> {
    await this.#change(hash, mark, (path) => rm(path, { force: true }))
    this.#options.catalogue.change((index) => index.setMark(hash, index.mark(hash) & ~keptBits[mark]))
  }

  async #change(hash: StoreHash, mark: Mark, change: (path: string) => Promise<void>): Promise<void> {
    const { layout, shelves, health } = this.#options
    try {
      await shelves.makeShard(hash)
      await change(layout.mark(hash, mark))
      await syncDirectory(layout.shard(hash))
    } catch (error) {
      throw health.failed('disk', error)
    }
  }
}
