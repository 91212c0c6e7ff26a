// Looks up what we hold: in memory, in the catalogue, and where that cannot tell, in the directories; and opens it.

import type { FileHandle } from 'node:fs/promises'

import { messageOf, ProxyError } from '../errors.ts'
import type { Log } from '../log.ts'
import { narFileName, narIdentity, type NarIdentity } from '../nix/nar-url.ts'
import { parseNarInfo, type NarInfo } from '../nix/narinfo.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { HeldText, Wanted } from '../substituter.ts'
import type { Catalogue, HeldRow, Row, TextRow } from './catalogue.ts'
import { HeldNar, narColumn, narFileOf, type Opener } from './held-nar.ts'
import type { Ledger } from './ledger.ts'
import { BufferPool } from './nar-body.ts'
import type { Known, NarinfoMemory } from './narinfo-memory.ts'
import type { Shelves } from './shelves.ts'
import type { SteadyCatalogue } from './steady-catalogue.ts'
import { storeError, systemCode, type StoreHealth } from './store-health.ts'
import type { Trust, Voucher } from './trust.ts'

export interface HoldingsOptions {
  /** The store's name as a substituter. */
  readonly name: string
  readonly storeDir: string
  readonly memory: NarinfoMemory
  readonly catalogue: SteadyCatalogue
  readonly shelves: Shelves
  readonly trust: Trust
  readonly ledger: Ledger
  readonly health: StoreHealth
  readonly log: Log
}

export class Holdings implements Opener {
  readonly pool = new BufferPool()
  readonly #options: HoldingsOptions

  constructor(options: HoldingsOptions) {
    this.#options = { ...options }
  }

  /** What memory says; undefined: it does not know, not even that there is nothing. */
  recall(wanted: Wanted): Known | undefined {
    return this.#options.memory.recall(wanted)
  }

