// Room on disk: every byte is claimed before it is written, and what was least recently used goes when budget or free space run out.
//
// In use is what is committed plus what is claimed. One claim is dealt with at a time, so that two never count on the same room.
// Nothing is evicted for a claim that could not be met even so.

import { fstatSync, statfsSync } from 'node:fs'

import { ProxyError } from '../errors.ts'
import { silentLog, type Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Evictable } from './catalogue.ts'
import { narFileOf } from './held-nar.ts'
import type { Layout } from './layout.ts'
import type { Ledger } from './ledger.ts'
import type { NarinfoMemory } from './narinfo-memory.ts'
import type { Shelves } from './shelves.ts'
import type { SteadyCatalogue } from './steady-catalogue.ts'
import type { StoreHealth } from './store-health.ts'

/** Where eviction stops, as a part of the budget: so that not every commit evicts. The same slack is given to `minFree`. */
const lowWatermark = 0.95
/** What a NAR may take of the budget beyond its promised size: an endless one must not push out everything before it is cut. */
const unpromisedShare = 0.5
/** To get down to the low watermark at most this part of what is evictable goes; beyond that only what is needed. */
const watermarkShare = 0.5
/** Milliseconds for which a look at the file system's free space is good. */
const freeFor = 1000
/** NARs that are removed at once: so many rows without files a killed program may leave, and the next start looks for so many. */
export const evictedAtOnce = 16

export interface EvictionOptions {
  readonly layout: Layout
  readonly catalogue: SteadyCatalogue
  readonly shelves: Shelves
  readonly memory: NarinfoMemory
  readonly ledger: Ledger
  readonly health: StoreHealth
  /** Bytes that all NARs together may have; undefined: as many as fit. */
  readonly maxSize: number | undefined
  /** Bytes of the file system that are left to others. */
  readonly minFree: number
  readonly log?: Log | undefined
  readonly metrics?: Metrics | undefined
  /** Milliseconds by the monotonic clock. */
  readonly clock?: (() => number) | undefined
}

/** Room that somebody has before he has the bytes. Only Eviction changes `bytes`. */
export interface Claim {
  /** Bytes claimed so far. */
  bytes: number
  /** Bytes that were asked for at first; 0 when nobody knew. */
  readonly promised: number
  /** Descriptor of the file that fills it, once there is one. */
  fd: number | undefined
}

/** What eviction did. */
export interface Evicted {
  readonly nars: number
  readonly bytes: number
}

