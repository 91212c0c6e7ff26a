// The line to one upstream: takes turns, asks, reads statuses, and keeps the health by what comes back. It knows no narinfo.

import type { LookupFunction } from 'node:net'

import type { ProxyError } from '../errors.ts'
import { OncePer, silentLog, type Log } from '../log.ts'
import type { ByteRange } from '../substituter.ts'
import type { Bounds } from './address.ts'
import { Client, type UpstreamResponse } from './client.ts'
import { within } from './deadline.ts'
import { decoded, readText } from './decoding.ts'
import { discard } from './exchange.ts'
import { BadStatus, elsewhere, failureOf, isWebPage, NotAsked, NotTheCache } from './failures.ts'
import { Gate } from './gate.ts'
import { Health } from './health.ts'
import type { Limits } from './limits.ts'
import { aborted } from './race.ts'
import { retryAfter } from './retry-after.ts'
import { Transfer, type TransferOptions } from './transfer.ts'
import type { Uplink } from './uplink.ts'
import { Watch } from './watch.ts'

export interface LineOptions extends Bounds {
  readonly who: string
  readonly storeDir: string
  readonly peer: boolean
  readonly limits: Limits
  /** For the upstream alone. */
  readonly extraHeaders: Readonly<Record<string, string>>
  readonly credentials: { readonly login: string; readonly password: string } | undefined
  readonly instanceId: string
  readonly userAgent: string
  readonly log: Log | undefined
  readonly clock: () => number
  readonly random: (() => number) | undefined
  readonly zone: string | undefined
  readonly lookup: LookupFunction | undefined
  /** Whom it tells how it is. */
  readonly uplink: Uplink | undefined
}

/** One request: where to, through which proxies the question came, which part, how long it is wanted. */
export interface LineRequest {
  readonly url: URL
  readonly loop: readonly string[]
  readonly range?: ByteRange | undefined
  readonly signal: AbortSignal
}

/** What came back for a text. */
export interface Said {
  /** Undefined: it has none. */
  readonly text: string | undefined
  /** It has none, and that may be remembered. */
  readonly lasting: boolean
  /** How long it took, ms. */
  readonly ms: number
}

export class Line {
  readonly health: Health
  readonly watch: Watch
  readonly #options: LineOptions
  readonly #log: Log
  readonly #said = new OncePer()
  readonly #client: Client
  readonly #lookups: Gate
  readonly #transfers: Gate

