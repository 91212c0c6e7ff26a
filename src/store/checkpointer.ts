// Has the catalogue's write-ahead log moved into its file every few seconds, by a thread of its own: on a slow disk that takes as
// long as many requests.

import { Worker } from 'node:worker_threads'

/** Milliseconds from a change to the checkpoint, and transactions that do not wait so long: up to some hundred pages each. */
const after = 5000
const changesAtMost = 50

export class Checkpointer {
  readonly #path: string
  #worker: Worker | undefined
  #failed = false
  #changes = 0
  #timer: NodeJS.Timeout | undefined

  constructor({ path }: { readonly path: string }) {
    this.#path = path
  }

  /** Something was written. */
  changed(): void {
    if (this.#failed) return
    this.#changes++
    if (this.#changes >= changesAtMost) return this.#ask()
    if (this.#timer) return
    this.#timer = setTimeout(() => this.#ask(), after)
    this.#timer.unref()
  }

  /** Resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#failed = true
    clearTimeout(this.#timer)
    await this.#worker?.terminate()
  }

  #ask(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#changes = 0
    this.#worker ??= this.#hire()
    this.#worker.postMessage('checkpoint')
  }

  #hire(): Worker {
    const worker = new Worker(new URL('checkpoint.worker.js', import.meta.url), { workerData: { path: this.#path } })
    // SQLite itself makes a checkpoint when the log has grown too long; see catalogue.ts.
    worker.on('error', () => {
      this.#failed = true
    })
    worker.unref()
    return worker
  }
}
