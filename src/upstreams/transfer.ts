// The body of a NAR or another file as it comes in: counted, not too slow, not too long, and ended in words of ours.

import { ProxyError } from '../errors.ts'
import { decoded } from './decoding.ts'
import { failureOf } from './failures.ts'
import type { Limits } from './limits.ts'
import { aborted } from './race.ts'

export interface TransferOptions {
  /** How a failure's sentence begins. */
  readonly who: string
  readonly body: AsyncIterable<Uint8Array> & { destroy(reason?: Error): unknown }
  /** Content-Encoding to take off. */
  readonly encoding?: string | undefined
  /** Exactly so many bytes must come; undefined: nobody said. */
  readonly expected?: number | undefined
  /** At least and at most so many, where nobody said how many. */
  readonly least?: number
  readonly most?: number
  readonly lowSpeed: Limits['lowSpeed']
  /** The reader's: once it has fired, nothing that happens is the upstream's fault. */
  readonly signal: AbortSignal
  /** Told once when the body has come whole (undefined) or has failed; not when it was given up. */
  readonly settled: (failure: ProxyError | undefined) => void
}

/**
 * Throws ProxyError `damaged` for a body that is cut, too long or does not decode, `timeout` for one that is too slow while we wait
 * for it (a slow reader of ours is no fault of the upstream), `aborted` when its signal fired. Returning it frees its connection.
 */
export class Transfer implements AsyncIterableIterator<Uint8Array> {
  readonly #options: TransferOptions
  readonly #chunks: AsyncIterator<Uint8Array>
  #received = 0
  /** The present window of the speed limit: ms spent waiting, and bytes that came in it. */
  #waited = 0
  #came = 0
  #over = false

  constructor(options: TransferOptions) {
    this.#options = options
    this.#chunks = decoded(options.body, options.encoding)[Symbol.asyncIterator]()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#over) return { done: true, value: undefined }
    try {
      const step = await this.#timed()
      if (step.done === true) {
        this.#checkEnd()
        this.#end(undefined)
        return { done: true, value: undefined }
      }
      this.#received += step.value.length
      this.#came += step.value.length
      this.#checkLength()
      return { done: false, value: step.value }
    } catch (error) {
      const failure = this.#inWords(error)
      this.#end(failure)
      this.#options.body.destroy(failure)
      throw failure
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#over = true
    this.#options.body.destroy()
    return { done: true, value: undefined }
  }

  async #timed(): Promise<IteratorResult<Uint8Array, unknown>> {
    const { body, lowSpeed } = this.#options
    let timer: NodeJS.Timeout
    const look = (): void => {
      if ((this.#came * 1000) / lowSpeed.window < lowSpeed.bytesPerSecond) {
        const limit = `${lowSpeed.bytesPerSecond} bytes a second over ${lowSpeed.window} ms`
        body.destroy(new ProxyError('timeout', `too slow after ${this.#received} bytes (less than ${limit})`))
        return
      }
      this.#waited = 0
      this.#came = 0
      asked = performance.now()
      timer = setTimeout(look, lowSpeed.window)
    }
    let asked = performance.now()
    timer = setTimeout(look, Math.max(1, lowSpeed.window - this.#waited))
    try {
      return await this.#chunks.next()
    } finally {
      clearTimeout(timer)
      this.#waited += performance.now() - asked
    }
  }

  #checkLength(): void {
    const { expected, most = Infinity } = this.#options
    const limit = expected ?? most
    if (this.#received > limit) throw new ProxyError('damaged', `longer than the ${limit} bytes it can have`)
  }

  #checkEnd(): void {
    const { expected, least = 0 } = this.#options
    if (this.#received < (expected ?? least)) throw new Error('the body has ended')
  }

  #inWords(error: unknown): ProxyError {
    const { who, expected, signal } = this.#options
    if (signal.aborted) return aborted(who, signal)
    const failure = failureOf(who, error)
    if (error instanceof ProxyError || failure.code === 'aborted') return failure
    const of = expected === undefined ? '' : ` of ${expected}`
    return new ProxyError('damaged', `${who}: cut after ${this.#received}${of} bytes`, { cause: error })
  }

  #end(failure: ProxyError | undefined): void {
    if (this.#over) return
    this.#over = true
    if (failure?.code !== 'aborted') this.#options.settled(failure)
  }
}
