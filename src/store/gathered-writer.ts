// Writes a stream to a file: at once while the disk is idle, gathered into large writes while it is not, in bounded memory.

import type { FileHandle } from 'node:fs/promises'

import { ProxyError } from '../errors.ts'
import { RecentBytes } from './recent-bytes.ts'

export interface GatheredWriterOptions {
  readonly file: FileHandle
  /** Called with the bytes that have just been written, in order. They are valid during the call only. */
  readonly written: (bytes: Uint8Array) => void
  /** Where the buffers come from and go to, and what has just been written can be had; default: two are used in turn. */
  readonly recent?: RecentBytes | undefined
}

/** Writes that are under way at once: one alone leaves the disk idle until the event loop comes round to the next. */
const mostAtOnce = 3

/** A block that is being written. */
interface Write {
  readonly buffer: Buffer
  readonly length: number
  readonly start: number
  /** Bytes of it that are in the file. */
  done: number
  over: boolean
  failure: ProxyError | undefined
}

export class GatheredWriter {
  readonly #file: FileHandle
  readonly #written: (bytes: Uint8Array) => void
  readonly #recent: RecentBytes
  #filling: Buffer | undefined
  #filled = 0
  #position = 0
  /** In the order of their bytes; so they are reported too. */
  readonly #writes: Write[] = []
  #failure: ProxyError | undefined
  /** Wakes whoever waits for a write to be over. */
  #wake: (() => void) | undefined

  constructor({ file, written, recent = new RecentBytes({ kept: 0 }) }: GatheredWriterOptions) {
    this.#file = file
    this.#written = written
    this.#recent = recent
  }

  /** Takes a copy of a chunk, in its turn. Rejects with ProxyError `store-full` or `store-failed`. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let rest = chunk; rest.length > 0;) {
      if (this.#failure) throw this.#failure
      this.#filling ??= this.#recent.take()
      const part = rest.subarray(0, this.#filling.length - this.#filled)
      this.#filling.set(part, this.#filled)
      this.#filled += part.length
      rest = rest.subarray(part.length)
      this.#begin()
      if (part.length === 0) await this.#change()
    }
  }

  /** Resolves when everything taken so far is in the file. */
  async flush(): Promise<void> {
    while (this.#writes.length > 0) await this.#change()
    if (this.#failure) throw this.#failure
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  /** Writes what there is, if nothing is being written; else only a whole block. */
  #begin(): void {
    const buffer = this.#filling
    const under = this.#writes.length
    if (!buffer || this.#failure || (under > 0 && (this.#filled < buffer.length || under === mostAtOnce))) return
    const write: Write = {
      buffer,
      length: this.#filled,
      start: this.#position,
      done: 0,
      over: false,
      failure: undefined,
    }
    this.#position += write.length
    this.#filling = undefined
    this.#filled = 0
    this.#writes.push(write)
    void this.#put(write)
      .catch((error: unknown) => {
        write.failure = diskError(error)
      })
      .then(() => {
        write.over = true
        this.#report()
        this.#begin()
        this.#wake?.()
      })
  }

  async #put(write: Write): Promise<void> {
    const { buffer, length, start } = write
    while (write.done < length) {
      const { bytesWritten } = await this.#file.write(buffer, write.done, length - write.done, start + write.done)
      write.done += bytesWritten
    }
  }

  /** What comes after a failure is not in the file, whether it was written or not. */
  #report(): void {
    for (let [first] = this.#writes; first?.over; [first] = this.#writes) {
      const { buffer, length, start, done, failure } = first
      this.#writes.shift()
      if (this.#failure) continue
      // Before anybody hears of the bytes and asks for them.
      if (done === length) this.#recent.add(buffer, start, length)
      if (done > 0) this.#written(buffer.subarray(0, done))
      this.#failure = failure
    }
  }
}

/** A disk's refusal as a ProxyError: out of space and out of quota are `store-full`, everything else `store-failed`. */
export function diskError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return full
    ? new ProxyError('store-full', 'store: the disk is full', { cause: error })
    : new ProxyError('store-failed', `store: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
}
