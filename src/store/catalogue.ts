// The index of the store in SQLite: prepared statements only, every question answered by an index. Throws SqliteError; what that means
// for the store is decided in steady-catalogue.ts.

import type Database from 'better-sqlite3'

import type { StoreHash } from '../nix/store-path.ts'
import { prepareSchema } from './schema.ts'
import { Sqlite } from './sqlite.js'

/** Bytes of pages that SQLite keeps in memory. */
const cacheBytes = 16 * 1024 * 1024
/** Pages of 4 KiB in the write-ahead log after which we make a checkpoint ourselves, because the checkpointer does not. */
const longestLog = 65_536

/** A narinfo that was seen, by whatever came of its NAR. */
export interface NarinfoRow {
  readonly hash: StoreHash
  /** The file name after the store hash and its dash: `<digest>.nar.xz`. */
  readonly nar: string
  /** The narinfo's text as `printNarInfo` prints it, with its sender's URL. */
  readonly narinfo: string
  readonly url: string
  /** Name of the substituter that gave it. */
  readonly source: string
  /** Name of the trusted key, `ca`, or null. */
  readonly signedBy: string | null
  /** Digest of the key set that decided so; empty: nobody has. */
  readonly keys: string
  /** Milliseconds since 1970. */
  readonly recordedAt: number
}

/** How much of a NAR was proved: NarHash, or only FileHash. */
export type Checked = 'nar' | 'file'

/** A narinfo whose NAR file is on disk. */
export interface HeldRow extends NarinfoRow {
  readonly id: number
  /** Bytes of the NAR file. */
  readonly size: number
  readonly checked: Checked
  /** Microseconds since 1970, by a clock that never goes back nor stands still. */
  readonly lastAccess: number
  /** keptBits */
  readonly kept: number
}

/** A row as it is read: held or not. */
export type Row = HeldRow | (NarinfoRow & { readonly id: number; readonly size: null })

/** What a narinfo is printed from. Not an object, which takes 2 µs more to read (measured, of 15 to 20); size null: not held. */
export type TextRow = readonly [
  nar: string,
  narinfo: string,
  signedBy: string | null,
  keys: string,
  recordedAt: number,
  size: number | null,
]

/** What there is altogether. */
export interface Totals {
  /** Of all NAR files held. */
  readonly bytes: number
  /** Of those that are never evicted. */
  readonly keptBytes: number
  readonly nars: number
  /** Narinfos without their NAR. */
  readonly bare: number
}

/** Which row is meant. */
export interface RowKey {
  readonly hash: StoreHash
  readonly nar: string
}

/** A held row that may be evicted. */
export type Evictable = Pick<HeldRow, 'id' | 'hash' | 'nar' | 'size'>

/** Changes that wait for the next flush. */
export interface Batch {
  readonly accesses: readonly (RowKey & { readonly at: number })[]
  readonly narinfos: readonly NarinfoRow[]
  readonly verdicts: readonly (RowKey & { readonly signedBy: string | null; readonly keys: string })[]
}

const columns = `id, hash, nar, narinfo, url, source, signed_by AS signedBy, keys, recorded_at AS recordedAt, size, checked,
  last_access AS lastAccess, kept`
const markOf = `coalesce((SELECT kept FROM marks WHERE hash = @hash), 0)`

export class Catalogue {
  readonly #database: Database.Database
  readonly #statements: ReturnType<typeof prepare>

  constructor({ database }: { readonly database: Database.Database }) {
    this.#database = database
    this.#statements = prepare(database)
  }

  /** Opens the file, creating it where there is none. Undefined: it is of another schema. Throws SqliteError. */
  static open(path: string): Catalogue | undefined {
    const database = new Sqlite(path)
    try {
      database.pragma('journal_mode = WAL')
      database.pragma('synchronous = NORMAL')
      database.pragma(`wal_autocheckpoint = ${longestLog}`)
      database.pragma(`cache_size = ${-cacheBytes / 1024}`)
      if (prepareSchema(database)) return new Catalogue({ database })
      database.close()
      return undefined
    } catch (error) {
      database.close()
      throw error
    }
  }

  /** What is known of a store path: held NARs first, of these the one that came first; then the narinfo seen last. */
  rows(hash: StoreHash): readonly Row[] {
    return this.#statements.rows.all(hash)
  }

  /** The same, only as much of it as a narinfo is printed from. */
  texts(hash: StoreHash): readonly TextRow[] {
    return this.#statements.texts.all(hash)
  }

  row({ hash, nar }: RowKey): Row | undefined {
    return this.#statements.row.get(hash, nar)
  }

  /** The path whose narinfo has this URL field; one that is held rather than one that is not, then the one seen last. */
  hashOfUrl(url: string): StoreHash | undefined {
    return this.#statements.hashOfUrl.get(url)
  }

  /** Notes that a NAR file is on disk under its final name. */
  hold(row: Omit<HeldRow, 'id' | 'kept'>): void {
    this.#statements.hold.run(row)
  }

