// Sees all configured upstreams at once: when none of them can be reached that is one event, the link, and not so many dead caches.
//
//   ok ── the last upstream that still answered is away, and all for the link's sake ──▶ offline, portal
//    ▲                                                                                       │
//    └────── one answers: the others are probed within a second, spread over it ─────────────┘

import type { ProxyError } from '../errors.ts'
import { OncePer, silentLog, type Log } from '../log.ts'
import { linkTrouble, type LinkTrouble } from './failures.ts'
import type { Overseer } from './health.ts'

/** `offline`: nobody can be reached. `portal`: something else answers in their place, and wants somebody to log in. */
export type UplinkState = 'ok' | LinkTrouble

export interface UplinkOptions {
  readonly log?: Log | undefined
  /** Monotonic, ms. */
  readonly clock?: () => number
  /** From 0 to 1: jitter. */
  readonly random?: () => number
  /** How long an upstream's own line is held back, since it may turn out to be one of many, ms. */
  readonly patience?: number
}

export interface UplinkMember {
  /** False for one that is not asked anyway: it says nothing about the link. */
  readonly counts: () => boolean
  /** Probe it after so many ms, unless it is well. */
  readonly hurry: (ms: number) => void
}

interface Member extends UplinkMember {
  /** Why it is not asked; undefined: it is. */
  failure: ProxyError | undefined
  /** Logs what is to be said of it alone, if it comes to that. */
  say: (() => void) | undefined
  timer: NodeJS.Timeout | undefined
}

/** ms: upstreams that are asked together fail together, give or take one time-out to connect. */
const usualPatience = 4000
/** Once the link is back, those who are still away after this long, ms, have a trouble of their own. */
const patienceAfter = 15_000
/** The probes of the others are spread over this, ms. */
const spread = 1000

export class Uplink {
  readonly #log: Log
  readonly #clock: () => number
  readonly #random: () => number
  readonly #patience: number
  readonly #members = new Set<Member>()
  #state: UplinkState = 'ok'
  #since = 0
  /** What was said of this event: it is over when a real question was answered, and a lucky probe makes no news of the next failure. */
  readonly #said = new OncePer()
  #closed = false

  constructor({
    log = silentLog,
    clock = () => performance.now(),
    random = Math.random,
    patience = usualPatience,
  }: UplinkOptions = {}) {
    this.#log = log
    this.#clock = clock
    this.#random = random
    this.#patience = patience
  }

  get state(): UplinkState {
    return this.#state
  }

  /** One more upstream whose absence counts: a configured one. Peers come and go, and say nothing about the link. */
  join(joining: UplinkMember): Overseer {
    const member: Member = { ...joining, failure: undefined, say: undefined, timer: undefined }
    this.#members.add(member)
    return {
      away: (failure, say) => this.#away(member, failure, say),
      back: (proved) => this.#back(member, proved),
    }
  }

  /** Nothing more is said. */
  close(): void {
    this.#closed = true
    for (const { timer } of this.#members) clearTimeout(timer)
  }

  #away(member: Member, failure: ProxyError, say: () => void): void {
    const news = member.failure === undefined
    member.failure = failure
    if (news) member.say = say
    this.#judge()
    if (this.#state !== 'ok' || !news) return
    // A server in trouble is no link in trouble: it speaks for itself.
    if (linkTrouble(failure) === undefined) this.#let(member)
    else this.#later(member, this.#patience)
  }

  #back(member: Member, proved: boolean): void {
    const wasAway = member.failure !== undefined
    member.failure = undefined
    member.say = undefined
    clearTimeout(member.timer)
    if (wasAway && this.#state !== 'ok') this.#over()
    if (proved) for (const what of ['offline', 'portal', 'back']) this.#said.forget(what)
  }

  #over(): void {
    this.#state = 'ok'
    const seconds = Math.round((this.#clock() - this.#since) / 1000)
    if (this.#said.first('back')) this.#log.info('uplink: is back', { after: `${seconds}s` })
    for (const other of this.#members) {
      if (other.failure === undefined) continue
      this.#later(other, patienceAfter)
      other.hurry(this.#random() * spread)
    }
  }

  #judge(): void {
    const counting = Array.from(this.#members).filter((member) => member.counts())
    const failures = counting.flatMap(({ failure }) => failure ?? [])
    const troubles = failures.flatMap((failure) => linkTrouble(failure) ?? [])
    if (counting.length === 0 || troubles.length < counting.length) {
      // A server's own failure has come over the link.
      if (this.#state !== 'ok') this.#over()
      return
    }
    // Where one is caught in a portal, those who cannot be reached are, too: portals have no certificates.
    const caught = failures.find((failure) => linkTrouble(failure) === 'portal')
    const before = this.#state
    this.#state = caught ? 'portal' : 'offline'
    if (before === 'ok') {
      this.#since = this.#clock()
      for (const { timer } of this.#members) clearTimeout(timer)
      if (!caught && this.#said.first('offline')) this.#say(`offline, ${none(counting.length)} answer`, failures[0])
    }
    if (caught && this.#said.first('portal')) {
      this.#say(
        `behind a captive portal, it seems: something answers that is no cache, ${none(counting.length)}`,
        caught,
      )
    }
  }

  #say(what: string, failure: ProxyError | undefined): void {
    this.#log.warn(`uplink: ${what}; what is held is served, the rest is tried again every few seconds`, {
      why: failure?.message,
    })
  }

  #later(member: Member, ms: number): void {
    clearTimeout(member.timer)
    if (!this.#closed) member.timer = setTimeout(() => this.#let(member), ms).unref()
  }

  #let({ say }: Member): void {
    if (this.#state === 'ok') say?.()
  }
}

function none(count: number): string {
  return count === 1 ? 'the upstream does not' : `none of ${count} upstreams does`
}
