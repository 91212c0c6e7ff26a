// Proves NARs against the signed NarHash and NarSize, in worker threads: hashing and decompression never hold up the event loop.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { Worker } from 'node:worker_threads'

import { ProxyError } from '../errors.ts'
import { isDecodable } from '../nix/compression.ts'
import { sha256Digest, sha256FromDigest } from '../nix/hash.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import { diskError } from './gathered-writer.ts'
import type { FromWorker, ToWorker } from './nar-check.worker.js'

/** `nar`: the bytes are those that were signed. `undecodable`: nobody here can decompress them, so nobody can tell. */
export type Proof = 'nar' | 'undecodable'

/** One NAR being proved. */
export interface Check {
  /** The file now has this many bytes that may be read; `ended`: and will have no more. The check begins with the first of these. */
  grown(size: number, ended: boolean): void
  /** Rejects with ProxyError `damaged` when the bytes are wrong, `store-failed` when they cannot be read, `aborted`. */
  readonly proof: Promise<Proof>
  abort(): void
}

/** What is signed of a NAR, and how it is packed. */
export type Promised = Pick<NarInfo, 'compression' | 'narHash' | 'narSize'>

/**
 * Checks that decompress at once, each holding a window of up to 128 MiB: this times that bounds the memory. Those that come later
 * wait their turn; what waits is a finished or growing file, never a buffer.
 */
const checksAtOnce = 4
/** So many of them may go along with files that still grow, however slowly: the others are for those whose end is waited for. */
const alongAtMost = 2

/** What there is of a file that may still grow: bytes, and whether that is all. */
interface SoFar {
  readonly size: number
  readonly ended: boolean
}

interface Running {
  readonly settle: (outcome: FromWorker) => void
  readonly worker: Worker
}

export class Verifier {
  readonly #most: number
  readonly #workers: Worker[] = []
  readonly #running = new Map<number, Running>()
  readonly #waiting: (() => void)[] = []
  #lastId = 0
  #along = 0
  #closed = false

  /** @param options.threads worker threads at most; default: one less than there are cores, at least 1 and at most 4. */
  constructor({ threads = Math.min(4, Math.max(1, availableParallelism() - 1)) }: { readonly threads?: number } = {}) {
    this.#most = threads
  }

  /** Begins to prove a file that may still be growing. Call `grown` as it grows, and once with `ended`. */
  check(path: string, promised: Promised): Check {
    const id = ++this.#lastId
    let [size, ended, aborted] = [0, false, false]
    let begin = (): void => {}
    const begun = new Promise<void>((resolve) => (begin = resolve))
    const post = (message: ToWorker): void => this.#running.get(id)?.worker.postMessage(message)
    const proof = begun.then(() =>
      this.#prove(id, path, promised, { soFar: () => ({ size, ended }), aborted: () => aborted }),
    )
    // Whoever aborts a check is not interested in how it ends.
    proof.catch(() => {})
    return {
      proof,
      grown: (nowSize, nowEnded) => {
        if (ended) return
        size = nowSize
        ended = nowEnded
        begin()
        post({ kind: 'grown', id, size, ended })
      },
      abort: () => {
        aborted = true
        begin()
        post({ kind: 'abort', id })
      },
    }
  }

