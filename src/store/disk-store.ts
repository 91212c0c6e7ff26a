// The store: what we hold on disk, as a Substituter, and the place where new NARs are put.

import { readFile } from 'node:fs/promises'

import { ProxyError } from '../errors.ts'
import type { StoreEntry } from '../explanation.ts'
import { chain, silentLog, type Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { narFileName, narIdentity, type NarIdentity } from '../nix/nar-url.ts'
import { printNarInfo, type NarInfo } from '../nix/narinfo.ts'
import type { TrustedKeys } from '../nix/signature.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Asking, HeldText, Substitute, Substituter, Wanted } from '../substituter.ts'
import type { Checked } from './catalogue.ts'
import { entriesOfRows } from './dossier.ts'
import { makeDirectory } from './durable.ts'
import { Eviction, type Evicted } from './eviction.ts'
import { narColumn, narFileOf } from './held-nar.ts'
import { Holdings } from './holdings.ts'
import { Layout } from './layout.ts'
import { Ledger } from './ledger.ts'
import { takeLock, type StoreLock } from './lock.ts'
import { Marks } from './marks.ts'
import { NarinfoMemory, type Known } from './narinfo-memory.ts'
import { Rebuild } from './rebuild.ts'
import { sweep, type Repaired, type RepairParts } from './repair.ts'
import { Reservations, type Reservation, type ReserveOptions, type Staged } from './reservation.ts'
import { keptBits } from './schema.ts'
import { scrub, type Scrubbed, type ScrubOptions } from './scrub.ts'
import { Shelves } from './shelves.ts'
import { SteadyCatalogue } from './steady-catalogue.ts'
import { StoreHealth, systemCode, type StoreState } from './store-health.ts'
import { Trust } from './trust.ts'

/** Narinfos without their NAR that are remembered, by default; about 1 KiB of disk each. */
const mostBareNarinfos = 2_000_000
/** Where Linux says which boot this is. */
const bootIdFile = '/proc/sys/kernel/random/boot_id'
/** The row of meta with the boot in which the store was opened, while it is. */
const openKey = 'open'
/** Rows that are listed at once. */
const page = 256

export interface DiskStoreOptions {
  /** Directory of the store; made where it is not there. */
  readonly root: string
  /** Nix's own directory, `/nix/store`. */
  readonly storeDir: string
  /** What is served must be signed by one of them; none: nobody is asked to vouch. */
  readonly keys: TrustedKeys
  /** Bytes that all NARs together may have; undefined: as many as fit. */
  readonly maxSize: number | undefined
  /** Bytes of the file system that are left to others. */
  readonly minFree: number
  /** Bytes of narinfos kept in memory. */
  readonly memory: number
  /** Narinfos without their NAR that are remembered; default 2 million. */
  readonly mostBare?: number
  readonly log?: Log | undefined
  readonly metrics?: Metrics | undefined
  /** Milliseconds since 1970. */
  readonly now?: () => number
  /** Milliseconds by the monotonic clock. */
  readonly clock?: () => number
}

export interface StoreStats {
  /** Bytes in use: of NARs held, and claimed for those that are coming. */
  readonly bytes: number
  readonly nars: number
  /** Narinfos known, with or without their NAR. */
  readonly narinfos: number
  /** Bytes that the file system has left for us; undefined when it does not say. */
  readonly free: number | undefined
  readonly maxSize: number | undefined
  /** `full`, `failed`: what is held is served, nothing new is kept. */
  readonly state: StoreState
  /** Rows are being made from files: some of what is on disk is not counted yet. */
  readonly rebuilding: boolean
}

/** A NAR that we hold, as it is listed. */
export interface Listed {
  readonly hash: StoreHash
  /** The narinfo's text, with its sender's URL. */
  readonly narinfo: string
  /** File name in the store. */
  readonly file: string
  /** Bytes of the NAR file. */
  readonly size: number
  /** Milliseconds since 1970. */
  readonly lastAccess: number
  readonly recordedAt: number
  /** Name of the substituter that gave it. */
  readonly from: string
  readonly checked: Checked
  readonly pinned: boolean
  readonly uploaded: boolean
}

export class DiskStore implements Substituter {
  readonly name = 'store'
  readonly #options: DiskStoreOptions
  readonly #layout: Layout
  readonly #log: Log
  readonly #health: StoreHealth
  readonly #shelves: Shelves
  readonly #memory: NarinfoMemory
  readonly #trust: Trust
  readonly #catalogue: SteadyCatalogue
  readonly #ledger: Ledger
  readonly #holdings: Holdings
  readonly #eviction: Eviction
  readonly #marks: Marks
  readonly #parts: RepairParts
  readonly #rebuild: Rebuild
  readonly #reservations: Reservations
  #lock: StoreLock | undefined
  #started = false
  #boot = ''

  /** Nothing is touched here; {@link DiskStore.open} is the way in. */
  constructor(options: DiskStoreOptions) {
    this.#options = { ...options }
    const { root, storeDir, keys, log = silentLog, now = Date.now, clock } = options
    const layout = new Layout({ root })
    const health = new StoreHealth({ log, clock })
    const shelves = new Shelves({ layout })
    const memory = new NarinfoMemory({ bytes: options.memory })
    const trust = new Trust({ keys })
    const begun = (): void => {
      memory.clear()
      if (this.#started) this.#rebuild.start()
    }
    const catalogue = new SteadyCatalogue({ layout, health, begun, log, ...(clock ? { clock } : {}) })
    const ledger = new Ledger({
      catalogue,
      mostBare: options.mostBare ?? mostBareNarinfos,
      now,
      noted: (hash) => memory.dropAbsent(hash),
    })
    this.#layout = layout
    this.#log = log
    this.#health = health
    this.#shelves = shelves
    this.#memory = memory
    this.#trust = trust
    this.#catalogue = catalogue
    this.#ledger = ledger
    this.#holdings = new Holdings({ name: this.name, storeDir, memory, catalogue, shelves, trust, ledger, health, log })
    const eviction = new Eviction({ ...options, layout, catalogue, shelves, memory, ledger, health })
    const marks = new Marks({ layout, catalogue, shelves, health })
    this.#eviction = eviction
    this.#marks = marks
    this.#reservations = new Reservations({
      layout,
      catalogue,
      shelves,
      memory,
      trust,
      ledger,
      eviction,
      marks,
      health,
    })
    this.#parts = { layout, catalogue, shelves, memory, storeDir, source: this.name }
    this.#rebuild = new Rebuild({ parts: this.#parts, whole: () => this.#becomeWhole(), log })
  }

  /**
   * Opens the store under `root`: takes its lock, undoes what a crash left half-done, and begins to make what rows are missing. Rejects
   * with ProxyError `store-failed` when another process has the store, or there can be none.
   */
  static async open(options: DiskStoreOptions): Promise<DiskStore> {
    const store = new DiskStore(options)
    await store.#start()
    return store
  }

  /** What is on disk, NAR and all. What cannot be found out counts as missed: rejects only as `aborted`, by the signal. */
  async find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const { trail } = asking
    const entry = trail.ask(this.name, this.name)
    if (asking.avoid?.has(this.name)) {
      trail.settle(entry, { kind: 'skipped', why: 'it has just failed' })
      return undefined
    }
    const known = this.#holdings.recall(wanted)
    // The signal is made when it is first looked at, and a hit in memory does without.
    if (!known && asking.signal.aborted) throw new ProxyError('aborted', 'store: nobody waits for this answer any more')
    const held = known ? known.held : await this.#holdings.look(wanted)
    if (!held) {
      trail.settle(entry, { kind: 'missed' })
      return undefined
    }
    this.#ledger.accessed(held, wanted.nar !== undefined)
    trail.settle(entry, { kind: 'found', signedBy: held.signedBy })
    trail.winner = this.name
    return held
  }

  /** What `find` would find of a path by its hash alone, if memory knows it; counts as asked for. */
  recall(hash: StoreHash): Substitute | undefined {
    const held = this.#holdings.recall({ hash })?.held
    if (held) this.#ledger.accessed(held, false)
    return held
  }

  /** The narinfos of held paths, as far as the catalogue alone can tell; undefined for those that have to be asked for. They count as asked for. */
  recite(hashes: readonly StoreHash[]): readonly (HeldText | undefined)[] {
    const texts = this.#holdings.texts(hashes)
    for (const text of texts) if (text) this.#ledger.glanced(text.file)
    return texts
  }

  /**
   * A narinfo that was remembered, or whose NAR was evicted (or is held); with `nar`, the one of exactly these bytes. Undefined also when
   * the trusted keys have changed since it was verified.
   */
  known(hash: StoreHash, nar?: NarIdentity): Pick<Known, 'narinfo' | 'from' | 'signedBy' | 'recordedAt'> | undefined {
    const known = this.#holdings.known(hash, nar)
    if (!known) return undefined
    const { narinfo, from, signedBy, recordedAt } = known
    return { narinfo, from, signedBy, recordedAt }
  }

  /** Notes a verified narinfo whose NAR is not here. Written down with others in a few seconds; the oldest are forgotten some day. */
  remember({ narinfo, from, signedBy }: Substitute): void {
    const { hash } = narinfo.storePath
    const recordedAt = this.#ledger.time()
    this.#holdings.keep(narinfo, from, signedBy, recordedAt)
    const nar = narColumn(narFileName(hash, narIdentity(narinfo)))
    const text = printNarInfo(narinfo, narinfo.url)
    const verdict = this.#trust.written(signedBy)
    this.#ledger.seen({ hash, nar, narinfo: text, url: narinfo.url, source: from, ...verdict, recordedAt })
  }

  /** The path whose narinfo has exactly this URL field. */
  byUrl(url: string): StoreHash | undefined {
    return this.#catalogue.ask((index) => index.hashOfUrl(url))
  }

  /**
   * Room and a file for the NAR of an answer. Rejects with ProxyError `store-full` when there is no room even after eviction, or it is
   * larger than the whole budget; `store-failed` when nothing can be written.
   *
   * @param size bytes of the NAR file; undefined: unknown, the reservation grows
   */
  reserve(substitute: Substitute, size: number | undefined, options: ReserveOptions = {}): Promise<Reservation> {
    return this.#reservations.make(substitute, size, options)
  }

  /**
   * A file for a NAR whose narinfo is still to come (an upload); room is made for it as for a reservation. Removed by the next start if
   * nobody else removes it. Rejects as {@link reserve} does.
   */
  stage(size: number | undefined): Promise<Staged> {
    return this.#reservations.stage(size)
  }

  /** Path and bytes of a NAR file that we hold of this store path, whose narinfo has this URL field. */
  async fileOf(hash: StoreHash, url: string): Promise<{ readonly file: string; readonly size: number } | undefined> {
    const rows = this.#catalogue.ask((index) => index.rows(hash))
    const row = rows?.find((one) => one.size !== null && one.url === url)
    return row && row.size !== null ? { file: this.#layout.nar(narFileOf(row)), size: row.size } : undefined
  }

  /** All NARs that we hold of a path, also such as are not served because no key that is trusted now vouches for them. */
  entries(hash: StoreHash): Promise<readonly StoreEntry[]> {
    const { storeDir } = this.#options
    const rows = this.#catalogue.ask((index) => index.rows(hash)) ?? []
    return entriesOfRows(rows, { layout: this.#layout, storeDir, trust: this.#trust })
  }

  /**
   * Replaces the narinfo of a NAR that we hold by one of the same bytes: more signatures. False when we do not hold it. Rejects with
   * ProxyError `store-full` or `store-failed`.
   */
  async amend(narinfo: NarInfo, signedBy: string | undefined): Promise<boolean> {
    const { hash } = narinfo.storePath
    const file = narFileName(hash, narIdentity(narinfo))
    const key = { hash, nar: narColumn(file) }
    return this.#shelves.exclusive(file, async () => {
      const row = this.#catalogue.must((index) => index.row(key))
      if (!row || row.size === null) return false
      const text = printNarInfo(narinfo, narinfo.url)
      await this.#shelves.rewriteSidecar(file, text).catch((error: unknown) => {
        throw this.#health.failed('disk', error)
      })
      this.#catalogue.change((index) => index.amend({ ...key, narinfo: text, ...this.#trust.written(signedBy) }))
      this.#memory.forget(hash, file)
      return true
    })
  }

  /** Keeps a path's NARs from eviction, those here and those to come, until `unpin`. Rejects with `store-full` or `store-failed`. */
  pin(hash: StoreHash): Promise<void> {
    return this.#marks.set(hash, 'pinned')
  }

  unpin(hash: StoreHash): Promise<void> {
    return this.#marks.clear(hash, 'pinned')
  }

  /** The NARs that we hold, in the order in which their paths were first seen. Throws ProxyError when the catalogue fails. */
  *list(): Generator<Listed, void, void> {
    this.#ledger.flush()
    for (let last = 0; ;) {
      const rows = this.#catalogue.must((index) => index.heldAfter(last, page))
      for (const row of rows) {
        const { hash, narinfo, size, lastAccess, recordedAt, source, checked, kept } = row
        const [pinned, uploaded] = [(kept & keptBits.pinned) !== 0, (kept & keptBits.uploaded) !== 0]
        yield {
          hash,
          narinfo,
          file: narFileOf(row),
          size,
          lastAccess: Math.floor(lastAccess / 1000),
          recordedAt,
          from: source,
          checked,
          pinned,
          uploaded,
        }
      }
      const next = rows.at(-1)?.id
      if (next === undefined) return
      last = next
    }
  }

  stats(): StoreStats {
    const { nars, bare } = this.#catalogue.totals()
    return {
      bytes: this.#eviction.bytes,
      nars,
      narinfos: nars + bare,
      free: this.#free(),
      maxSize: this.#options.maxSize,
      state: this.#health.state,
      rebuilding: this.#rebuild.running,
    }
  }

  /** Evicts down to the low watermark now. Rejects with ProxyError `store-failed`. */
  evict(): Promise<Evicted> {
    return this.#eviction.evict()
  }

  /** Checks everything: rows against files, and every NAR by `check`. The store goes on serving meanwhile. See {@link scrub}. */
  scrub(options: ScrubOptions): Promise<Scrubbed> {
    return scrub(this.#parts, options, (row) => this.#holdings.drop(row, true))
  }

  /**
   * Throws the catalogue away and makes it again from the files alone. The store goes on serving meanwhile. Undefined: it was closed
   * before the end, and goes on with it when it is opened again. Rejects with ProxyError when there can be no catalogue.
   */
  async rebuild(): Promise<Repaired | undefined> {
    this.#catalogue.beginAgain()
    return this.#rebuild.done
  }

  /** Resolves when all that goes on in the background by itself has ended: rows made from files, eviction after a start. */
  async settled(): Promise<void> {
    await this.#rebuild.done
    await this.#eviction.idle()
  }

  /** Writes down what is still in memory and lets go of the store. What is reserved and not committed is removed. */
  async close(): Promise<void> {
    await this.#rebuild.stop()
    await this.#reservations.discardAll()
    await this.#eviction.idle()
    this.#ledger.flush()
    this.#catalogue.ask((index) => index.setMeta(openKey, undefined))
    await this.#catalogue.close()
    this.#memory.clear()
    this.#lock?.release()
    this.#lock = undefined
  }

  async #start(): Promise<void> {
    const { top, incoming, nars } = this.#layout
    for (const path of [top, incoming, nars]) {
      await makeDirectory(path).catch((error: unknown) => {
        // On a disk that takes nothing the store serves what it has.
        if (systemCode(error) === 'EROFS') return
        throw new ProxyError('store-failed', `store: ${path} cannot be made`, { cause: error })
      })
    }
    this.#lock = takeLock(this.#layout)
    try {
      const latest = this.#catalogue.ask((index) => index.latestAccess())
      if (latest !== undefined) this.#ledger.startAfter(latest)
      await this.#noteBoot()
      await this.#sweep()
      this.#started = true
      if (!this.#catalogue.whole) this.#rebuild.start()
      else this.#evictInBackground()
      this.#measure()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /**
   * Finds out whether the power was cut while the store was open. The catalogue syncs only now and then: after kill -9 it is whole, but
   * after a power cut the last rows may be missing, of NARs that are all there.
   */
  async #noteBoot(): Promise<void> {
    this.#boot = (await readFile(bootIdFile, 'utf8').catch(() => '')).trim()
    const before = this.#catalogue.ask((index) => index.meta(openKey))
    if (before !== undefined && (before === '' || before !== this.#boot)) this.#catalogue.setWhole(false)
    this.#catalogue.tryChange((index) => {
      index.setMeta(openKey, this.#boot)
      // Were this lost with the rows that follow, nobody would look for their NARs.
      index.settle()
    })
  }

  async #sweep(): Promise<void> {
    try {
      const repaired = await sweep(this.#parts)
      const { adopted, released, removed } = repaired
      if (adopted + released + removed > 0) this.#log.info('store: tidied up after a crash', { ...repaired })
    } catch (error) {
      this.#log.warn(`store: could not tidy up after the last run: ${chain(error)}`)
    }
  }

  #becomeWhole(): void {
    this.#catalogue.setWhole(true)
    this.#catalogue.tryChange((index) => index.setMeta(openKey, this.#boot))
    this.#evictInBackground()
  }

  /** The budget may have been lowered, or rows have come to light. */
  #evictInBackground(): void {
    const { maxSize } = this.#options
    if (maxSize === undefined || this.#eviction.bytes <= maxSize) return
    this.evict().catch((error: unknown) => this.#log.warn(`store: cannot evict: ${chain(error)}`))
  }

  #free(): number | undefined {
    try {
      return this.#eviction.free
    } catch {
      return undefined
    }
  }

  #measure(): void {
    const { metrics } = this.#options
    metrics?.gauge(
      'substrata_store_bytes',
      'Bytes of NARs held, and claimed for those coming.',
      () => this.stats().bytes,
    )
    metrics?.gauge('substrata_store_nars', 'NARs held.', () => this.stats().nars)
    metrics?.gauge('substrata_store_narinfos', 'Narinfos known, with or without NAR.', () => this.stats().narinfos)
    metrics?.gauge('substrata_store_free_bytes', 'Bytes the file system has left.', () => this.stats().free ?? 0)
    metrics?.gauge('substrata_store_ok', '1: new NARs are kept.', () => Number(this.stats().state === 'ok'))
  }
}