  /**
   * The narinfos of held paths as text, straight from the catalogue, for who needs nothing else of them. Undefined: only `look` can tell; or
   * memory should know this path, for it is asked for again.
   */
  texts(hashes: readonly StoreHash[]): readonly (HeldText | undefined)[] {
    const { catalogue } = this.#options
    return catalogue.ask((index) => index.atOnce(() => hashes.map((hash) => this.#text(index, hash)))) ?? []
  }

  #text(index: Catalogue, hash: StoreHash): HeldText | undefined {
    const { catalogue, memory, trust, storeDir } = this.#options
    // Memory would have answered, were it held.
    if (memory.isAbsent(hash) || memory.recall({ hash })) return undefined
    const rows = index.texts(hash)
    if (rows.length === 0 && catalogue.whole) memory.keepAbsent(hash)
    let first: TextRow | undefined
    for (const row of rows) if (row[5] !== null && !(first && first[4] <= row[4])) first = row
    if (!first || !memory.isFirst(hash)) return undefined
    const [nar, text, signedBy, keys] = first
    // Of another directory than ours: `look` finds that it is no narinfo.
    if (!trust.recall({ keys, signedBy }) || !text.startsWith(`StorePath: ${storeDir}/${hash}-`)) return undefined
    return { text, file: narFileOf({ hash, nar }) }
  }

  /** What the catalogue says, or the directory where the catalogue cannot tell. Never rejects: what cannot be found out is not held. */
  async look(wanted: Wanted): Promise<HeldNar | undefined> {
    const { catalogue, memory } = this.#options
    const rows = this.#rows(wanted)
    for (const row of rows ?? []) {
      if (row.size === null) continue
      const known = await this.#held(row)
      if (!known) continue
      memory.keep(wanted, known)
      return known.held
    }
    if (!rows || !catalogue.whole) return this.#inDirectory(wanted)
    if (rows.length === 0 && !wanted.nar) memory.keepAbsent(wanted.hash)
    return undefined
  }

  /** A narinfo that was seen, whether its NAR is held or not; exactly the one of these bytes, if they are given. */
  known(hash: StoreHash, nar?: NarIdentity): Known | undefined {
    const wanted = nar ? { hash, nar } : { hash }
    const known = this.recall(wanted)
    if (known) return known
    const rows = this.#rows(wanted) ?? []
    for (const row of rows) {
      const voucher = this.#options.trust.recall(row)
      const narinfo = voucher && this.#parse(row.narinfo)
      if (!narinfo) continue
      const seen = bare(row, narinfo, voucher.by)
      if (rows.every(({ size }) => size === null)) this.#options.memory.keep(wanted, seen)
      return seen
    }
    return undefined
  }

  /** Takes note of a narinfo without its NAR, for the next question. Memory never says that nothing is held where something is. */
  keep(narinfo: NarInfo, from: string, signedBy: string | undefined, recordedAt: number): void {
    const { hash } = narinfo.storePath
    const identity = narIdentity(narinfo)
    const known: Known = { narinfo, identity, from, signedBy, recordedAt, held: undefined }
    if (!this.#isHeld({ hash })) this.#options.memory.keep({ hash }, known)
    else if (!this.#isHeld({ hash, nar: identity })) this.#options.memory.keep({ hash, nar: identity }, known)
  }

  /** Opener */
  async open(held: HeldNar): Promise<FileHandle> {
    const { shelves } = this.#options
    const file = await shelves.open(held.file, held.size).catch((error: unknown) => this.#unreadable(error))
    if (file) return file
    await this.drop(held).catch(() => {})
    throw new ProxyError('gone', `store: the NAR of ${held.narinfo.storePath.path} is no longer there`)
  }

  /** Opener */
  reading(held: HeldNar): (error: ProxyError | undefined) => void {
    const over = this.#options.shelves.reading(held.file)
    return (failure) => {
      over()
      if (failure?.code === 'damaged') void this.drop(held).catch(() => {})
      if (failure?.code !== 'store-failed') return
      const which = `${failure.message} (${held.narinfo.storePath.path})`
      this.#options.health.failed('disk', new ProxyError('store-failed', which, { cause: failure }))
    }
  }

  /**
   * Takes a NAR out of the store whose file is gone or altered; what is altered goes into quarantine. Leaves it if it has the right size,
   * unless it `isWrong` all the same. Rejects with ProxyError `store-failed` when it cannot be taken out.
   */
  async drop(row: Pick<HeldRow, 'hash' | 'nar' | 'size'>, isWrong = false): Promise<void> {
    const { shelves, health } = this.#options
    const file = narFileOf(row)
    await shelves
      .exclusive(file, () => this.#drop(file, row, isWrong))
      .catch((error: unknown) => {
        throw health.failed('disk', error)
      })
  }

  async #drop(
    file: string,
    { hash, nar, size }: Pick<HeldRow, 'hash' | 'nar' | 'size'>,
    isWrong: boolean,
  ): Promise<void> {
    const { shelves, memory, catalogue, log } = this.#options
    const found = await shelves.size(file)
    memory.forget(hash, file)
    if (found === size && !isWrong) return
    if (found === undefined) {
      await shelves.remove(file)
    } else {
      log.warn('store: a NAR was altered on disk and is taken out', { file })
      await shelves.quarantine(file)
    }
    catalogue.tryChange((index) => index.release({ hash, nar }))
    // Somebody may have asked in between.
    memory.forget(hash, file)
  }

  #isHeld(wanted: Wanted): boolean {
    const known = this.recall(wanted)
    return known ? known.held !== undefined : this.#rows(wanted)?.some(({ size }) => size !== null) === true
  }

  #rows({ hash, nar }: Wanted): readonly Row[] | undefined {
    if (this.#options.memory.isAbsent(hash)) return []
    return this.#options.catalogue.ask((index) => {
      if (!nar) return index.rows(hash)
      const row = index.row({ hash, nar: narColumn(narFileName(hash, nar)) })
      return row ? [row] : []
    })
  }

  async #held(row: HeldRow): Promise<Known | undefined> {
    const { trust, ledger } = this.#options
    const narinfo = this.#parse(row.narinfo)
    if (!narinfo) return undefined
    let voucher = trust.recall(row)
    if (voucher === undefined) {
      // The trusted keys are others than when this was decided.
      voucher = await trust.decide(narinfo)
      ledger.judged(row, { keys: trust.digest, signedBy: voucher ? (voucher.by ?? null) : null })
    }
    if (!voucher) return undefined
    return {
      ...bare(row, narinfo, voucher.by),
      held: this.#holding(narinfo, row, voucher),
    }
  }

  /** The catalogue cannot tell: the files can, more slowly. */
  async #inDirectory(wanted: Wanted): Promise<HeldNar | undefined> {
    const { shelves, trust, memory, name } = this.#options
    const { hash, nar } = wanted
    try {
      for (const file of nar ? [narFileName(hash, nar)] : await shelves.filesOf(hash)) {
        const [size, text] = [await shelves.size(file), await shelves.sidecar(file)]
        const narinfo = text === undefined ? undefined : this.#parse(text)
        if (size === undefined || !narinfo || (narinfo.fileSize ?? size) !== size) continue
        if (narFileName(narinfo.storePath.hash, narIdentity(narinfo)) !== file) continue
        const voucher = await trust.decide(narinfo)
        if (!voucher) continue
        const held = this.#holding(narinfo, { hash, nar: narColumn(file), size, lastAccess: 0 }, voucher)
        memory.keep(wanted, {
          narinfo,
          identity: narIdentity(narinfo),
          from: name,
          signedBy: voucher.by,
          recordedAt: 0,
          held,
        })
        return held
      }
    } catch (error) {
      this.#options.log.debug(`store: ${messageOf(error)}`, { hash })
    }
    return undefined
  }

  #holding(narinfo: NarInfo, row: Pick<HeldRow, 'hash' | 'nar' | 'size' | 'lastAccess'>, { by }: Voucher): HeldNar {
    const { name } = this.#options
    const { size, lastAccess } = row
    const file = narFileOf(row)
    return new HeldNar({ name, narinfo, file, size, signedBy: by, lastAccess, opener: this })
  }

  #parse(text: string): NarInfo | undefined {
    try {
      return parseNarInfo(text, this.#options.storeDir)
    } catch (error) {
      this.#options.log.debug(`store: ${messageOf(error)}`)
      return undefined
    }
  }

  #unreadable(error: unknown): never {
    const code = systemCode(error)
    // Too many open files are our own doing, and say nothing about the disk.
    throw code === 'EMFILE' || code === 'ENFILE' ? storeError(error) : this.#options.health.failed('disk', error)
  }
}

function bare(row: Row, narinfo: NarInfo, signedBy: string | undefined): Known {
  const { source: from, recordedAt } = row
  return { narinfo, identity: narIdentity(narinfo), from, signedBy, recordedAt, held: undefined }
}
