// What is the matter with the store: each trouble is warned of once, shown in its state, and taken back when the thing works again.

import { ProxyError } from '../errors.ts'
import { OncePer, silentLog, type Log } from '../log.ts'
import { diskError } from './gathered-writer.ts'
import { Sqlite } from './sqlite.js'

/**
 * `room`: the budget or the free space; `disk`: files cannot be written or read; `catalogue`: SQLite; `checkpoint`: SQLite takes changes,
 * and cannot bring them from its log into the catalogue's file.
 */
export type Part = 'room' | 'disk' | 'catalogue' | 'checkpoint'
/** `full`: hits are served, nothing is kept. `failed`: the same, and somebody has to look after it. */
export type StoreState = 'ok' | 'full' | 'failed'

/** Milliseconds after a warning in which the same is not warned of again, though it passed in between: a disk at its brim. */
const quietFor = 60_000

export interface StoreHealthOptions {
  readonly log?: Log | undefined
  /** Milliseconds by the monotonic clock. */
  readonly clock?: (() => number) | undefined
}

export class StoreHealth {
  readonly #log: Log
  readonly #clock: () => number
  readonly #troubles = new Map<Part, Exclude<StoreState, 'ok'>>()
  /** What the operator believes to be the matter: a part, or `full` for all of them together. */
  readonly #said = new OncePer()
  readonly #saidAt = new Map<string, number>()

  constructor({ log = silentLog, clock = () => performance.now() }: StoreHealthOptions) {
    this.#log = log
    this.#clock = clock
  }

  get state(): StoreState {
    const troubles = [...this.#troubles.values()]
    if (troubles.includes('failed')) return 'failed'
    return troubles.length > 0 ? 'full' : 'ok'
  }

  /** Notes that something failed, and gives it as `store-full` or `store-failed`. */
  failed(part: Part, error: unknown): ProxyError {
    const trouble = storeError(error)
    const kind = trouble.code === 'store-full' ? 'full' : 'failed'
    this.#troubles.set(part, kind)
    const culprit = kind === 'full' ? kind : part
    const quiet = this.#clock() - (this.#saidAt.get(culprit) ?? -Infinity) < quietFor
    if (!quiet && this.#said.first(culprit)) {
      this.#saidAt.set(culprit, this.#clock())
      this.#log.warn(trouble.message, { part })
    }
    return trouble
  }

  /** Whether something is known to be the matter with this part. */
  ails(part: Part): boolean {
    return this.#troubles.has(part)
  }

  /** Notes that it works. */
  works(part: Part): void {
    if (!this.#troubles.delete(part)) return
    const news = this.#said.forget(part)
    if ((this.state === 'ok' && this.#said.forget('full')) || news) this.#log.info('store: works again', { part })
  }
}

/** What SQLite or the file system threw, as `store-full` or `store-failed`. */
export function storeError(error: unknown): ProxyError {
  if (!(error instanceof Sqlite.SqliteError)) return diskError(error)
  // SHMSIZE: the index of the WAL could not be given its pages, which is what a full disk looks like when the catalogue is opened.
  return error.code === 'SQLITE_FULL' || error.code === 'SQLITE_IOERR_SHMSIZE'
    ? new ProxyError('store-full', 'store: the disk is full (catalogue)', { cause: error })
    : new ProxyError('store-failed', `store: catalogue: ${error.message} (${error.code})`, { cause: error })
}

/** The system's code of a failure: `ENOENT`, `SQLITE_CORRUPT`. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