  /** Notes that a NAR file is no longer there; its narinfo stays known. */
  release({ hash, nar }: RowKey): void {
    this.#statements.release.run(hash, nar)
  }

  /** The same for several, in one transaction: by their ids, for the index of all hashes is large and they lie anywhere in it. */
  releaseAll(rows: readonly Evictable[]): void {
    this.atOnce(() => {
      for (const { id, hash, nar } of rows) this.#statements.releaseById.run(id, hash, nar)
    })
  }

  /** Replaces the narinfo of a row. */
  amend({ hash, nar, narinfo, signedBy, keys }: Pick<HeldRow, 'hash' | 'nar' | 'narinfo' | 'signedBy' | 'keys'>): void {
    this.#statements.amend.run({ hash, nar, narinfo, signedBy, keys })
  }

  /**
   * Writes what has been gathered, in one transaction. The narinfo of a held NAR is never replaced by one that was merely seen.
   *
   * @param mostBare narinfos without NAR that may be kept; the oldest beyond that are forgotten, so many at once as were added
   */
  write({ accesses, narinfos, verdicts }: Batch, mostBare: number): void {
    const { access, see, judge, forget } = this.#statements
    this.#database.transaction(() => {
      for (const { hash, nar, at } of accesses) access.run(at, hash, nar)
      for (const row of narinfos) see.run(row)
      for (const { hash, nar, signedBy, keys } of verdicts) judge.run(signedBy, keys, hash, nar)
      const excess = this.totals().bare - mostBare
      if (excess > 0) forget.run(Math.min(excess, 2 * narinfos.length + 1000))
    })()
  }

  /** NARs that may be evicted, least recently used first. */
  leastRecent(count: number): readonly Evictable[] {
    return this.#statements.leastRecent.all(count)
  }

  /** The latest access on record, in µs since 1970. */
  latestAccess(): number {
    return this.#statements.latestAccess.get() ?? 0
  }

  /** The bits of keptBits that a store hash has. */
  mark(hash: StoreHash): number {
    return this.#statements.mark.get(hash) ?? 0
  }

  /** Gives a store hash these bits, and all its rows. */
  setMark(hash: StoreHash, kept: number): void {
    const { setMark, clearMark, markRows } = this.#statements
    this.#database.transaction(() => {
      if (kept === 0) clearMark.run(hash)
      else setMark.run(hash, kept)
      markRows.run(kept, hash, kept)
    })()
  }

  /** Held rows in the order of their ids, from after `id`. */
  heldAfter(id: number, count: number): readonly HeldRow[] {
    return this.#statements.heldAfter.all(id, count)
  }

  /** The NAR files that ought to lie in one directory: those of hashes beginning with these two letters. */
  heldInShard(letters: string): readonly RowKey[] {
    return this.#statements.heldInShard.all(letters, `${letters}~`)
  }

  /** The first two letters of all hashes that there are rows of. */
  shards(): readonly string[] {
    const shards: string[] = []
    for (let last = ''; ;) {
      const shard = this.#statements.nextHash.get(last)?.slice(0, 2)
      if (shard === undefined) return shards
      shards.push(shard)
      last = `${shard}~`
    }
  }

  /** Runs several changes, or questions, in one transaction. */
  atOnce<T>(steps: () => T): T {
    return this.#database.transaction(steps)()
  }

  totals(): Totals {
    return this.#statements.totals.get() ?? { bytes: 0, keptBytes: 0, nars: 0, bare: 0 }
  }

  meta(key: string): string | undefined {
    return this.#statements.meta.get(key)
  }

  /** Undefined removes it. */
  setMeta(key: string, value: string | undefined): void {
    if (value === undefined) this.#statements.clearMeta.run(key)
    else this.#statements.setMeta.run(key, value)
  }

  /** Waits until everything written so far is on the disk for good, in the file itself. */
  settle(): void {
    this.#database.pragma('wal_checkpoint(TRUNCATE)')
  }

  close(): void {
    this.#database.close()
  }
}