  constructor(options: LineOptions) {
    const { who, limits, clock, random, log = silentLog, storeDir, uplink } = options
    this.#options = options
    this.#log = log
    this.#lookups = new Gate({ limit: limits.lookups })
    this.#transfers = new Gate({ limit: limits.transfers })
    // Whoever is silent beside others that answer is never waited for: that it cannot be reached shows here, and nowhere else.
    const noConnection = (error: Error): void => {
      if (!this.#lookups.busy && !this.#transfers.busy && !this.watch.looking) this.blame(failureOf(who, error))
    }
    const client = new Client({
      ...options,
      headers: plainHeaders(options),
      secretHeaders: secretHeaders(options),
      noConnection,
    })
    this.#client = client
    const opened = (): void => {
      client.renew()
      this.watch.wake()
    }
    const overseer = uplink?.join({
      counts: () => health.disabledFor === undefined,
      hurry: (ms) => this.watch.hurry(ms),
    })
    const health: Health = new Health({ who, clock, random, log, opened, overseer })
    const url = new URL('nix-cache-info', options.own)
    this.health = health
    this.watch = new Watch({
      who,
      client,
      health,
      storeDir,
      url,
      headers: this.#loop([]),
      timeout: limits.narinfo,
      random,
    })
  }

  /** Closes all connections; what runs is aborted. */
  async close(): Promise<void> {
    this.watch.stop()
    await this.#client.close()
  }

  /** @throws NotAsked when this is no time to ask */
  admit(): void {
    const refusal = this.health.refusal()
    if (refusal !== undefined) throw new NotAsked(this.#options.who, refusal, this.health.lastFailure)
  }

  /**
   * GETs a small text in its turn, whole and decoded, bounded in time and size. What is wrong with it is for `failure` to say,
   * and that it is right for `health.succeeded`.
   */
  async text({ url, loop, signal }: LineRequest): Promise<Said> {
    const { limits, clock } = this.#options
    const leave = await this.#lookups.enter(signal)
    try {
      // It may have been closed while we stood in line.
      this.admit()
      const askedAt = clock()
      const said = await within(limits.narinfo, signal, (signal) => this.#text(url, loop, signal))
      return { ...said, ms: clock() - askedAt }
    } finally {
      leave()
    }
  }

  /**
   * GETs a file in its turn, which ends with the response's body. `use` makes something of the response, synchronously, or throws,
   * or gives undefined; in the last two cases the body is done away with.
   */
  async file<T>({ url, loop, range, signal }: LineRequest, use: (response: UpstreamResponse) => T): Promise<T> {
    const leave = await this.#transfers.enter(signal)
    let response: UpstreamResponse | undefined
    try {
      this.admit()
      const part = range === undefined ? {} : { range: `bytes=${range.start}-${range.end ?? ''}` }
      response = await this.#client.get(url, { ...this.#loop(loop), ...part }, signal)
      response.body.whenOver(leave)
      const made = use(response)
      if (made === undefined) discard(response.body)
      return made
    } catch (error) {
      if (response === undefined) leave()
      else if (response.status < 300) response.body.destroy()
      else discard(response.body)
      throw error
    }
  }

  /** The body of a file, whose end counts for the health. */
  transfer(
    { body }: UpstreamResponse,
    signal: AbortSignal,
    bounds: Pick<TransferOptions, 'expected' | 'least' | 'most' | 'encoding'>,
  ): Transfer {
    const { who, limits } = this.#options
    const settled = (failure: ProxyError | undefined): void => {
      if (failure === undefined) this.health.succeeded()
      else this.blame(failure)
    }
    return new Transfer({ who, body, lowSpeed: limits.lowSpeed, signal, settled, ...bounds })
  }

  /**
   * True for the statuses that mean "I have not got it": 404 and 410; 403, which is how an unlistable bucket says so, unless
   * everything is 403; and a peer's 504, where it would have to fetch it first.
   */
  saysNo(status: number): boolean {
    if (status === 404 || status === 410) return true
    return (status === 403 && !this.watch.forbidden) || (status === 504 && this.#options.peer)
  }

  /** What to throw for a status that is neither yes nor no. */
  badStatus({ status, headers }: UpstreamResponse): BadStatus {
    const wait = status === 429 || status === 503 ? retryAfter(headers['retry-after'], Date.now()) : undefined
    return new BadStatus(this.#options.who, status, wait)
  }

  /** What was thrown, in our words, and counted; whoever gave up its own question blames nobody. */
  failure(error: unknown, signal: AbortSignal): ProxyError {
    const { who } = this.#options
    if (signal.aborted) return aborted(who, signal)
    const failure = failureOf(who, error)
    this.blame(failure)
    return failure
  }

  /** Counts a failure if it is one of the upstream's doing. */
  blame(failure: ProxyError): void {
    if (failure instanceof NotAsked) return
    if (failure instanceof BadStatus) {
      const { status } = failure
      if (failure.retryAfter !== undefined) this.health.coolDown(failure.retryAfter, failure)
      else this.health.failed(failure, status === 401 || status === 403 || status === 407)
    } else if (failure.code === 'bad-address') {
      if (this.#said.first('bad-address')) this.#log.warn(failure.message)
    } else if (['unreachable', 'timeout', 'bad-status', 'bad-narinfo', 'damaged'].includes(failure.code)) {
      this.health.failed(failure)
    }
  }

  async #text(url: URL, loop: readonly string[], signal: AbortSignal): Promise<Omit<Said, 'ms'>> {
    const { who, limits } = this.#options
    const response = await this.#client
      .get(url, this.#loop(loop), signal)
      .catch((error: unknown) => Promise.reject(elsewhere(who, error)))
    const { status, headers, body } = response
    if (status !== 200) {
      discard(body)
      if (!this.saysNo(status)) throw this.badStatus(response)
      return { text: undefined, lasting: status === 404 || status === 410 }
    }
    try {
      const text = await readText(decoded(body, headers['content-encoding']), limits.narinfoBytes)
      if (isWebPage(text)) throw new NotTheCache(who, 'a web page instead of a narinfo')
      return { text, lasting: false }
    } finally {
      body.destroy()
    }
  }

  /** RFC 8586: whom the question has come through, and us. */
  #loop(loop: readonly string[]): Record<string, string> {
    return { 'cdn-loop': [...loop, this.#options.instanceId].join(', ') }
  }
}

function plainHeaders({ userAgent, peer }: LineOptions): Record<string, string> {
  const headers = { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': userAgent }
  // RFC 9111, 5.2.1.7: no node fetches on behalf of another.
  return peer ? { ...headers, 'cache-control': 'only-if-cached' } : headers
}

/** Headers that only this upstream may see, in lower case, so that the operator's own replace ours. */
function secretHeaders({ extraHeaders, credentials }: LineOptions): Record<string, string> {
  const secret: Record<string, string> = {}
  if (credentials !== undefined) {
    secret['authorization'] = `Basic ${Buffer.from(`${credentials.login}:${credentials.password}`).toString('base64')}`
  }
  for (const [key, value] of Object.entries(extraHeaders)) secret[key.toLowerCase()] = value
  return secret
}
