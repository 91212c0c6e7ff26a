// A catalogue that may fail: every question to it either has an answer or is done without. A file that is of no use (corrupt, another
// schema, deleted under us) is set aside and a new one begun; what can be asked again later is asked again.

import { renameSync, rmSync, statSync } from 'node:fs'

import { ProxyError } from '../errors.ts'
import { silentLog, type Log } from '../log.ts'
import { Catalogue, type Totals } from './catalogue.ts'
import { Checkpointer } from './checkpointer.ts'
import type { Layout } from './layout.ts'
import { Sqlite } from './sqlite.js'
import { storeError, systemCode, type StoreHealth } from './store-health.ts'

/** Milliseconds between two attempts to open a catalogue that cannot be opened. */
const reopenAfter = 1000
/** The row of meta that says that every NAR on disk has its row. */
const wholeKey = 'whole'

export interface SteadyCatalogueOptions {
  readonly layout: Layout
  readonly health: StoreHealth
  /** Told when an empty catalogue has been begun: its rows have to be made from the files. */
  readonly begun: () => void
  readonly log?: Log | undefined
  /** Milliseconds by the monotonic clock. */
  readonly clock?: () => number
}

export class SteadyCatalogue {
  readonly #layout: Layout
  readonly #health: StoreHealth
  readonly #begun: () => void
  readonly #log: Log
  readonly #clock: () => number
  readonly #checkpointer: Checkpointer
  #open: Catalogue | undefined
  #inode: number | undefined
  #triedAt = -Infinity
  #whole = false
  #closed = false
  /** Why it is not open. */
  #why = new ProxyError('store-failed', 'store: the catalogue is closed')
  #totals: Totals = { bytes: 0, keptBytes: 0, nars: 0, bare: 0 }

  constructor({ layout, health, begun, log = silentLog, clock = () => performance.now() }: SteadyCatalogueOptions) {
    this.#layout = layout
    this.#health = health
    this.#begun = begun
    this.#log = log
    this.#clock = clock
    this.#checkpointer = new Checkpointer({
      path: layout.catalogue,
      over: (failure) => {
        if (!failure) health.works('checkpoint')
        // While it cannot be written at all, this is no news.
        else if (!health.ails('catalogue'))
          health.failed('checkpoint', new Sqlite.SqliteError(failure.message, failure.code))
      },
    })
  }

  /** False while NARs may be on disk that the catalogue knows nothing of: then a miss in it is no miss. */
  get whole(): boolean {
    return this.#whole && this.#open !== undefined
  }

  /** Says that every NAR on disk has its row now, or (false) that this is not so. */
  setWhole(whole: boolean): void {
    this.#whole = whole
    this.tryChange((catalogue) => catalogue.setMeta(wholeKey, whole ? 'yes' : undefined))
  }

  /** The answer of the catalogue; undefined when it has none to give, which has then been warned of. Never throws. */
  ask<T>(question: (catalogue: Catalogue) => T): T | undefined {
    try {
      return this.must(question)
    } catch {
      return undefined
    }
  }

  /** The answer of the catalogue. Throws ProxyError `store-full` or `store-failed` when it has none to give. */
  must<T>(question: (catalogue: Catalogue) => T): T {
    const catalogue = this.#opened()
    try {
      return question(catalogue)
    } catch (error) {
      if (error instanceof Sqlite.SqliteError) throw this.#failed(error)
      throw error
    }
  }

  /** Like {@link must}, for a change: when it succeeds the catalogue is known to be well. */
  change<T>(change: (catalogue: Catalogue) => T): T {
    const result = this.must(change)
    this.#health.works('catalogue')
    this.#checkpointer.changed()
    return result
  }

  /** Like {@link change}, for one that may be lost. */
  tryChange(change: (catalogue: Catalogue) => void): void {
    try {
      this.change(change)
    } catch {
      // Warned of already.
    }
  }

  /** Sums over all rows; as they last were when the catalogue cannot be asked. */
  totals(): Totals {
    this.#totals = this.ask((catalogue) => catalogue.totals()) ?? this.#totals
    return this.#totals
  }

  /** Looks whether the file is still the one that is open; if not (deleted, replaced), begins again with what is there. */
  checkFile(): void {
    if (!this.#open) return
    try {
      if (statSync(this.#layout.catalogue).ino === this.#inode) return
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') return
    }
    this.#health.failed(
      'catalogue',
      new ProxyError('store-failed', 'store: the catalogue was taken away; making another'),
    )
    this.#drop()
    this.#triedAt = -Infinity
    this.ask(() => {})
  }

  /** Sets the catalogue aside and begins an empty one. Throws ProxyError when that cannot be done. */
  beginAgain(): void {
    this.#drop()
    try {
      this.#setAside()
      this.#openFile()
    } catch (error) {
      this.#why = this.#health.failed('catalogue', error)
      throw this.#why
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#checkpointer.close()
    this.#drop()
  }

  #opened(): Catalogue {
    if (!this.#open) this.#reopen()
    if (!this.#open) throw this.#why
    return this.#open
  }

  #reopen(): void {
    const now = this.#clock()
    if (this.#closed || now - this.#triedAt < reopenAfter) return
    this.#triedAt = now
    try {
      this.#openFile()
    } catch (error) {
      this.#why = this.#health.failed('catalogue', error)
    }
  }

  #openFile(): void {
    const path = this.#layout.catalogue
    let catalogue: Catalogue | undefined
    try {
      catalogue = Catalogue.open(path)
      if (!catalogue) this.#log.warn('store: the catalogue is of another version and is made again', { path })
    } catch (error) {
      if (!isUseless(error)) throw error
      this.#log.warn(`${storeError(error).message}; it is made again`, { path })
    }
    if (!catalogue) {
      this.#setAside()
      catalogue = Catalogue.open(path)
    }
    if (!catalogue) throw new ProxyError('store-failed', `store: ${path} cannot be made again`)
    this.#open = catalogue
    this.#inode = statSync(path).ino
    this.#whole = catalogue.meta(wholeKey) === 'yes'
    if (!this.#whole) this.#begun()
  }

  #failed(error: Error): ProxyError {
    const trouble = this.#health.failed('catalogue', error)
    if (isUseless(error)) {
      this.#log.warn('store: the catalogue is damaged and is made again', { path: this.#layout.catalogue })
      this.#drop()
      try {
        this.#setAside()
        this.#openFile()
      } catch (again) {
        this.#why = this.#health.failed('catalogue', again)
      }
    } else if (systemCode(error)?.startsWith('SQLITE_IOERR') || systemCode(error) === 'SQLITE_READONLY_DBMOVED') {
      // Another descriptor may do better.
      this.#drop()
    }
    return trouble
  }

  #drop(): void {
    const open = this.#open
    this.#open = undefined
    try {
      open?.close()
    } catch {
      // It is of no use anyway.
    }
  }

  #setAside(): void {
    const { catalogue, setAside } = this.#layout
    // Its journal belongs to it, and would be taken for the new one's.
    for (const ending of ['', '-wal', '-shm']) {
      rmSync(`${setAside}${ending}`, { force: true })
      try {
        renameSync(`${catalogue}${ending}`, `${setAside}${ending}`)
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error
      }
    }
  }
}

/** Whether it is the file that is wrong, and asking again later is in vain. */
function isUseless(error: unknown): boolean {
  const code = systemCode(error) ?? ''
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB'
}
