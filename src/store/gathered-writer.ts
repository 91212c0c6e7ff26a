// Writes a stream to a file: at once while the disk is idle, gathered into large writes while it is not, in bounded memory.

import type { FileHandle } from 'node:fs/promises'

import { ProxyError } from '../errors.ts'

/** Bytes of one write at most; two such buffers are used in turn. 1 MiB: measured 3 times the speed of 64 KiB. */
const bufferSize = 1024 * 1024

export interface GatheredWriterOptions {
  readonly file: FileHandle
  /** Called with the bytes that have just been written, in order. They are valid during the call only. */
  readonly written: (bytes: Uint8Array) => void
}

export class GatheredWriter {
  readonly #file: FileHandle
  readonly #written: (bytes: Uint8Array) => void
  #filling = Buffer.allocUnsafeSlow(bufferSize)
  #spare: Buffer<ArrayBuffer> | undefined
  #filled = 0
  #position = 0
  #writing: Promise<void> | undefined
  #failure: ProxyError | undefined

  constructor({ file, written }: GatheredWriterOptions) {
    this.#file = file
    this.#written = written
  }

  /** Takes a copy of a chunk; resolves when there is room for the next. Rejects with ProxyError `store-full` or `store-failed`. */
  async write(chunk: Uint8Array): Promise<void> {
    let rest = chunk
    while (rest.length > 0) {
      if (this.#failure !== undefined) throw this.#failure
      const part = rest.subarray(0, bufferSize - this.#filled)
      this.#filling.set(part, this.#filled)
      this.#filled += part.length
      rest = rest.subarray(part.length)
      if (!this.#writing) this.#begin()
      else if (this.#filled === bufferSize) await this.#writing
    }
  }

  /** Resolves when everything taken so far is in the file. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  #begin(): void {
    const bytes = this.#filling.subarray(0, this.#filled)
    const buffer = this.#filling
    this.#filling = this.#spare ?? Buffer.allocUnsafeSlow(bufferSize)
    this.#spare = undefined
    this.#filled = 0
    this.#writing = this.#put(bytes)
      .catch((error: unknown) => {
        this.#failure ??= diskError(error)
      })
      .then(() => {
        this.#spare = buffer
        this.#writing = undefined
        if (this.#filled > 0 && this.#failure === undefined) this.#begin()
      })
  }

  async #put(bytes: Uint8Array): Promise<void> {
    let rest = bytes
    while (rest.length > 0) {
      const { bytesWritten } = await this.#file.write(rest, 0, rest.length, this.#position)
      this.#position += bytesWritten
      this.#written(rest.subarray(0, bytesWritten))
      rest = rest.subarray(bytesWritten)
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
