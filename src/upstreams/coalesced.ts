// One lookup for any number of clients who ask the same thing at once, and a bound on how many lookups there are.

import { ProxyError } from '../errors.ts'
import type { Asking, Substitute, Substituter, Wanted } from '../substituter.ts'
import { Trail } from '../trail.ts'
import { Gate } from './gate.ts'
import { aborted } from './race.ts'

/** Lookups that may wait for their turn: some bursts of a whole system closure, a few MB. */
const queuedAtMost = 4096

export interface CoalescedOptions {
  readonly inner: Substituter
  /** Milliseconds that a lookup may take, the wait for its turn included. */
  readonly deadline: number
  /** Lookups under way at a time. */
  readonly limit: number
  /** Told once of every lookup that was begun and is over, however many waited for it. */
  readonly observe?: ((trail: Trail) => void) | undefined
  /** Lookups that may wait for their turn. */
  readonly queue?: number
}

/** One lookup, and how many wait for it. */
interface Lookup {
  readonly trail: Trail
  readonly answer: Promise<Substitute | undefined>
  /** Ends it early, for this reason. */
  readonly stop: (why: ProxyError) => void
  waiting: number
}

export class Coalesced implements Substituter {
  readonly name: string
  readonly #inner: Substituter
  readonly #deadline: number
  readonly #observe: (trail: Trail) => void
  readonly #gate: Gate
  readonly #most: number
  readonly #lookups = new Map<string, Lookup>()

  constructor({ inner, deadline, limit, observe = () => {}, queue = queuedAtMost }: CoalescedOptions) {
    this.name = inner.name
    this.#inner = inner
    this.#deadline = deadline
    this.#observe = observe
    this.#gate = new Gate({ limit })
    this.#most = limit + queue
  }

  /**
   * What the inner substituter answers, asked once for all who ask the same at a time. The lookup has a signal of its own, which
   * fires when the last one who waits has gone, or at the deadline; then this rejects with 'timeout'. Rejects with 'overloaded' when
   * too many lookups wait already. Everybody's trail gets what the lookup's has.
   */
  async find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    if (asking.signal.aborted) throw aborted(this.name, asking.signal)
    const key = keyOf(wanted, asking)
    const lookup = this.#lookups.get(key) ?? this.#begin(key, wanted, asking)
    lookup.waiting += 1
    try {
      return await unlessAborted(lookup.answer, asking.signal, this.name)
    } finally {
      lookup.waiting -= 1
      asking.trail.adopt(lookup.trail)
      if (lookup.waiting === 0 && this.#lookups.get(key) === lookup) {
        // Forgotten at once, so that nobody joins a lookup that is being stopped.
        this.#lookups.delete(key)
        lookup.stop(new ProxyError('aborted', `${this.name}: nobody waits for ${wanted.hash} any more`))
      }
    }
  }

  /** Lookups that are under way or wait for their turn. */
  get lookups(): number {
    return this.#lookups.size
  }

  #begin(key: string, wanted: Wanted, { loop, avoid }: Asking): Lookup {
    if (this.#lookups.size >= this.#most) {
      throw new ProxyError('overloaded', `${this.name}: ${this.#lookups.size} lookups are under way or wait already`)
    }
    const trail = new Trail()
    const controller = new AbortController()
    let ended: ProxyError | undefined
    const stop = (why: ProxyError): void => {
      ended ??= why
      controller.abort(ended)
    }
    const deadline = setTimeout(() => {
      stop(new ProxyError('timeout', `${this.name}: no answer about ${wanted.hash} within ${this.#deadline} ms`))
    }, this.#deadline)
    const asking: Asking = { signal: controller.signal, trail, loop, ...(avoid ? { avoid } : {}) }
    const answer = this.#lookUp(wanted, asking)
      .catch((error: unknown) => {
        throw ended ?? error
      })
      .finally(() => {
        clearTimeout(deadline)
        if (this.#lookups.get(key) === lookup) this.#lookups.delete(key)
      })
    const lookup: Lookup = { trail, answer, stop, waiting: 0 }
    this.#lookups.set(key, lookup)
    return lookup
  }

  async #lookUp(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const leave = await this.#gate.enter(asking.signal)
    try {
      return await unlessAborted(this.#inner.find(wanted, asking), asking.signal, this.name)
    } catch (error) {
      if (asking.signal.reason instanceof ProxyError) blameTheSilent(asking.trail, asking.signal.reason)
      throw error
    } finally {
      leave()
      this.#observe(asking.trail)
    }
  }
}

/**
 * The same question: the same path, the same bytes, and through the same proxies, without the same ones. Were `loop` left out, two
 * proxies who ask each other for one path would wait for each other.
 */
function keyOf({ hash, nar }: Wanted, { loop, avoid }: Asking): string {
  return JSON.stringify([hash, nar?.digest, nar?.compression, loop, avoid ? [...avoid].sort() : []])
}

/** At the deadline, those who have said nothing yet were not outrun: they have failed. When nobody waits any more, they have not. */
function blameTheSilent(trail: Trail, why: ProxyError): void {
  for (const entry of trail.entries) if (entry.outcome.kind === 'pending') trail.fail(entry, why)
}

/** What the promise gives, or 'aborted' as soon as the signal fires; the promise is then no longer listened to. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, who: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(aborted(who, signal))
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
