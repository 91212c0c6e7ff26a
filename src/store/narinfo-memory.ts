// What was last asked of the catalogue, parsed and ready: bounded by bytes, so that the store may grow and memory does not.

import { LRUCache } from 'lru-cache'

import { narFileName, sameNar, type NarIdentity } from '../nix/nar-url.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Wanted } from '../substituter.ts'
import type { HeldNar } from './held-nar.ts'

/** A narinfo that was seen, and the NAR if we hold it. */
export interface Known {
  readonly narinfo: NarInfo
  readonly identity: NarIdentity
  /** Name of the substituter that gave it. */
  readonly from: string
  /** Name of the trusted key that vouched; `ca`; undefined without keys. */
  readonly signedBy: string | undefined
  /** Milliseconds since 1970. */
  readonly recordedAt: number
  readonly held: HeldNar | undefined
}

/** Paths of which the catalogue has no row, as it last said. */
const mostAbsent = 20_000

/** Paths that were asked for once, and answered without being kept. */
const mostGlanced = 20_000

export class NarinfoMemory {
  readonly #glanced = new LRUCache<StoreHash, true>({ max: mostGlanced })
  readonly #absent = new LRUCache<StoreHash, true>({ max: mostAbsent })
  /** By store hash: what a question without a NAR is answered with. By file name: NARs of the path beside that one. */
  readonly #known: LRUCache<string, Known>

  constructor({ bytes }: { readonly bytes: number }) {
    this.#known = new LRUCache({ maxSize: Math.max(1, Math.floor(bytes)), sizeCalculation: weight })
  }

  /** What is remembered; an answer that is not held says that nothing is. Undefined: the catalogue has to be asked. */
  recall({ hash, nar }: Wanted): Known | undefined {
    const first = this.#known.get(hash)
    if (!nar || (first && sameNar(first.identity, nar))) return first
    return this.#known.get(narFileName(hash, nar))
  }

  /** Whether it is known that nothing at all is known of a path. */
  isAbsent(hash: StoreHash): boolean {
    return this.#absent.has(hash)
  }

  /** The catalogue, which is whole, has no row of this path. */
  keepAbsent(hash: StoreHash): void {
    this.#absent.set(hash, true)
  }

  /** The catalogue has a row of this path now. */
  dropAbsent(hash: StoreHash): void {
    this.#absent.delete(hash)
  }

  /** @param wanted the question that it is the answer to */
  keep({ hash, nar }: Wanted, known: Known): void {
    this.#absent.delete(hash)
    this.#known.set(nar ? narFileName(hash, nar) : hash, known)
  }

  /**
   * Whether this is the first question for a path in a while. What is asked for but once (a whole store is copied, say) is then not worth
   * keeping: it would push out what is asked for again.
   */
  isFirst(hash: StoreHash): boolean {
    if (this.#glanced.delete(hash)) return false
    this.#glanced.set(hash, true)
    return true
  }

  /** A NAR file came or went: the next question goes to the catalogue. */
  forget(hash: StoreHash, file: string): void {
    this.#absent.delete(hash)
    this.#known.delete(hash)
    this.#known.delete(file)
  }

  clear(): void {
    this.#absent.clear()
    this.#known.clear()
  }
}

/** Bytes that one takes, measured: the text three times over (as lines, as parsed, as strings' heads), and the objects around it. */
function weight({ narinfo }: Known): number {
  let letters = 0
  for (const [key, value] of narinfo.fields) letters += key.length + value.length
  return 3 * letters + 100 * (narinfo.references.length + narinfo.fields.length) + 1024
}
