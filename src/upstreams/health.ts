// How one upstream is doing: whether to ask it now, when to try it again, how fast it answers.
//
//           3 failures in a row, or one 401          back-off over
//    ok ───────────────────────────────────▶ open ─────────────────▶ probing
//    ▲ ▲                                       ▲                       │   │
//    │ └─────────────── the probe is answered ─┼───────────────────────┘   │
//    │                                         └─ it fails: twice the back-off
//    └── time over ── cooldown ◀── 429 or 503 with Retry-After, from ok
//
// Disabled lies outside: an upstream for another store directory can have nothing of ours, until it says otherwise.

import type { ProxyError } from '../errors.ts'
import { OncePer, silentLog, type Log } from '../log.ts'
import { linkTrouble } from './failures.ts'

export type HealthState = 'ok' | 'open' | 'probing' | 'cooldown' | 'disabled'

/** Sees several upstreams at once, and may speak for them where one line says it all. */
export interface Overseer {
  /** It is not asked from now on, or a probe has failed. @param say logs what is to be said of this one alone */
  away(failure: ProxyError, say: () => void): void
  /** It answers. @param proved it answered a real question, and not only a probe */
  back(proved: boolean): void
}

export interface HealthOptions {
  /** How a log line begins: `upstream cache.nixos.org`. */
  readonly who: string
  /** Monotonic, ms. */
  readonly clock: () => number
  /** From 0 to 1: jitter. */
  readonly random?: (() => number) | undefined
  readonly log?: Log | undefined
  /** Called when the circuit opens: it is time to think of a probe. */
  readonly opened?: () => void
  /** Without one, it speaks for itself. */
  readonly overseer?: Overseer | undefined
}

const nobody: Overseer = { away: (_failure, say) => say(), back: () => {} }

/** Failures in a row that open the circuit. */
const threshold = 3
/** Back-off before the first probe, ms; doubled each time. */
const firstBackoff = 1000
/** Its end, ms. A link that is down may be back any second, and trying costs nothing; a server in trouble is left alone for longer. */
const longestBackoff = { link: 5000, server: 60_000 }
/** Weight of the newest answer in the mean latency. */
const newest = 0.2

export class Health {
  readonly #who: string
  readonly #clock: () => number
  readonly #random: () => number
  readonly #log: Log
  readonly #opened: () => void
  readonly #overseer: Overseer
  readonly #said = new OncePer()
  /** What went wrong was logged, and so will be that it is over. */
  #downSaid = false
  #state: HealthState = 'ok'
  #failures = 0
  /** How often it opened or failed a probe since it last really answered: the back-off does not forget on a lucky probe. */
  #trips = 0
  #coolUntil = 0
  #lastFailure: ProxyError | undefined
  #latency: number | undefined
  #disabledFor: string | undefined

  constructor({
    who,
    clock,
    random = Math.random,
    log = silentLog,
    opened = () => {},
    overseer = nobody,
  }: HealthOptions) {
    this.#who = who
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#opened = opened
    this.#overseer = overseer
  }

  get state(): HealthState {
    if (this.#disabledFor !== undefined) return 'disabled'
    if (this.#state === 'cooldown' && this.#clock() >= this.#coolUntil) this.#state = 'ok'
    return this.#state
  }

  get lastFailure(): ProxyError | undefined {
    return this.#lastFailure
  }

  /** Failures since the last success. */
  get failuresInARow(): number {
    return this.#failures
  }

  /** Mean ms to an answer, the newest counting most; undefined before the first. */
  get latency(): number | undefined {
    return this.#latency
  }

  /** Why it can have nothing of ours, for instance another store directory; undefined: it may. */
  get disabledFor(): string | undefined {
    return this.#disabledFor
  }

  /** Why it is not to be asked now; undefined: ask. */
  refusal(): string | undefined {
    switch (this.state) {
      case 'open':
      case 'probing':
        return 'circuit open'
      case 'cooldown':
        return `cooling down for ${Math.ceil((this.#coolUntil - this.#clock()) / 1000)} s`
      case 'disabled':
        return this.#disabledFor
      case 'ok':
        break
    }
    return undefined
  }

  /** It answered as it should, found or missed. @param ms how long it took, where that says something about its speed */
  succeeded(ms?: number): void {
    if (ms !== undefined)
      this.#latency = this.#latency === undefined ? ms : this.#latency + newest * (ms - this.#latency)
    const wasAway = this.#trips > 0
    this.#failures = 0
    this.#trips = 0
    if (this.#state === 'open' || this.#state === 'probing') this.#state = 'ok'
    if (wasAway) this.#overseer.back(true)
    this.#back()
    this.#downSaid = false
    this.#said.forget('back')
    this.#said.forget('cooldown')
  }

  /** It failed, and by its own fault. @param at once: one such failure is enough (it wants credentials that we do not have) */
  failed(failure: ProxyError, atOnce = false): void {
    this.#lastFailure = failure
    this.#failures += 1
    // After a lucky probe, the first real failure opens it again.
    if (this.state === 'ok' && (atOnce || this.#trips > 0 || this.#failures >= threshold)) this.#open(failure)
  }

  /** It asked to be left alone. @param ms as retryAfter gives it */
  coolDown(ms: number, failure: ProxyError): void {
    this.#lastFailure = failure
    if (this.state !== 'ok' && this.#state !== 'cooldown') return
    this.#state = 'cooldown'
    this.#coolUntil = this.#clock() + ms
    if (this.#said.first('cooldown')) this.#log.warn(`${failure.message}; left alone for ${Math.ceil(ms / 1000)} s`)
  }

  /** How long to wait from now before it is probed, ms: doubled at each failure, with jitter, so that not all of us come at once. */
  backoff(): number {
    const link = this.#lastFailure !== undefined && linkTrouble(this.#lastFailure) !== undefined
    const longest = link ? longestBackoff.link : longestBackoff.server
    const delay = Math.min(firstBackoff * 2 ** Math.min(Math.max(this.#trips - 1, 0), 16), longest)
    return delay * (0.5 + this.#random() / 2)
  }

  probing(): void {
    if (this.#state === 'open') this.#state = 'probing'
  }

  /** The probe was answered: ask it again, but trust it only after it has answered a real question. */
  probeSucceeded(): void {
    if (this.#state !== 'probing') return
    this.#state = 'ok'
    this.#failures = 0
    this.#overseer.back(false)
    this.#back()
  }

  probeFailed(failure: ProxyError): void {
    if (this.#state !== 'probing') return
    this.#lastFailure = failure
    this.#state = 'open'
    this.#trips += 1
    this.#overseer.away(failure, () => this.#down(failure))
  }

  /** It can have nothing of ours, and is not asked; undefined: it can again. */
  disable(why: string | undefined): void {
    if (why !== undefined && this.#said.first(`disabled: ${why}`))
      this.#log.warn(`${this.#who}: ${why}; it is not asked`)
    this.#disabledFor = why
  }

  #open(failure: ProxyError): void {
    this.#state = 'open'
    this.#trips += 1
    this.#opened()
    this.#overseer.away(failure, () => this.#down(failure))
  }

  #down(failure: ProxyError): void {
    if (this.#downSaid) return
    this.#downSaid = true
    this.#log.warn(`${failure.message}; not asked until it answers again`)
  }

  #back(): void {
    if (this.#downSaid && this.#said.first('back')) this.#log.info(`${this.#who}: is back`)
  }
}