export class Eviction {
  readonly #options: EvictionOptions
  readonly #log: Log
  readonly #clock: () => number
  readonly #claims = new Set<Claim>()
  #claimed = 0
  #free = 0
  #freeAt = -Infinity
  /** Bytes that the disk refused though it had said they were free: a quota. */
  #refused = 0
  /** Bytes of the largest claim that could not be met, until such a one could be. */
  #inVain = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: EvictionOptions) {
    this.#options = { ...options }
    this.#log = options.log ?? silentLog
    this.#clock = options.clock ?? (() => performance.now())
  }

  /** Bytes in use: committed and claimed. */
  get bytes(): number {
    return this.#options.catalogue.totals().bytes + this.#claimed
  }

  /** Bytes that the file system has left for us, not counting what is claimed. */
  get free(): number {
    this.#look()
    return this.#free
  }

  /**
   * Claims room for a NAR file of this size; undefined: nobody knows yet, the claim grows. Rejects with ProxyError `store-full` when
   * there is none and none can be made.
   */
  async claim(size: number | undefined): Promise<Claim> {
    const claim: Claim = { bytes: 0, promised: size ?? 0, fd: undefined }
    this.#claims.add(claim)
    try {
      await this.grow(claim, size ?? 0)
      return claim
    } catch (error) {
      this.#claims.delete(claim)
      throw error
    }
  }

  /** Claims more. Rejects as {@link claim} does; what was claimed before stays. */
  grow(claim: Claim, bytes: number): Promise<void> {
    return this.#inTurn(async () => {
      await this.#makeRoom(claim, bytes)
      claim.bytes += bytes
      this.#claimed += bytes
      this.#free -= bytes
    })
  }

  /** Gives a claim up: for `committed` bytes that are counted as held now, or for none. Does nothing the second time. */
  settle(claim: Claim, committed = 0): void {
    if (!this.#claims.delete(claim)) return
    this.#claimed -= claim.bytes
    this.#free += claim.bytes - committed
    // Perhaps the disk refused what it had promised.
    if (committed === 0) this.#freeAt = -Infinity
  }

  /** The disk took no more in the middle of a claim: the next one evicts as much first. */
  refused(claim: Claim): void {
    this.#refused = Math.max(this.#refused, claim.bytes)
    this.#freeAt = -Infinity
  }

  /** Evicts down to the low watermark of the budget, and until `minFree` is free. */
  evict(): Promise<Evicted> {
    return this.#inTurn(() => {
      const { maxSize, minFree } = this.#options
      const over = maxSize === undefined ? 0 : this.bytes - maxSize * lowWatermark
      this.#freeAt = -Infinity
      const short = minFree - this.free
      // A disk that others have filled is not emptied by us.
      return this.#evict(Math.max(over, short > this.#lack(0).evictable ? 0 : short))
    })
  }

  /** Resolves when nothing is being evicted. */
  async idle(): Promise<void> {
    await this.#last
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(act)
    this.#last = turn.catch(() => {})
    return turn
  }

  async #makeRoom(claim: Claim, bytes: number): Promise<void> {
    const { maxSize, health } = this.#options
    const whole = claim.bytes + bytes
    if (maxSize !== undefined && whole > Math.min(maxSize, Math.max(claim.promised, maxSize * unpromisedShare))) {
      const sizes = `${whole} bytes or more is too large for a budget of ${maxSize}`
      throw new ProxyError('store-full', `store: a NAR of ${sizes}`)
    }
    const { needed, wanted, evictable } = this.#lack(bytes)
    if (needed > evictable) throw this.#noRoom(bytes)
    const goal = Math.max(needed, Math.min(Math.max(wanted, this.#refused), evictable * watermarkShare))
    this.#refused = 0
    const evicted = await this.#evict(goal)
    if (evicted.bytes < needed) throw this.#noRoom(bytes)
    // A small NAR that fits does not mean that the large one would.
    const would = this.#lack(this.#inVain)
    if (would.needed <= would.evictable) {
      this.#inVain = 0
      health.works('room')
    }
  }

  /** Bytes that must go for so many more, that should go with them, and that may. */
  #lack(bytes: number): { readonly needed: number; readonly wanted: number; readonly evictable: number } {
    const { maxSize = Infinity, minFree, catalogue } = this.#options
    const totals = catalogue.totals()
    const after = totals.bytes + this.#claimed + bytes
    const short = bytes + minFree - this.free
    return {
      needed: Math.max(0, after - maxSize, short),
      wanted: Math.max(
        after > maxSize ? after - maxSize * lowWatermark : 0,
        short > 0 ? short + minFree * (1 - lowWatermark) : 0,
      ),
      evictable: totals.bytes - totals.keptBytes,
    }
  }

  #noRoom(bytes: number): ProxyError {
    this.#inVain = Math.max(this.#inVain, bytes)
    const why = 'and nothing that may be evicted for it'
    return this.#options.health.failed(
      'room',
      new ProxyError('store-full', `store: no room for ${bytes} bytes, ${why}`),
    )
  }

  /** Removes the least recently used until so many bytes are free; stops at what is being read. */
  async #evict(goal: number): Promise<Evicted> {
    const { shelves, ledger, metrics } = this.#options
    const evicted = { nars: 0, bytes: 0 }
    if (goal <= 0) return evicted
    // What is being read is in use now, whenever its reader began: after this it comes last.
    for (const file of shelves.beingRead()) ledger.using(file)
    await ledger.flushInTurns()
    while (evicted.bytes < goal) {
      const going = this.#next(goal - evicted.bytes)
      if (going.length === 0) break
      await this.#remove(going)
      const bytes = going.reduce((sum, { size }) => sum + size, 0)
      evicted.nars += going.length
      evicted.bytes += bytes
      this.#free += bytes
      metrics?.evictions.inc(going.length)
      metrics?.evictedBytes.inc(bytes)
    }
    if (evicted.nars > 0) this.#log.debug('store: evicted', { ...evicted })
    return evicted
  }

  /** The next to go for so many bytes, some at a time; none that comes after one that is being read. */
  #next(goal: number): readonly Evictable[] {
    const { catalogue, shelves } = this.#options
    const candidates = catalogue.must((index) => index.leastRecent(evictedAtOnce))
    let bytes = 0
    const end = candidates.findIndex((candidate) => {
      if (bytes >= goal || shelves.isRead(narFileOf(candidate))) return true
      bytes += candidate.size
      return false
    })
    return end < 0 ? candidates : candidates.slice(0, end)
  }

  /**
   * First the files, then the rows: a row without its file is noticed by whoever opens it, a file without a row by nobody. Several together,
   * for most of the time is waiting for the disk, and of one transaction each index is written once.
   */
  async #remove(going: readonly Evictable[]): Promise<void> {
    const { catalogue, shelves, memory, health } = this.#options
    await shelves.exclusiveAll(going.map(narFileOf), async () => {
      const forget = (): void => {
        for (const key of going) memory.forget(key.hash, narFileOf(key))
      }
      forget()
      const removals = await Promise.allSettled(going.map((key) => shelves.remove(narFileOf(key))))
      const gone = going.filter((_key, index) => removals[index]?.status === 'fulfilled')
      catalogue.change((index) => index.releaseAll(gone))
      // Somebody may have asked in between.
      forget()
      const failure = removals.find((removal) => removal.status === 'rejected')
      if (failure) throw health.failed('disk', failure.reason)
    })
  }

  /** Looks at the file system again when the last look is too old. What is claimed and not yet written is not free. */
  #look(): void {
    const now = this.#clock()
    if (now - this.#freeAt < freeFor) return
    try {
      const { bavail, bsize } = statfsSync(this.#options.layout.top)
      this.#free = bavail * bsize
    } catch (error) {
      throw this.#options.health.failed('disk', error)
    }
    this.#freeAt = now
    for (const { bytes, fd } of this.#claims) this.#free -= Math.max(0, bytes - written(fd))
  }
}

/** Bytes that a file takes on disk already. */
function written(fd: number | undefined): number {
  if (fd === undefined) return 0
  try {
    return fstatSync(fd).blocks * 512
  } catch {
    return 0
  }
}
