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

export class GatheredWriter {
  readonly #file: FileHandle
  readonly #written: (bytes: Uint8Array) => void
  readonly #recent: RecentBytes
  #filling: Buffer | undefined
  #filled = 0
  #position = 0
  #writing: Promise<void> | undefined
  #failure: ProxyError | undefined

  constructor({ file, written, recent = new RecentBytes({ kept: 0 }) }: GatheredWriterOptions) {
    this.#file = file
    this.#written = written
    this.#recent = recent
  }

  /** Takes a copy of a chunk; resolves when there is room for the next. Rejects with ProxyError `store-full` or `store-failed`. */
  async write(chunk: Uint8Array): Promise<void> {
    let rest = chunk
    while (rest.length > 0) {
      if (this.#failure !== undefined) throw this.#failure
      this.#filling ??= this.#recent.take()
      const part = rest.subarray(0, this.#filling.length - this.#filled)
      this.#filling.set(part, this.#filled)
      this.#filled += part.length
      rest = rest.subarray(part.length)
      if (!this.#writing) this.#begin(this.#filling)
      else if (this.#filled === this.#filling.length) await this.#writing
    }
  }

  /** Resolves when everything taken so far is in the file. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  #begin(buffer: Buffer): void {
    const length = this.#filled
    this.#filling = undefined
    this.#filled = 0
    this.#writing = this.#put(buffer, length)
      .catch((error: unknown) => {
        this.#failure ??= diskError(error)
      })
      .then(() => {
        this.#writing = undefined
        if (this.#filling !== undefined && this.#failure === undefined) this.#begin(this.#filling)
      })
  }

  async #put(buffer: Buffer, length: number): Promise<void> {
    const start = this.#position
    for (let done = 0; done < length;) {
      const { bytesWritten } = await this.#file.write(buffer, done, length - done, this.#position)
      const bytes = buffer.subarray(done, done + bytesWritten)
      done += bytesWritten
      this.#position += bytesWritten
      // Before anybody hears of the bytes and asks for them.
      if (bytesWritten === length) this.#recent.add(buffer, start, length)
      this.#written(bytes)
      if (bytesWritten < length && done === length) this.#recent.drop(buffer)
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
