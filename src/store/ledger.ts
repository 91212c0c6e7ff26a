// What changes with every question, gathered and written down in one transaction every few seconds: last accesses, narinfos seen,
// keys' verdicts. Losing the last of it costs nothing but order among what is evicted.

import { setImmediate as turn } from 'node:timers/promises'

import type { StoreHash } from '../nix/store-path.ts'
import type { NarinfoRow, RowKey } from './catalogue.ts'
import { narFileOf, rowKey, type HeldNar } from './held-nar.ts'
import type { SteadyCatalogue } from './steady-catalogue.ts'

/** Milliseconds from the first change to the flush, and changes that do not wait so long. */
const flushAfter = 3000
const flushAt = 1000
/** Changes that are written at a stretch: some milliseconds, then requests have their turn. */
const stretch = 100
/** Changes after which nobody has a turn until they are written. */
const mostWaiting = 20_000
/** Accesses to what was written lately that are kept in mind. */
const mostAgain = 10_000
/** Microseconds within which an access that is written down is good enough, as long as nothing is evicted. */
const precision = 60_000_000

export interface LedgerOptions {
  readonly catalogue: SteadyCatalogue
  /** Narinfos without their NAR that are kept. */
  readonly mostBare: number
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Told of each path whose narinfo has been written down: until then the catalogue may have said that there is none. */
  readonly noted?: ((hash: StoreHash) => void) | undefined
}

/** What the trusted keys said of a narinfo: see catalogue.ts. */
type Verdict = Pick<NarinfoRow, 'signedBy' | 'keys'>

export class Ledger {
  readonly #catalogue: SteadyCatalogue
  readonly #mostBare: number
  readonly #now: () => number
  readonly #noted: LedgerOptions['noted']
  #latest: number
  /** Stamps by file name. */
  readonly #accesses = new Map<string, number>()
  /** The same of those that were written lately, or whose narinfo was asked for: they wait for a flush, which eviction begins with. */
  readonly #again = new Map<string, number>()
  readonly #narinfos = new Map<string, NarinfoRow>()
  readonly #verdicts = new Map<RowKey, Verdict>()
  #timer: NodeJS.Timeout | undefined
  #draining = false

  constructor({ catalogue, mostBare, now, noted }: LedgerOptions) {
    this.#catalogue = catalogue
    this.#mostBare = mostBare
    this.#now = now
    this.#noted = noted
    this.#latest = 0
  }

  /** Goes on after this stamp, though the clock may say less: a node without a battery for it wakes in 1970. */
  startAfter(latest: number): void {
    this.#latest = Math.max(this.#latest, latest)
  }

  /** The time in µs since 1970, later than every stamp before. */
  stamp(): number {
    this.#latest = Math.max(this.#latest + 1, this.#now() * 1000)
    return this.#latest
  }

  /** The time in ms since 1970; never before one that was given already. */
  time(): number {
    return Math.floor(this.stamp() / 1000)
  }

  /**
   * A held NAR was asked for: itself, or only its narinfo. That one alone is no use of the NAR yet, so it is not written down as such
   * (that would cost a change of the index for each of a million); it counts, as far as memory goes, when something has to be evicted.
   */
  accessed(held: HeldNar, itself: boolean): void {
    const stamp = this.stamp()
    if (!itself || stamp - held.accessWritten < precision) return this.glanced(held.file, stamp)
    held.accessWritten = stamp
    this.using(held.file)
  }

  /** The narinfo of a NAR file was asked for. */
  glanced(file: string, stamp = this.stamp()): void {
    // Each of them was written within the last minute, or is about to be: that has to do.
    if (this.#again.size >= mostAgain) this.#again.clear()
    this.#again.set(file, stamp)
  }

  /** A NAR file is in use now. */
  using(file: string): void {
    this.#accesses.set(file, this.stamp())
    this.#arm()
  }

  /** A narinfo was seen. */
  seen(row: NarinfoRow): void {
    this.#narinfos.set(narFileOf(row), row)
    this.#arm()
  }

  /** The trusted keys have decided about a row. */
  judged(key: RowKey, verdict: Verdict): void {
    this.#verdicts.set(key, verdict)
    this.#arm()
  }

  /** Writes all of it down now. What cannot be written is let go: it has been warned of, and memory does not grow. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#catalogue.checkFile()
    this.#fold()
    while (this.#waiting > 0) this.#write()
  }

  /** Writes down what there is now, with turns for others in between. */
  async flushInTurns(): Promise<void> {
    this.#fold()
    for (let left = this.#waiting; left > 0; left -= stretch) {
      this.#write()
      await turn()
    }
  }

  #fold(): void {
    for (const [file, stamp] of this.#again) {
      if (stamp > (this.#accesses.get(file) ?? 0)) this.#accesses.set(file, stamp)
    }
    this.#again.clear()
  }

  get #waiting(): number {
    return this.#accesses.size + this.#narinfos.size + this.#verdicts.size
  }

  #write(): void {
    const accesses = taken(this.#accesses, stretch).map(([file, at]) => ({ ...rowKey(file), at }))
    const narinfos = taken(this.#narinfos, stretch).map(([, row]) => row)
    const verdicts = taken(this.#verdicts, stretch).map(([{ hash, nar }, verdict]) => ({ hash, nar, ...verdict }))
    this.#catalogue.tryChange((catalogue) => catalogue.write({ accesses, narinfos, verdicts }, this.#mostBare))
    for (const { hash } of narinfos) this.#noted?.(hash)
  }

  #arm(): void {
    const waiting = this.#waiting
    if (waiting >= mostWaiting) return this.flush()
    if (waiting >= flushAt) return this.#drain()
    if (this.#timer) return
    this.#timer = setTimeout(() => this.#drain(), flushAfter)
    this.#timer.unref()
  }

  /** Writes all of it down, with turns for others in between. */
  #drain(): void {
    if (this.#draining) return
    this.#draining = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#catalogue.checkFile()
    const step = (): void => {
      this.#write()
      if (this.#waiting > 0) setImmediate(step).unref()
      else this.#draining = false
    }
    step()
  }
}

/** Takes the oldest out of a map, so many at most. */
function taken<K, V>(map: Map<K, V>, count: number): readonly (readonly [K, V])[] {
  const entries: (readonly [K, V])[] = []
  for (const entry of map) {
    if (entries.length === count) break
    entries.push(entry)
    map.delete(entry[0])
  }
  return entries
}