/** Every question there is. The tests hold each of them to its index. */
export const questions = {
  rows: `SELECT ${columns} FROM entries WHERE hash = ?
    ORDER BY size IS NULL, iif(size IS NULL, -recorded_at, recorded_at)`,
  // Not in their order: there is nearly always one row, and sorting that makes a tenth more (measured, beyond SQLite's own memory).
  texts: `SELECT nar, narinfo, signed_by, keys, recorded_at, size FROM entries WHERE hash = ?`,
  row: `SELECT ${columns} FROM entries WHERE hash = ? AND nar = ?`,
  hashOfUrl: `SELECT hash FROM entries WHERE url = ? ORDER BY size IS NULL, recorded_at DESC LIMIT 1`,
  hold: `INSERT INTO entries
    (hash, nar, narinfo, url, source, signed_by, keys, recorded_at, size, checked, last_access, kept)
    VALUES (@hash, @nar, @narinfo, @url, @source, @signedBy, @keys, @recordedAt, @size, @checked, @lastAccess, ${markOf})
    ON CONFLICT (hash, nar) DO UPDATE SET narinfo = excluded.narinfo, url = excluded.url, source = excluded.source,
      signed_by = excluded.signed_by, keys = excluded.keys, recorded_at = excluded.recorded_at, size = excluded.size,
      checked = excluded.checked, last_access = excluded.last_access, kept = excluded.kept`,
  release: `UPDATE entries SET size = NULL, checked = NULL, last_access = NULL WHERE hash = ? AND nar = ? AND size IS NOT NULL`,
  // The plus keeps SQLite from taking the index of hashes after all.
  releaseById: `UPDATE entries SET size = NULL, checked = NULL, last_access = NULL
    WHERE id = ? AND +hash = ? AND +nar = ? AND size IS NOT NULL`,
  amend: `UPDATE entries SET narinfo = @narinfo, signed_by = @signedBy, keys = @keys WHERE hash = @hash AND nar = @nar`,
  access: `UPDATE entries SET last_access = max(last_access, ?) WHERE hash = ? AND nar = ? AND size IS NOT NULL`,
  see: `INSERT INTO entries (hash, nar, narinfo, url, source, signed_by, keys, recorded_at, kept)
    VALUES (@hash, @nar, @narinfo, @url, @source, @signedBy, @keys, @recordedAt, ${markOf})
    ON CONFLICT (hash, nar) DO UPDATE SET narinfo = excluded.narinfo, url = excluded.url, source = excluded.source,
      signed_by = excluded.signed_by, keys = excluded.keys, recorded_at = excluded.recorded_at WHERE size IS NULL`,
  judge: `UPDATE entries SET signed_by = ?, keys = ? WHERE hash = ? AND nar = ?`,
  forget: `DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE size IS NULL ORDER BY recorded_at LIMIT ?)`,
  leastRecent: `SELECT id, hash, nar, size FROM entries
    WHERE size IS NOT NULL AND kept = 0 ORDER BY last_access LIMIT ?`,
  latestAccess: `SELECT last_access FROM entries WHERE size IS NOT NULL AND kept = 0 ORDER BY last_access DESC LIMIT 1`,
  mark: `SELECT kept FROM marks WHERE hash = ?`,
  setMark: `INSERT OR REPLACE INTO marks (hash, kept) VALUES (?, ?)`,
  clearMark: `DELETE FROM marks WHERE hash = ?`,
  markRows: `UPDATE entries SET kept = ? WHERE hash = ? AND kept <> ?`,
  heldAfter: `SELECT ${columns} FROM entries WHERE id > ? AND size IS NOT NULL ORDER BY id LIMIT ?`,
  heldInShard: `SELECT hash, nar FROM entries WHERE hash BETWEEN ? AND ? AND size IS NOT NULL`,
  nextHash: `SELECT hash FROM entries WHERE hash > ? ORDER BY hash LIMIT 1`,
  totals: `SELECT bytes, kept_bytes AS keptBytes, nars, bare FROM totals`,
  meta: `SELECT value FROM meta WHERE key = ?`,
  setMeta: `INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)`,
  clearMeta: `DELETE FROM meta WHERE key = ?`,
} as const

function prepare(database: Database.Database) {
  return {
    rows: database.prepare<[string], Row>(questions.rows),
    texts: database.prepare<[string], TextRow>(questions.texts).raw(),
    row: database.prepare<[string, string], Row>(questions.row),
    hashOfUrl: database.prepare<[string], StoreHash>(questions.hashOfUrl).pluck(),
    hold: database.prepare<[Omit<HeldRow, 'id' | 'kept'>]>(questions.hold),
    release: database.prepare<[string, string]>(questions.release),
    releaseById: database.prepare<[number, string, string]>(questions.releaseById),
    amend: database.prepare<[object]>(questions.amend),
    access: database.prepare<[number, string, string]>(questions.access),
    see: database.prepare<[NarinfoRow]>(questions.see),
    judge: database.prepare<[string | null, string, string, string]>(questions.judge),
    forget: database.prepare<[number]>(questions.forget),
    leastRecent: database.prepare<[number], Evictable>(questions.leastRecent),
    latestAccess: database.prepare<[], number>(questions.latestAccess).pluck(),
    mark: database.prepare<[string], number>(questions.mark).pluck(),
    setMark: database.prepare<[string, number]>(questions.setMark),
    clearMark: database.prepare<[string]>(questions.clearMark),
    markRows: database.prepare<[number, string, number]>(questions.markRows),
    heldAfter: database.prepare<[number, number], HeldRow>(questions.heldAfter),
    heldInShard: database.prepare<[string, string], RowKey>(questions.heldInShard),
    nextHash: database.prepare<[string], string>(questions.nextHash).pluck(),
    totals: database.prepare<[], Totals>(questions.totals),
    meta: database.prepare<[string], string>(questions.meta).pluck(),
    setMeta: database.prepare<[string, string]>(questions.setMeta),
    clearMeta: database.prepare<[string]>(questions.clearMeta),
  }
}
