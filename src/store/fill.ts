// One NAR on its way into the store. It belongs to the store, not to a request: any number of clients follow the growing file, each
// at its own pace, and none of them gets the last byte before the whole is proved.

import { createHash, type Hash } from 'node:crypto'

import { codeOf, messageOf, ProxyError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { sha256FromDigest } from '../nix/hash.ts'
import { narFileName, narIdentity } from '../nix/nar-url.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import type { Substitute } from '../substituter.ts'
import { diskError, GatheredWriter } from './gathered-writer.ts'
import { NarSource } from './nar-source.ts'
import { RecentBytes } from './recent-bytes.ts'
import type { Reservation } from './reservation.ts'
import type { Check, Verifier } from './verifier.ts'

/** Bytes that a client who has fallen behind follows the file with at once: memory per such client. */
const followSize = 256 * 1024
/** Bytes that all who follow at the head are given in one turn of the event loop, and the least for one of them. */
const sharedAtOnce = 6 * 1024 * 1024
const leastShare = 128 * 1024
/** Of them, how many go on in one turn. */
const wokenAtOnce = 32
/** Milliseconds that a fill goes on with nobody following: a client that broke off comes back within this. */
const patience = 10_000
/** Bytes still to come that are fetched to the end even if nobody follows any more. */
const worthFinishing = 64 * 1024 * 1024

export interface FillOptions {
  readonly substitute: Substitute
  /** Somebody else with the same bytes; see NarSource. */
  readonly elsewhere: (avoid: ReadonlySet<string>, signal: AbortSignal) => Promise<Substitute | undefined>
  /** A place on disk; rejects with `store-full` or `store-failed`. */
  readonly reserve: (substitute: Substitute, size: number | undefined) => Promise<Reservation>
  readonly verifier: Verifier
  /** Told of its failure before those who follow it are: whoever of them asks again at once is not sent the same way. */
  readonly failed?: ((fill: Fill) => void) | undefined
  readonly log?: Log | undefined
  readonly metrics?: Metrics | undefined
}

/** What is left to a client when the disk gave out in the middle: the rest, straight from the source. */
export interface Rest {
  /** The first byte that is not on disk. */
  readonly start: number
  /** SHA-256 of everything before it. */
  readonly seed: Hash
  readonly source: NarSource
}

/** What the status page shows of a fill. */
export interface FillStatus {
  readonly name: string
  readonly from: string
  /** Bytes on disk so far, and of the whole (undefined: nobody has said). */
  readonly received: number
  readonly size: number | undefined
  readonly readers: number
}

export class Fill {
  readonly substitute: Substitute
  /** The size of the whole NAR file in bytes (undefined: nobody said), as soon as it is open. Rejects when nobody could open it. */
  readonly opened: Promise<number | undefined>
  /** Resolves when the fill is over, committed or not; never rejects. */
  readonly over: Promise<void>
  readonly #options: FillOptions
  readonly #source: NarSource
  readonly #stop = new AbortController()
  readonly #hash = createHash('sha256')
  #reservation: Reservation | undefined
  /** What was written first and last; not kept when nothing more comes. */
  #recent: RecentBytes | undefined
  #size: number | undefined
  #received = 0
  /** Every byte is here. */
  #whole = false
  /** Every byte is here and has been found right: the last one may go out. */
  #proved = false
  #failure: ProxyError | undefined
  #rest: { readonly start: number; readonly seed: Hash } | undefined
  #check: Check | undefined
  /** What is here already cannot become what was signed, whatever is still to come and whatever its FileHash. */
  #refuted: ProxyError | undefined
  #readers = 0
  #abandon: NodeJS.Timeout | undefined
  #settled = false
  /** Why the disk did not keep it. */
  #refusal: unknown
  readonly #changes = new Set<() => void>()

  constructor(options: FillOptions) {
    this.#options = { ...options }
    this.substitute = options.substitute
    this.#source = this.#newSource(this.#stop.signal)
    this.opened = this.#open()
    this.over = this.opened.then(
      () => this.#run(),
      () => {},
    )
    this.opened.catch(() => {})
  }

  /** Why it failed, once it has. */
  get failure(): ProxyError | undefined {
    return this.#failure
  }

  /** Every byte is here: what remains is to prove and to keep it. */
  get whole(): boolean {
    return this.#whole
  }

  get status(): FillStatus {
    return {
      name: this.substitute.narinfo.storePath.name,
      from: this.#source.from,
      received: this.#received,
      size: this.#size,
      readers: this.#readers,
    }
  }

  /** Everybody whose bytes are in it. */
  get givers(): readonly Substitute[] {
    return this.#source.givers
  }

  /** Gives up; those who follow it get `aborted`. */
  cancel(why: string): void {
    this.#stop.abort(new ProxyError('aborted', why))
    this.#check?.abort()
  }

  /**
   * Follows the file from byte `start` to `end` (both included; undefined: to the last). The last byte of the answer waits until the
   * NAR is proved. Throws the fill's ProxyError when it fails, and `aborted` by the signal. Chunks are valid until the next is asked for.
   *
   * @param rest goes on where the disk gave out; where it throws, so does the iteration
   */
  async *follow(
    start: number,
    end: number | undefined,
    signal: AbortSignal,
    rest: (rest: Rest) => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, void> {
    this.#enter()
    try {
      await this.opened
      let buffer: Buffer | undefined
      let position = start
      for (;;) {
        signal.throwIfAborted()
        const limit = this.#visible(end)
        const lent =
          position < limit ? this.#recent?.lend(position, Math.min(limit, position + this.#share)) : undefined
        if (lent) {
          position += lent.bytes.length
          try {
            yield lent.bytes
          } finally {
            lent.giveBack()
          }
        } else if (position < limit) {
          buffer ??= Buffer.allocUnsafeSlow(followSize)
          const bytes = await this.#read(buffer, position, Math.min(limit, position + this.#share))
          position += bytes.length
          yield bytes
        } else if (this.#failure) {
          throw this.#failure
        } else if (this.#proved) {
          return
        } else if (this.#rest) {
          yield* this.#followRest(this.#rest, position, end, signal, rest)
          return
        } else {
          await this.#changed(signal)
        }
      }
    } finally {
      this.#leave()
    }
  }

  /** Bytes that one of them is given at once: where there are many, whoever comes has his turn soon all the same. */
  get #share(): number {
    return Math.max(leastShare, Math.floor(sharedAtOnce / this.#readers))
  }

  /** The first byte that a reader up to `end` may not have yet. */
  #visible(end: number | undefined): number {
    if (this.#failure) return 0
    if (this.#proved) return end === undefined ? this.#received : Math.min(this.#received, end + 1)
    const last = end ?? (this.#size === undefined ? this.#received : this.#size) - 1
    return Math.min(this.#received, Math.max(0, last))
  }

  async #read(buffer: Buffer, position: number, limit: number): Promise<Uint8Array> {
    if (!this.#reservation) throw new ProxyError('store-failed', 'store: a fill without a file')
    const length = Math.min(buffer.length, limit - position)
    const { bytesRead } = await this.#reservation.file.read(buffer, 0, length, position).catch((error: unknown) => {
      throw diskError(error)
    })
    if (bytesRead === 0) throw new ProxyError('store-failed', 'store: a fill is shorter than was written')
    return buffer.subarray(0, bytesRead)
  }

  /** What is on disk, and then, for one client by a source of its own, the bytes after it: the disk no longer couples anybody. */
  async *#followRest(
    { start, seed }: { readonly start: number; readonly seed: Hash },
    position: number,
    end: number | undefined,
    signal: AbortSignal,
    rest: (rest: Rest) => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, void> {
    const onDisk = end === undefined ? start : Math.min(start, end + 1)
    for (let at = position; at < onDisk;) {
      const bytes = await this.#read(Buffer.allocUnsafe(Math.min(followSize, onDisk - at)), at, onDisk)
      at += bytes.length
      yield bytes
    }
    let left = end === undefined ? Infinity : end + 1 - start
    if (left <= 0) return
    for await (const chunk of rest({ start, seed: seed.copy(), source: this.#newSource(signal) })) {
      const bytes = chunk.length <= left ? chunk : chunk.subarray(0, left)
      left -= bytes.length
      yield bytes
      if (left === 0) return
    }
  }

  #newSource(signal: AbortSignal): NarSource {
    const { substitute, elsewhere, log, metrics } = this.#options
    return new NarSource({ substitute, elsewhere, signal, log, metrics })
  }

  async #open(): Promise<number | undefined> {
    const { substitute, reserve } = this.#options
    try {
      this.#reservation = await reserve(substitute, substitute.narinfo.fileSize)
      this.#stop.signal.throwIfAborted()
      this.#size = await this.#source.open(0)
      if (this.#readers === 0) this.#considerAbandoning()
      return this.#size
    } catch (error) {
      this.#fail(error)
      await this.#settle()
      throw error
    }
  }

  async #run(): Promise<void> {
    const reservation = this.#reservation
    if (!reservation) return
    try {
      await this.#receive(reservation)
      const checked = await this.#prove(reservation)
      this.#proved = true
      this.#wake()
      if (checked) await reservation.commit(checked, this.#received)
      this.#options.metrics?.fills.inc({ outcome: checked ? 'committed' : 'unkept' })
    } catch (error) {
      // Proved, but it could not be kept: nobody who reads it need know.
      if (this.#proved) this.#unkept(error)
      else if (isDisk(error) && this.#rest) this.#unkept(error)
      else this.#fail(error)
    } finally {
      await this.#settle()
    }
  }

  async #receive(reservation: Reservation): Promise<void> {
    const { narinfo, peer } = this.substitute
    if (narinfo.compression !== 'none') this.#beginCheck(reservation.path, narinfo, peer)
    let reserved = narinfo.fileSize ?? 0
    this.#recent = new RecentBytes({ expected: this.#size })
    const writer = new GatheredWriter({
      file: reservation.file,
      recent: this.#recent,
      written: (bytes) => {
        this.#hash.update(bytes)
        this.#received += bytes.length
        this.#options.metrics?.filledBytes.inc(bytes.length)
        this.#check?.grown(this.#received, this.#received === this.#size)
        this.#wake()
      },
    })
    try {
      let arrived = 0
      const isWhole = async (): Promise<boolean> => {
        await writer.flush()
        return sha256FromDigest(this.#hash.copy().digest()) === narinfo.fileHash
      }
      for await (const chunk of this.#source.chunks(this.#size, isWhole)) {
        if (this.#refuted) throw this.#refuted
        arrived += chunk.length
        if (arrived > reserved) {
          const more = Math.max(arrived - reserved, (this.#size ?? 0) - reserved)
          await reservation.grow(more)
          reserved += more
        }
        await writer.write(chunk)
      }
      await writer.flush()
    } catch (error) {
      if (isDisk(error)) {
        // What the disk took stays readable; from there on every client goes on by itself.
        await writer.flush().catch(() => {})
        if (!peer && narinfo.fileHash !== undefined) this.#rest = { start: this.#received, seed: this.#hash.copy() }
      }
      throw error
    }
  }

  #beginCheck(path: string, narinfo: NarInfo, peer: boolean): void {
    const { verifier } = this.#options
    // From a peer the client waits for NarHash, so proving keeps pace with receiving. Else it may come after; where it goes along, a bomb
    // or a broken file is left before all of it has gone out.
    this.#check = peer ? verifier.check(path, narinfo) : verifier.checkAlong(path, narinfo)
    this.#check?.proof.catch((error: unknown) => {
      if (error instanceof ProxyError && error.code === 'damaged') this.#refuted = error
    })
  }

  /** How the bytes were proved; undefined when there is nothing to prove them by. Throws `damaged` when they are wrong. */
  async #prove(reservation: Reservation): Promise<'nar' | 'file' | undefined> {
    const { narinfo, peer } = this.substitute
    const { verifier } = this.#options
    this.#size = this.#received
    this.#whole = true
    const fileHash = sha256FromDigest(this.#hash.digest())
    // What travels as it is has been hashed on the way.
    if (narinfo.compression === 'none') {
      if (fileHash === narinfo.narHash && this.#received === narinfo.narSize) return 'nar'
      throw new ProxyError('damaged', `${this.#source.from}: the NAR does not have its NarHash`)
    }
    const fileRight = narinfo.fileHash === fileHash
    if (this.#refuted) throw this.#refuted
    if (fileRight && !peer) {
      // Nothing more is owed to those who follow; whether it is kept is decided by what was signed.
      this.#proved = true
      this.#wake()
    }
    const check = this.#check ?? verifier.check(reservation.path, narinfo)
    this.#check = check
    check.grown(this.#received, true)
    const proof = await check.proof
    if (proof === 'nar') return 'nar'
    if (peer)
      throw new ProxyError('damaged', `${this.#source.from}: a NAR from a peer that cannot be decompressed here`)
    if (fileRight) return 'file'
    if (narinfo.fileHash === undefined) return undefined
    throw new ProxyError('damaged', `${this.#source.from}: the NAR does not have its FileHash`)
  }

  #unkept(error: unknown): void {
    this.#refusal = error
    this.#options.metrics?.fills.inc({ outcome: 'unkept' })
    if (codeOf(error) === 'damaged' && error instanceof ProxyError) {
      this.#failure = error
      this.#blame(error)
      this.#options.failed?.(this)
    } else {
      this.#options.log?.debug(`store: streamed without being kept: ${messageOf(error)}`, {
        path: this.substitute.narinfo.storePath.path,
      })
    }
  }

  #fail(error: unknown): void {
    const reason: unknown = this.#stop.signal.aborted ? this.#stop.signal.reason : error
    this.#failure =
      reason instanceof ProxyError
        ? reason
        : new ProxyError(codeOf(reason) ?? 'store-failed', messageOf(reason), { cause: reason })
    this.#options.metrics?.fills.inc({ outcome: `failed:${this.#failure.code}` })
    this.#blame(this.#failure)
    this.#options.failed?.(this)
    this.#wake()
  }

  #blame(error: ProxyError): void {
    if (error.code !== 'damaged') return
    this.#options.log?.warn(error.message, { path: this.substitute.narinfo.storePath.path })
    for (const giver of this.#source.givers) giver.blame?.(error)
  }

  #enter(): void {
    this.#readers++
    clearTimeout(this.#abandon)
  }

  #leave(): void {
    this.#readers--
    if (this.#readers > 0) return
    if (this.#settled) {
      void this.#reservation?.file.close().catch(() => {})
    } else {
      this.#considerAbandoning()
    }
  }

  #considerAbandoning(): void {
    this.#abandon = setTimeout(() => {
      if (this.#readers === 0 && !this.#worthFinishing()) this.cancel('store: nobody waits for this NAR any more')
    }, patience)
    this.#abandon.unref()
  }

  #worthFinishing(): boolean {
    if (this.#size === undefined) return false
    return this.#size - this.#received <= worthFinishing || this.#received >= this.#size / 2
  }

  async #settle(): Promise<void> {
    this.#settled = true
    // Who is still behind reads the file.
    this.#recent = undefined
    clearTimeout(this.#abandon)
    this.#check?.abort()
    // Does nothing after a commit. The file stays open for those who still read it.
    await this.#reservation?.discard(this.#failure ?? this.#refusal)
    this.#wake()
    if (this.#readers === 0) await this.#reservation?.file.close().catch(() => {})
  }

  #wake(): void {
    const waiting = [...this.#changes]
    this.#changes.clear()
    inTurns(waiting)
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#changes.delete(go)
        reject(new ProxyError('aborted', 'the client has gone'))
      }
      const go = (): void => {
        signal.removeEventListener('abort', stop)
        resolve()
      }
      this.#changes.add(go)
      signal.addEventListener('abort', stop, { once: true })
    })
  }
}

/** Where very many wait, others have their turn in between: whoever comes then need not wait for all of them. */
function inTurns(waiting: readonly (() => void)[]): void {
  for (const go of waiting.slice(0, wokenAtOnce)) go()
  if (waiting.length > wokenAtOnce) setImmediate(inTurns, waiting.slice(wokenAtOnce))
}

function isDisk(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'store-full' || code === 'store-failed'
}

/** The name under which fills are shared: the exact bytes of one path. */
export function fillKey({ narinfo }: Substitute): string {
  return narFileName(narinfo.storePath.hash, narIdentity(narinfo))
}
