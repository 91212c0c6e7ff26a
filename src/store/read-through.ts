// The store in front of the strata: what is on disk is served from disk, everything else is asked for, streamed and kept.

import { createHash } from 'node:crypto'

import { LRUCache } from 'lru-cache'

import { codeOf, ProxyError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { sha256FromDigest } from '../nix/hash.ts'
import { narIdentity, sameNar } from '../nix/nar-url.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Asking, ByteRange, Nar, Substitute, Substituter, Wanted } from '../substituter.ts'
import { Trail } from '../trail.ts'
import { ContinuedBody } from './continued-body.ts'
import type { DiskStore } from './disk-store.ts'
import type { Fill, FillStatus, Rest } from './fill.ts'
import { Fills } from './fills.ts'
import { LookAhead } from './look-ahead.ts'
import { NarSource } from './nar-source.ts'
import type { Verifier } from './verifier.ts'

/** Bytes of answers of the strata, remembered with the way to their NAR: a NAR after its narinfo costs no second question. */
const recentBytes = 32 * 1024 * 1024
/** Milliseconds for which such an answer is used again. */
const recentFor = 10 * 60_000
/** Milliseconds for which a narinfo without its NAR, remembered on disk, is passed on without asking again. */
const knownFor = 24 * 60 * 60_000
/** NARs whose givers have lied lately, and milliseconds for which these are asked last. */
const liarsKept = 10_000
const liarsFor = 60_000
/** Milliseconds that whoever is beyond doubt may take, before those in doubt are better than nobody. */
const doubtPatience = 2000

/** Who gave a NAR that turned out wrong: all of it, or, in this order, parts of it. */
interface Doubts {
  readonly liars: Set<string>
  readonly suspects: Set<string>
}

export interface ReadThroughOptions {
  readonly store: DiskStore
  readonly strata: Substituter
  readonly verifier: Verifier
  /** False when this substituter cannot be asked just now: a narinfo that only it could follow with a NAR is not handed out. */
  readonly reachable: (from: string) => boolean
  /** Ask for the narinfos of references before the client does. */
  readonly lookAhead?: boolean
  readonly log?: Log | undefined
  readonly metrics?: Metrics | undefined
}

export class ReadThrough implements Substituter {
  readonly name = 'read-through'
  readonly #options: ReadThroughOptions
  readonly #fills: Fills
  readonly #ahead: LookAhead | undefined
  readonly #recent = new LRUCache<StoreHash, Substitute>({
    maxSize: recentBytes,
    sizeCalculation: weight,
    ttl: recentFor,
  })
  readonly #doubts = new LRUCache<string, Doubts>({ max: liarsKept, ttl: liarsFor })
  /** Paths whose narinfo on disk cannot be followed by its NAR, as was found out: the strata are asked anew. */
  readonly #stale = new LRUCache<StoreHash, true>({ max: liarsKept })

  constructor(options: ReadThroughOptions) {
    this.#options = { ...options }
    const { store, verifier, log, metrics } = options
    this.#fills = new Fills({
      reserve: (substitute, size) => store.reserve(substitute, size),
      verifier,
      log,
      metrics,
      failed: (fill) => this.#learn(fill),
    })
    if (options.lookAhead === true) this.#ahead = new LookAhead({ ask: (hash, signal) => this.#askAhead(hash, signal) })
  }

  /**
   * The disk first; then what the strata said a moment ago; then the strata. Undefined: everybody said no. Rejects with the strata's
   * ProxyError when nobody has it and somebody could not be asked.
   */
  async find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const { store } = this.#options
    const held = await store.find(wanted, asking)
    if (held) return wanted.nar ? this.#orAnew(held, wanted, asking.loop) : held
    const running = this.#recalled(wanted, asking)
    if (running) {
      asking.trail.winner = running.from
      if (!wanted.nar) this.#ahead?.from(running.narinfo)
      return this.#through(running, asking.loop)
    }
    const found = await this.#askAndRemember(wanted, asking)
    if (!found) return undefined
    if (!wanted.nar) this.#ahead?.from(found.narinfo)
    return this.#through(found, asking.loop)
  }

  /**
   * The NAR that some narinfo of ours names by this very URL: clients remember URLs for 30 days, also those that another proxy at this
   * address (or the upstream itself) has told them. Undefined: no narinfo that we know says so.
   */
  async findByUrl(url: string, onlyHeld: boolean, asking: Asking): Promise<Substitute | undefined> {
    const { store } = this.#options
    const hash = store.byUrl(url)
    const known = hash && store.known(hash)
    if (!known || known.narinfo.url !== url) return undefined
    const wanted: Wanted = { hash, nar: narIdentity(known.narinfo) }
    return onlyHeld ? store.find(wanted, asking) : this.find(wanted, asking)
  }

  /** What the strata once said and would be passed on again now, without asking them; nothing of what is held. */
  recalled(hash: StoreHash): Pick<Substitute, 'narinfo' | 'from' | 'signedBy'> | undefined {
    return this.#recalled({ hash }, {})
  }

  /** What is being fetched now. */
  fills(): readonly FillStatus[] {
    return this.#fills.status()
  }

  /** Keeps what has come whole, until the signal fires, and gives up everything else. */
  close(signal: AbortSignal): Promise<void> {
    this.#ahead?.close()
    return this.#fills.close(signal)
  }

  /** A held NAR; should its file have gone or be altered, or not be readable, what is missing of it is fetched again. */
  #orAnew(held: Substitute, wanted: Wanted, loop: readonly string[]): Substitute {
    return {
      ...held,
      open: async (range, signal) => {
        try {
          const nar = await held.open(range, signal)
          return { ...nar, body: this.#goingOn(nar.body, wanted, loop, range, signal) }
        } catch (error) {
          const code = codeOf(error)
          if (code !== 'gone' && code !== 'store-failed') throw error
          const found = await this.#ask(wanted, { signal, trail: new Trail(), loop })
          if (!found) throw error
          // A file that is there and cannot be read would only be found again.
          return code === 'gone'
            ? this.#open(found, loop, range, signal)
            : this.#pass(found, this.#elsewhere(wanted, loop), range, signal)
        }
      },
    }
  }

  /** The bytes of a held NAR, and where they cannot be read any further, the rest from the strata. */
  #goingOn(
    first: Nar['body'],
    wanted: Wanted,
    loop: readonly string[],
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Nar['body'] {
    const rest = async (position: number, error: unknown): Promise<Nar['body']> => {
      const code = codeOf(error)
      if ((code !== 'store-failed' && code !== 'damaged') || signal.aborted) throw error
      const found = await this.#ask(wanted, { signal, trail: new Trail(), loop })
      if (!found) throw error
      const start = (range?.start ?? 0) + position
      const left: ByteRange = range?.end === undefined ? { start } : { start, end: range.end }
      // Past the store: a file that is there and cannot be read would only be found again.
      return (await this.#pass(found, this.#elsewhere(wanted, loop), left, signal)).body
    }
    return new ContinuedBody({ first, rest })
  }

  /** An answer that was given lately and can still be followed by its NAR. */
  #recalled(wanted: Wanted, { avoid }: Pick<Asking, 'avoid'>): Substitute | undefined {
    const { store, reachable } = this.#options
    const askable = (from: string): boolean => !avoid?.has(from) && reachable(from)
    const recent = this.#recent.get(wanted.hash)
    if (recent && fits(recent, wanted) && (askable(recent.from) || this.#fills.running(recent))) return recent
    if (wanted.nar || this.#stale.has(wanted.hash)) return undefined
    const known = store.known(wanted.hash)
    // A clock that was set back makes an age negative: as good as fresh.
    if (!known || Date.now() - known.recordedAt > knownFor || !askable(known.from)) return undefined
    return {
      ...known,
      peer: false,
      open: async (range, signal) => {
        const asking: Asking = { signal, trail: new Trail(), loop: [] }
        const found = await this.#ask({ hash: wanted.hash, nar: narIdentity(known.narinfo) }, asking)
        if (!found) {
          this.#stale.set(wanted.hash, true)
          throw new ProxyError('gone', `${known.from}: no longer has ${known.narinfo.storePath.path}`)
        }
        return found.open(range, signal)
      },
    }
  }

  async #askAndRemember(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const found = await this.#ask(wanted, asking)
    if (!found) return undefined
    this.#recent.set(wanted.hash, found)
    // Only what a configured upstream says is believed for longer: a peer's FileHash is a stranger's word.
    if (!found.peer) {
      this.#options.store.remember(found)
      if (!this.#doubts.has(wanted.hash)) this.#stale.delete(wanted.hash)
    }
    return found
  }

  async #askAhead(hash: StoreHash, signal: AbortSignal): Promise<void> {
    const asking: Asking = { signal, trail: new Trail(), loop: [] }
    const isKnown = (await this.#options.store.find({ hash }, asking)) ?? this.#recalled({ hash }, asking)
    if (!isKnown) await this.#askAndRemember({ hash }, asking)
  }

  /** Asks the strata: those who lied about this very NAR a moment ago, or may have, only if nobody else has it. */
  async #ask(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const { strata } = this.#options
    const doubts = this.#doubts.get(wanted.hash)
    for (const doubted of doubts ? inDoubt(doubts) : []) {
      const avoid = new Set([...doubted, ...(asking.avoid ?? [])])
      const signal = AbortSignal.any([asking.signal, AbortSignal.timeout(doubtPatience)])
      const honest = await strata.find(wanted, { ...asking, avoid, signal }).catch((error: unknown) => {
        if (asking.signal.aborted) throw error
        return undefined
      })
      if (honest) return honest
    }
    return strata.find(wanted, asking)
  }

  /** The same answer, with a NAR that goes through the store. */
  #through(found: Substitute, loop: readonly string[]): Substitute {
    return { ...found, open: (range, signal) => this.#open(found, loop, range, signal) }
  }

  async #open(
    found: Substitute,
    loop: readonly string[],
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<Nar> {
    const wanted: Wanted = { hash: found.narinfo.storePath.hash, nar: narIdentity(found.narinfo) }
    // The narinfo may have been handed out before the fill that has ended since.
    const held = await this.#options.store.find(wanted, { signal, trail: new Trail(), loop: [] })
    if (held) {
      const nar = await held.open(range, signal)
      return { ...nar, body: this.#goingOn(nar.body, wanted, loop, range, signal) }
    }
    const elsewhere = this.#elsewhere(wanted, loop)
    const fill = this.#fills.join(found, elsewhere)
    try {
      const size = await stopWaiting(fill.opened, signal)
      const { start, end } = within(range, size)
      return { size, body: fill.follow(start, end, signal, (rest) => this.#finish(fill.substitute, rest, size)) }
    } catch (error) {
      const code = codeOf(error)
      if (code !== 'store-full' && code !== 'store-failed') throw error
      return this.#pass(found, elsewhere, range, signal)
    }
  }

  #elsewhere(wanted: Wanted, loop: readonly string[]): Elsewhere {
    return (avoid, signal) => this.#ask(wanted, { signal, trail: new Trail(), loop, avoid })
  }

  /** Streams past a disk that takes nothing: the bytes are checked, and not kept. */
  async #pass(
    found: Substitute,
    elsewhere: Elsewhere,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<Nar> {
    const { log, metrics } = this.#options
    if (found.peer) {
      // Its NarHash could only be checked with the whole NAR on disk: another source, or none.
      const other = await elsewhere(new Set([found.from]), signal)
      if (!other || other.peer)
        throw new ProxyError('store-full', `${found.from}: a peer's NAR needs room on disk to be proved`)
      return this.#pass(other, elsewhere, range, signal)
    }
    if (range && range.start > 0) return found.open(range, signal)
    const source = new NarSource({ substitute: found, elsewhere, signal, log, metrics })
    const size = await source.open(0)
    const { end } = within(range, size)
    const body = this.#finish(found, { start: 0, seed: createHash('sha256'), source, opened: true }, size)
    metrics?.fills.inc({ outcome: 'unkept' })
    return { size, body: end === undefined ? body : firstBytes(body, end + 1) }
  }

  /** The rest of a NAR straight from its source; the last chunk waits until the FileHash is right. */
  async *#finish(
    { narinfo }: Substitute,
    { start, seed, source, opened = false }: Rest & { readonly opened?: boolean },
    size: number | undefined,
  ): AsyncGenerator<Uint8Array, void, void> {
    const whole = opened ? size : ((await source.open(start)) ?? size)
    const isRight = (): boolean => sha256FromDigest(seed.copy().digest()) === narinfo.fileHash
    let held: Uint8Array | undefined
    for await (const chunk of source.chunks(whole, () => Promise.resolve(isRight()))) {
      if (held) yield held
      seed.update(chunk)
      held = Buffer.from(chunk)
    }
    if (narinfo.fileHash !== undefined && !isRight()) {
      const error = new ProxyError('damaged', `${source.from}: the NAR does not have its FileHash`)
      for (const giver of source.givers) giver.blame?.(error)
      throw error
    }
    if (held) yield held
  }

  /** Remembers who took part in a NAR that turned out wrong, and forgets the way to it. */
  #learn(fill: Fill): void {
    const { failure, substitute } = fill
    if (!failure || failure.code === 'aborted') return
    const { hash } = substitute.narinfo.storePath
    this.#recent.delete(hash)
    if (failure.code === 'damaged' || failure.code === 'gone') this.#stale.set(hash, true)
    if (failure.code !== 'damaged') return
    const { liars, suspects } = this.#doubts.get(hash) ?? { liars: new Set(), suspects: new Set() }
    const givers = fill.givers.map(({ from }) => from)
    if (givers.length === 1) {
      for (const giver of givers) liars.add(giver)
      suspects.clear()
    } else {
      for (const giver of givers) {
        // Last is who was so this time.
        suspects.delete(giver)
        suspects.add(giver)
      }
    }
    this.#doubts.set(hash, { liars, suspects })
  }
}

/**
 * Whom to pass over, first and then: everybody who took part; and, where nobody else has it, not the last of those of whom one lied. They
 * are asked for all of it then. Were all of them passed over to the end, one who lies and breaks off would take those with it who
 * went on for him.
 */
function inDoubt({ liars, suspects }: Doubts): readonly (readonly string[])[] {
  const everybody = [...liars, ...suspects]
  return suspects.size === 0 ? [everybody] : [everybody, everybody.slice(0, -1)]
}

type Elsewhere = (avoid: ReadonlySet<string>, signal: AbortSignal) => Promise<Substitute | undefined>

/** Bytes that an answer takes in memory, roughly: its fields as text, as parsed, and the closures around them. */
function weight({ narinfo }: Substitute): number {
  return narinfo.fields.reduce((sum, [key, value]) => sum + 4 * (key.length + value.length), 2048)
}

function fits(substitute: Substitute, { nar }: Wanted): boolean {
  return !nar || sameNar(narIdentity(substitute.narinfo), nar)
}

/** A range as it lies in a NAR of this size. Throws `bad-range` when it begins past the end. */
function within(range: ByteRange | undefined, size: number | undefined): { start: number; end: number | undefined } {
  if (!range) return { start: 0, end: undefined }
  if (size === undefined) return { start: range.start, end: range.end }
  if (range.start >= size) throw new ProxyError('bad-range', `store: the NAR has ${size} bytes, none at ${range.start}`)
  return { start: range.start, end: range.end === undefined ? undefined : Math.min(range.end, size - 1) }
}

async function* firstBytes(body: AsyncIterable<Uint8Array>, count: number): AsyncGenerator<Uint8Array, void, void> {
  let left = count
  for await (const chunk of body) {
    const part = chunk.subarray(0, left)
    left -= part.length
    yield part
    if (left === 0) return
  }
}

/** Waits for something shared, but not longer than the signal; what is shared goes on. */
function stopWaiting<T>(shared: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new ProxyError('aborted', 'the client has gone'))
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    shared.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