  /**
   * Begins to prove a file that still grows, where nobody will wait for the proof. Undefined: too many are proved so already; a check
   * of the whole will do.
   */
  checkAlong(path: string, promised: Promised): Check | undefined {
    if (this.#along >= alongAtMost) return undefined
    this.#along++
    const check = this.check(path, promised)
    const over = (): void => void this.#along--
    check.proof.then(over, over)
    return check
  }

  /** Proves a whole file. Errors as in {@link Check.proof}. */
  checkFile(path: string, size: number, promised: Promised): Promise<Proof> {
    const check = this.check(path, promised)
    check.grown(size, true)
    return check.proof
  }

  /**
   * Proves a whole file by its NarHash, or, where it cannot be decompressed here, by its FileHash. Rejects with ProxyError `damaged`, or
   * `store-failed` when the file cannot be read.
   */
  async prove(path: string, narinfo: NarInfo): Promise<void> {
    const { size } = await stat(path).catch((error: unknown) => {
      throw diskError(error)
    })
    if ((await this.checkFile(path, size, narinfo)) === 'nar') return
    const hash = createHash('sha256')
    await pipeline(createReadStream(path), hash).catch((error: unknown) => {
      throw diskError(error)
    })
    if (sha256FromDigest(hash.digest()) !== narinfo.fileHash) {
      throw new ProxyError('damaged', 'verifier: the NAR does not have its FileHash')
    }
  }

  /** Ends the workers; what is being checked rejects as `aborted`. */
  async close(): Promise<void> {
    this.#closed = true
    for (const go of this.#waiting.splice(0)) go()
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()))
  }

  async #prove(
    id: number,
    path: string,
    promised: Promised,
    check: { readonly soFar: () => SoFar; readonly aborted: () => boolean },
  ): Promise<Proof> {
    if (!isDecodable(promised.compression)) return 'undecodable'
    if (this.#running.size >= checksAtOnce) await new Promise<void>((go) => this.#waiting.push(go))
    try {
      if (this.#closed || check.aborted()) throw new ProxyError('aborted', 'verifier: no longer needed')
      const outcome = await this.#run(id, path, promised, check.soFar())
      if (check.aborted()) throw new ProxyError('aborted', 'verifier: no longer needed')
      if (outcome.outcome === 'damaged') throw new ProxyError('damaged', `verifier: ${outcome.why}`)
      if (outcome.outcome === 'failed') throw new ProxyError('store-failed', `verifier: ${outcome.why}`)
      return outcome.outcome
    } finally {
      const worker = this.#running.get(id)?.worker
      this.#running.delete(id)
      if (worker && this.#load(worker) === 0) worker.unref()
      this.#waiting.shift()?.()
    }
  }

  #run(id: number, path: string, promised: Promised, soFar: SoFar): Promise<FromWorker> {
    return new Promise((settle) => {
      const worker = this.#leastBusy()
      this.#running.set(id, { settle, worker })
      // The process stays until it has answered: when it is told to stop, this may be all that it waits for.
      worker.ref()
      const { compression, narSize } = promised
      const message: ToWorker = {
        kind: 'check',
        id,
        path,
        compression,
        narHash: sha256Digest(promised.narHash),
        narSize,
        ...soFar,
      }
      worker.postMessage(message)
    })
  }

  #leastBusy(): Worker {
    const idle = this.#workers.find((worker) => this.#load(worker) === 0)
    if (idle) return idle
    if (this.#workers.length < this.#most) return this.#hire()
    return this.#workers.reduce((best, worker) => (this.#load(worker) < this.#load(best) ? worker : best))
  }

  #load(worker: Worker): number {
    return [...this.#running.values()].filter((run) => run.worker === worker).length
  }

  #hire(): Worker {
    const worker = new Worker(new URL('./nar-check.worker.js', import.meta.url))
    worker.on('message', (outcome: FromWorker) => this.#running.get(outcome.id)?.settle(outcome))
    worker.on('error', (error) => this.#lost(worker, error.message))
    worker.on('exit', () => this.#lost(worker, 'the worker ended'))
    // Listening for messages holds the process open; idle workers must not.
    worker.unref()
    this.#workers.push(worker)
    return worker
  }

  /** A worker that died (out of memory) takes its checks with it, and nothing else: the next check hires another. */
  #lost(worker: Worker, why: string): void {
    const index = this.#workers.indexOf(worker)
    if (index >= 0) this.#workers.splice(index, 1)
    for (const [id, run] of this.#running) {
      if (run.worker === worker) run.settle({ id, outcome: 'failed', why })
    }
  }
}
