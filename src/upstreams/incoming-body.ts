// The body of a response between its connection and its reader: copied at once into one of two blocks that are used in turn, so that
// a connection may read into the same buffer again, and a NAR of any size takes the memory of two blocks.

/** Bytes of a block, where the body is not known to be shorter. */
const blockSize = 512 * 1024
/** Bytes of the first block where nobody has said how long the body is. */
const firstSize = 16 * 1024
/** The most that comes at once: a block that has less room than this is full. */
const mostAtOnce = 256 * 1024

export interface IncomingBodyOptions {
  /** Bytes that are to come; undefined: nobody said. */
  readonly expected: number | undefined
  /** There is room again, after `take` has said that there is not. */
  readonly resume: () => void
  /** The reader has given up, before everything had come. */
  readonly abort: (reason: Error) => void
}

type Step = IteratorResult<Uint8Array, undefined>

const done: Step = { done: true, value: undefined }

/**
 * Must be read to its end or destroyed, else its connection is lost. Chunks are valid until the next is asked for. What has come before
 * a failure is read first.
 */
export class IncomingBody implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #options: IncomingBodyOptions
  #filling: Buffer | undefined
  #filled = 0
  /** The block of the chunk that was read last. */
  #lent: Buffer | undefined
  #paused = false
  /** Everything has come. */
  #ended = false
  #failure: Error | undefined
  /** Read to its end, failed or destroyed. */
  #over = false
  #waiting: { readonly resolve: (step: Step) => void; readonly reject: (reason: Error) => void } | undefined
  #waking = false
  #whenOver: (() => void)[] = []

  constructor(options: IncomingBodyOptions) {
    this.#options = options
  }

  /** Bytes that have come and not been read. */
  get length(): number {
    return this.#filled
  }

  get over(): boolean {
    return this.#over
  }

  /** Calls back once nothing more will be read from it: now, if that is so already. */
  whenOver(callback: () => void): void {
    if (this.#over) callback()
    else this.#whenOver.push(callback)
  }

  /** Copies what has come. False: that was as much as there is room for, and `resume` will be called. */
  take(chunk: Uint8Array): boolean {
    if (this.#over) return true
    const filling = this.#roomFor(chunk.length)
    filling.set(chunk, this.#filled)
    this.#filled += chunk.length
    this.#paused = this.#filled + mostAtOnce > blockSize && this.#filled !== this.#options.expected
    if (this.#paused) this.#wake()
    else this.#wakeSoon()
    return !this.#paused
  }

  /** Nothing more will come. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  /** Nothing more will come, and that is not the end. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake()
  }

  /** Nobody will read it any more; who waits for it is given the reason. */
  destroy(why?: Error): void {
    if (this.#over) return
    const reason = why ?? new Error('given up')
    const broken = !this.#ended && this.#failure === undefined
    this.#failure = reason
    this.#filled = 0
    this.#wake()
    this.#finish()
    if (broken) this.#options.abort(reason)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Step> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.#wake()
    })
  }

  return(): Promise<Step> {
    this.destroy()
    this.#failure = undefined
    this.#ended = true
    return Promise.resolve(done)
  }

  /** What the reader gets now; undefined: it has to wait, or there is a failure. */
  #step(): Step | undefined {
    if (this.#filled > 0 && this.#filling) {
      const value = this.#filling.subarray(0, this.#filled)
      const spare = this.#lent
      this.#lent = this.#filling
      this.#filling = spare
      this.#filled = 0
      if (this.#paused) {
        this.#paused = false
        this.#options.resume()
      }
      return { done: false, value }
    }
    if (this.#failure || !this.#ended) return undefined
    this.#finish()
    return done
  }

  /** A reader that was told of a failure comes to the end after that. */
  #fallen(failure: Error): Error {
    this.#finish()
    this.#ended = true
    this.#failure = undefined
    return failure
  }

  #roomFor(length: number): Buffer {
    const needed = this.#filled + length
    const filling = this.#filling
    if (filling && filling.length >= needed) return filling
    const likely = Math.min(blockSize, this.#options.expected ?? Math.max(firstSize, 2 * (filling?.length ?? 0)))
    const larger = Buffer.allocUnsafe(Math.max(likely, needed))
    if (filling) larger.set(filling.subarray(0, this.#filled))
    this.#filling = larger
    return larger
  }

  /** Small pieces are gathered for as long as the connection has more of them just now. */
  #wakeSoon(): void {
    // All of a short one: its end follows at once.
    if (this.#waking || !this.#waiting || this.#filled === this.#options.expected) return
    this.#waking = true
    setImmediate(() => {
      this.#waking = false
      this.#wake()
    })
  }

  /** Gives the reader who waits what there is for him, if anything. */
  #wake(): void {
    const waiting = this.#waiting
    if (!waiting) return
    this.#waiting = undefined
    const step = this.#step()
    if (step) waiting.resolve(step)
    else if (this.#failure) waiting.reject(this.#fallen(this.#failure))
    else this.#waiting = waiting
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    const callbacks = this.#whenOver
    this.#whenOver = []
    for (const callback of callbacks) callback()
  }
}
