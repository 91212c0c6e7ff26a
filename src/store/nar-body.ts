// The bytes of a NAR file on disk, in large reads: while one buffer is being sent the next is filled.

import type { FileHandle } from 'node:fs/promises'

import { ProxyError } from '../errors.ts'
import { storeError } from './store-health.ts'

/** Bytes of one read. 1 MiB: a tenth of the calls of 128 KiB. */
const bufferSize = 1024 * 1024
/** Where so many of them are out, whoever comes gets small ones: two are what one slow reader costs, and there may be thousands. */
const largeAtMost = 64
const smallSize = 64 * 1024
/** Buffers that wait to be used again, for all readers together. */
const spareBuffers = 32
/** A NAR up to this size gets a buffer of its own size: most are small. */
const ownBuffer = 256 * 1024

/** Buffers of 1 MiB, used again; smaller ones where too many of these are in use. */
export class BufferPool {
  readonly #spare: Buffer[] = []
  #large = 0

  take(): Buffer {
    if (this.#large >= largeAtMost) return Buffer.allocUnsafeSlow(smallSize)
    this.#large += 1
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(bufferSize)
  }

  /** Also takes buffers that are none of its own, and drops them. */
  give(buffer: Buffer): void {
    if (buffer.length !== bufferSize) return
    this.#large -= 1
    if (this.#spare.length < spareBuffers) this.#spare.push(buffer)
  }
}

export interface NarBodyOptions {
  readonly file: FileHandle
  /** First byte, and how many follow. The file is known to have them. */
  readonly start: number
  readonly length: number
  readonly pool: BufferPool
  readonly signal: AbortSignal
  /** Told once, when the file is closed: with the failure, if there was one. */
  readonly over: (error: ProxyError | undefined) => void
}

/**
 * An iterator over a part of a file; closes the file at the end, at a failure, and at `return`, also when it was never begun. Throws
 * ProxyError `damaged` when the file has become shorter, `store-failed` when it cannot be read, `aborted` by the signal.
 */
export class NarBody implements AsyncIterableIterator<Uint8Array> {
  readonly #options: NarBodyOptions
  #position: number
  #left: number
  #ahead: Promise<Uint8Array> | undefined
  /** The buffer with the consumer's chunk, and the one that is being filled. */
  #sent: Buffer | undefined
  #filling: Buffer | undefined
  #over: Promise<void> | undefined

  constructor(options: NarBodyOptions) {
    this.#options = { ...options }
    this.#position = options.start
    this.#left = options.length
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#over) return this.#done()
    try {
      if (this.#options.signal.aborted) throw new ProxyError('aborted', 'store: nobody waits for this NAR any more')
      const reading = (this.#ahead ??= this.#readMore())
      if (!reading) {
        // Nobody waits for the file to be closed: most NARs are small, and that would be a third of their time.
        void this.#finish()
        return { done: true, value: undefined }
      }
      const value = await reading
      if (this.#isOver()) return this.#done()
      // The consumer is through with the last chunk: its buffer takes the one after next.
      const used = this.#sent
      this.#sent = this.#filling
      this.#filling = used
      this.#ahead = this.#readMore()
      // Whoever asks for it hears of it.
      this.#ahead?.catch(() => {})
      return { done: false, value }
    } catch (error) {
      const failure = error instanceof ProxyError ? error : storeError(error)
      await this.#finish(failure)
      throw failure
    }
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    return this.#done()
  }

  async #done(): Promise<IteratorReturnResult<undefined>> {
    await this.#finish()
    return { done: true, value: undefined }
  }

  /** It may have been ended while something was being read. */
  #isOver(): boolean {
    return this.#over !== undefined
  }

  /** Begins to fill a buffer; undefined when nothing is left to be read. */
  #readMore(): Promise<Uint8Array> | undefined {
    if (this.#left === 0) {
      this.#ahead = undefined
      return undefined
    }
    const { file, pool } = this.#options
    const buffer = this.#filling ?? (this.#left <= ownBuffer ? Buffer.allocUnsafeSlow(this.#left) : pool.take())
    this.#filling = buffer
    return this.#fill(file, buffer)
  }

  async #fill(file: FileHandle, buffer: Buffer): Promise<Uint8Array> {
    const length = Math.min(buffer.length, this.#left)
    const { bytesRead } = await file.read(buffer, 0, length, this.#position)
    if (bytesRead === 0) {
      throw new ProxyError('damaged', `store: a NAR file ends at ${this.#position}, ${this.#left} bytes too early`)
    }
    this.#position += bytesRead
    this.#left -= bytesRead
    return bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead)
  }

  #finish(failure?: ProxyError): Promise<void> {
    this.#over ??= this.#close(failure)
    return this.#over
  }

  async #close(failure: ProxyError | undefined): Promise<void> {
    const { file, pool, over } = this.#options
    // The kernel may still be writing into a buffer that another reader would get.
    await this.#ahead?.catch(() => {})
    for (const buffer of [this.#sent, this.#filling]) if (buffer) pool.give(buffer)
    await file.close().catch(() => {})
    over(failure)
  }
}
