// Writes a stream to a file: at once while the disk is idle, gathered into large writes while it is not, in bounded memory.

import type { FileHandle } from 'node:fs/promises'

import { ProxyError } from '../errors.ts'
import { RecentBytes } from './recent-bytes.ts'

export interface GatheredWriterOptions {
  readonly file: FileHandle
  /** Called with the bytes that have just been written, in order. They are valid during the call only. */
  readonly written: (bytes: Uint8Array) => void
  /** Where the buffers come from and go to, and what has just been written can be had; default: as few as it needs, used in turn. */
  readonly recent?: RecentBytes | undefined
}

/**
 * Blocks that wait while others are being written; they are written together. One write at a time: several would take all the threads that
 * read what others are waiting for (measured: whoever joins two hundred others waits seconds for his first byte). One block at a time, and
 * the disk stands idle until the event loop comes round.
 */
const mostWaiting = 2

interface Full {
  readonly buffer: Buffer
  /** Bytes of it that are to be written. */
  readonly length: number
}

export class GatheredWriter {
  readonly #file: FileHandle
  readonly #written: (bytes: Uint8Array) => void
  readonly #recent: RecentBytes
  #filling: Buffer | undefined
  #filled = 0
  #waiting: Full[] = []
  #position = 0
  #writing = false
  #failure: ProxyError | undefined
  /** Wakes whoever waits for a write to be over. */
  #wake: (() => void) | undefined

  constructor({ file, written, recent = new RecentBytes({ kept: 0 }) }: GatheredWriterOptions) {
    this.#file = file
    this.#written = written
    this.#recent = recent
  }

  /** Takes a copy of a chunk, as soon as there is room. Rejects with ProxyError `store-full` or `store-failed`. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let rest = chunk; rest.length > 0;) {
      if (this.#failure) throw this.#failure
      if (this.#waiting.length === mostWaiting) {
        await this.#change()
        continue
      }
      this.#filling ??= this.#recent.take()
      const part = rest.subarray(0, this.#filling.length - this.#filled)
      this.#filling.set(part, this.#filled)
      this.#filled += part.length
      rest = rest.subarray(part.length)
      if (this.#filled === this.#filling.length) this.#setAside(this.#filling)
      this.#begin()
    }
  }

  /** Resolves when everything taken so far is in the file. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#change()
    if (this.#failure) throw this.#failure
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  #setAside(buffer: Buffer): void {
    this.#waiting.push({ buffer, length: this.#filled })
    this.#filling = undefined
    this.#filled = 0
  }

  /** Writes what there is, if nothing is being written: whole blocks, or else a part of one. */
  #begin(): void {
    if (this.#writing || this.#failure) return
    if (this.#waiting.length === 0 && this.#filling) this.#setAside(this.#filling)
    const blocks = this.#waiting
    if (blocks.length === 0) return
    this.#waiting = []
    this.#writing = true
    void this.#put(blocks)
      .catch((error: unknown) => {
        this.#failure = diskError(error)
      })
      .then(() => {
        this.#writing = false
        this.#begin()
        this.#wake?.()
      })
  }

  async #put(blocks: readonly Full[]): Promise<void> {
    const [start, parts] = [this.#position, blocks.map(({ buffer, length }) => buffer.subarray(0, length))]
    const end = parts.reduce((sum, { length }) => sum + length, start)
    try {
      while (this.#position < end) {
        const { bytesWritten } = await this.#file.writev(after(parts, this.#position - start), this.#position)
        this.#position += bytesWritten
      }
    } finally {
      this.#report(blocks, start)
    }
  }

  /** Tells of the bytes that are in the file by now, of blocks that were to be written from `start` on. */
  #report(blocks: readonly Full[], start: number): void {
    let at = start
    for (const { buffer, length } of blocks) {
      const written = Math.min(length, this.#position - at)
      if (written <= 0) return
      // Before anybody hears of the bytes and asks for them.
      if (written === length) this.#recent.add(buffer, at, length)
      this.#written(buffer.subarray(0, written))
      at += written
    }
  }
}

/** What is left of buffers after their first bytes. */
function after(buffers: readonly Buffer[], count: number): Buffer[] {
  let left = count
  return buffers.flatMap((buffer) => {
    const skipped = Math.min(left, buffer.length)
    left -= skipped
    return skipped < buffer.length ? [buffer.subarray(skipped)] : []
  })
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
