// Looks after one upstream in the background: what its nix-cache-info says, and whether it is back when its circuit is open.
// No request ever waits for this.

import { ProxyError, codeOf } from '../errors.ts'
import { parseCacheInfo } from '../nix/cache-info.ts'
import type { Client } from './client.ts'
import { within } from './deadline.ts'
import { decoded, readText } from './decoding.ts'
import { discard } from './exchange.ts'
import { BadStatus, elsewhere, failureOf, isWebPage, NotTheCache } from './failures.ts'
import type { Health } from './health.ts'
import type { IncomingBody } from './incoming-body.ts'

export interface WatchOptions {
  /** How a failure's sentence begins. */
  readonly who: string
  readonly storeDir: string
  readonly client: Client
  readonly health: Health
  /** Where its nix-cache-info is. */
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** For the whole of it, ms. */
  readonly timeout: number
  readonly random?: (() => number) | undefined
}

/** Between two looks at an upstream that is well, ms: somebody may have given it another store directory. */
const interval = 60 * 60 * 1000
/** Until the next look where the last has failed, ms. */
const soon = 60 * 1000
const mostBytes = 64 * 1024

export class Watch {
  readonly #options: WatchOptions
  readonly #random: () => number
  #timer: NodeJS.Timeout | undefined
  #looking: AbortController | undefined
  #state: 'new' | 'running' | 'stopped' = 'new'
  #verified = false
  #forbidden = false

  constructor(options: WatchOptions) {
    this.#options = options
    this.#random = options.random ?? Math.random
  }

  /** Its nix-cache-info was read and names our store directory. */
  get verified(): boolean {
    return this.#verified
  }

  /** Its nix-cache-info was refused with 403: then a 403 for anything else says nothing either (edge case 92). */
  get forbidden(): boolean {
    return this.#forbidden
  }

  /** It is being asked for its nix-cache-info just now. */
  get looking(): boolean {
    return this.#looking !== undefined
  }

  /** Begins; a second time, or after `stop`, it does nothing. */
  start(): void {
    if (this.#state !== 'new') return
    this.#state = 'running'
    void this.#look()
  }

  /** The circuit has opened: probe it after its back-off. */
  wake(): void {
    this.#looking?.abort()
    this.#after(this.#options.health.backoff(), () => void this.#probe())
  }

  /** The link seems to be back: probe it in so many ms, whatever its back-off, if its circuit is open. */
  hurry(ms: number): void {
    const { state } = this.#options.health
    if (state !== 'open' && state !== 'probing') return
    this.#looking?.abort()
    this.#after(ms, () => void this.#probe())
  }

  /** Ends it for good; nothing of it is left behind. */
  stop(): void {
    this.#state = 'stopped'
    clearTimeout(this.#timer)
    this.#looking?.abort()
  }

  async #look(): Promise<void> {
    const { health } = this.#options
    const failure = await this.#read(false)
    if (failure?.code === 'aborted') return
    if (failure !== undefined) health.failed(failure)
    // If that was one too many, the circuit is open and a probe is due already.
    if (health.state !== 'open')
      this.#after(this.#jittered(failure === undefined ? interval : soon), () => void this.#look())
  }

  async #probe(): Promise<void> {
    const { health } = this.#options
    health.probing()
    if (health.state !== 'probing') {
      // A request that was under way has been answered meanwhile.
      this.#after(this.#jittered(interval), () => void this.#look())
      return
    }
    const failure = await this.#read(true)
    if (failure?.code === 'aborted') return
    if (failure === undefined) {
      health.probeSucceeded()
      this.#after(this.#jittered(interval), () => void this.#look())
    } else {
      health.probeFailed(failure)
      this.wake()
    }
  }

  /** Timers do not keep the process alive: nobody waits for them. */
  #after(ms: number, then: () => void): void {
    clearTimeout(this.#timer)
    if (this.#state !== 'stopped') this.#timer = setTimeout(then, ms).unref()
  }

  #jittered(ms: number): number {
    return ms * (0.75 + this.#random() / 2)
  }

  async #read(fresh: boolean): Promise<ProxyError | undefined> {
    const looking = new AbortController()
    this.#looking = looking
    try {
      await within(this.#options.timeout, looking.signal, (signal) => this.#ask(signal, fresh))
      return undefined
    } catch (error) {
      return looking.signal.aborted ? new ProxyError('aborted', 'watch') : failureOf(this.#options.who, error)
    } finally {
      if (this.#looking === looking) this.#looking = undefined
    }
  }

  /** A probe goes over a new connection: the kept ones may have died with the link. */
  async #ask(signal: AbortSignal, fresh: boolean): Promise<void> {
    const { client, url, headers, who } = this.#options
    const {
      status,
      headers: got,
      body,
    } = await client.get(url, headers, signal, fresh).catch((error: unknown) => Promise.reject(elsewhere(who, error)))
    if (status === 200) {
      this.#forbidden = false
      this.#judge(await textOf(body, got['content-encoding']))
      return
    }
    discard(body)
    this.#forbidden = status === 403
    if (![403, 404, 410].includes(status)) throw new BadStatus(who, status)
  }

  #judge(text: string): void {
    const { storeDir, health, who } = this.#options
    const said = parseCacheInfo(text).storeDir
    // One that never had another may be a cache all the same, unless it gave a web page for a narinfo, too.
    const suspected = this.#verified || health.lastFailure instanceof NotTheCache
    if (said === undefined && suspected && isWebPage(text)) {
      throw new NotTheCache(who, 'its nix-cache-info is a web page now')
    }
    this.#verified = said === storeDir
    health.disable(said === undefined || said === storeDir ? undefined : `is for ${said}`)
  }
}

/** What is no text or too long says nothing, as far as we are concerned (edge case 3). */
async function textOf(body: IncomingBody, encoding: string | undefined): Promise<string> {
  try {
    return await readText(decoded(body, encoding), mostBytes)
  } catch (error) {
    if (codeOf(error) !== 'bad-narinfo' && codeOf(error) !== 'damaged') throw error
    return ''
  } finally {
    body.destroy()
  }
}
