// The parts of the program that commands start, as compose.ts makes them: what each command needs of them and no more.

import type { Service, Surroundings } from '../compose.ts'
import type { Config } from '../config.ts'
import type { Finding } from '../doctor/finding.ts'
import type { Explanation } from '../explanation.ts'
import type { StoreHash } from '../nix/store-path.ts'

export interface Program {
  readonly version: string
  compose(config: Config, surroundings: Surroundings): Promise<Service>
  /** Takes the store for this process; rejects with a ProxyError when another has it. */
  openStore(config: Config, surroundings: Surroundings): Promise<Store>
  /** Asks everybody about a path, with no proxy running; `owner`: who says to have the store, whose files were read all the same. */
  explain(
    config: Config,
    surroundings: Pick<Surroundings, 'log' | 'version' | 'stateDir'>,
    hash: StoreHash,
    signal: AbortSignal,
  ): Promise<{ readonly explanation: Explanation; readonly owner: string | undefined }>
  /** Compares a configuration with the world. */
  examine(
    config: Config,
    surroundings: Pick<Surroundings, 'log' | 'version' | 'stateDir'>,
    signal: AbortSignal,
  ): Promise<readonly Finding[]>
}

/** The store, for the commands that look after it. */
export interface Store {
  pin(hash: StoreHash): Promise<void>
  unpin(hash: StoreHash): Promise<void>
  /** What is held, the oldest first. */
  list(): Iterable<Listed>
  stats(): { readonly nars: number; readonly bytes: number }
  /** Proves every NAR against what was signed. Rejects with the signal's reason. */
  scrub(options: ScrubOptions): Promise<Scrubbed>
  /** Makes the catalogue again from the files; undefined when it was closed before the end. */
  rebuild(): Promise<Repaired | undefined>
  /** Resolves when what goes on by itself after opening has ended. */
  settled(): Promise<void>
  close(): Promise<void>
}

export interface Listed {
  readonly hash: StoreHash
  /** The narinfo's text. */
  readonly narinfo: string
  /** Bytes of the NAR file. */
  readonly size: number
  readonly pinned: boolean
  readonly uploaded: boolean
}

export interface ScrubOptions {
  readonly signal: AbortSignal
  /** Told after every NAR. */
  readonly progress: (scrubbed: Scrubbed) => void
}

/** How many files came to which end. */
export interface Repaired {
  /** Got their row in the catalogue again. */
  readonly adopted: number
  /** Rows whose NAR was gone. */
  readonly released: number
  /** Files that were of no use. */
  readonly removed: number
  /** NARs that had been altered. */
  readonly quarantined: number
}

export interface Scrubbed extends Repaired {
  readonly right: number
  /** Store paths whose NAR was altered. */
  readonly damaged: readonly string[]
  /** Store paths whose NAR could not be read. */
  readonly unread: readonly { readonly path: string; readonly why: string }[]
}
