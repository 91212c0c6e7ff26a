// Has the catalogue's write-ahead log moved into its file every few seconds, by a thread of its own: on a slow disk that takes as
// long as many requests.

import { Worker } from 'node:worker_threads'

/** Milliseconds from a change to the checkpoint, and transactions that do not wait so long: up to some hundred pages each. */
const after = 5000
const changesAtMost = 50

/** What came of a checkpoint: undefined when it was made. */
export type CheckpointFailure = { readonly code: string; readonly message: string } | undefined

export interface CheckpointerOptions {
  readonly path: string
  /** Told of each checkpoint that was made, or that the disk refused. Nobody else hears of that: changes succeed all the same. */
  readonly over?: ((failure: CheckpointFailure) => void) | undefined
}

export class Checkpointer {
  readonly #options: CheckpointerOptions
  #worker: Worker | undefined
  #closed = false
  #changes = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: CheckpointerOptions) {
    this.#options = { ...options }
  }

  /** Something was written. */
  changed(): void {
    if (this.#closed) return
    this.#changes++
    if (this.#changes >= changesAtMost) return this.#ask()
    this.#arm()
  }

  /** Resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#worker?.terminate()
  }

  #arm(): void {
    if (this.#timer || this.#closed) return
    this.#timer = setTimeout(() => this.#ask(), after)
    this.#timer.unref()
  }

  #ask(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#changes = 0
    this.#worker ??= this.#hire()
    this.#worker.postMessage('checkpoint')
  }

  #hire(): Worker {
    const { path, over } = this.#options
    const worker = new Worker(new URL('checkpoint.worker.js', import.meta.url), { workerData: { path } })
    worker.on('message', (failure: CheckpointFailure) => {
      if (this.#closed) return
      over?.(failure)
      // Also when nothing is written any more: else nobody would see that the disk is well again.
      if (failure) this.#arm()
    })
    // It could not begin, for want of descriptors: the next change hires another. Meanwhile SQLite itself makes a checkpoint when the
    // log has grown too long; see catalogue.ts.
    worker.on('error', () => {
      if (this.#worker === worker) this.#worker = undefined
    })
    worker.unref()
    return worker
  }
}
