// Places for new NARs: claimed room and a file to write to, until it is committed or discarded.

import { constants, copyFile, link, mkdir, open, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { ProxyError } from '../errors.ts'
import { narFileName, narIdentity } from '../nix/nar-url.ts'
import { printNarInfo, type NarInfo } from '../nix/narinfo.ts'
import type { Substitute } from '../substituter.ts'
import type { Checked } from './catalogue.ts'
import type { Claim, Eviction } from './eviction.ts'
import { narColumn } from './held-nar.ts'
import type { Layout } from './layout.ts'
import type { Ledger } from './ledger.ts'
import type { Marks } from './marks.ts'
import type { NarinfoMemory } from './narinfo-memory.ts'
import type { Shelves } from './shelves.ts'
import type { SteadyCatalogue } from './steady-catalogue.ts'
import { systemCode, type StoreHealth } from './store-health.ts'
import type { Trust } from './trust.ts'

export interface Reservation {
  /** Open for reading and writing, nobody else's, empty unless it was made `from` a file. Whoever reserved closes it, also after commit and discard. */
  readonly file: FileHandle
  readonly path: string
  /** Accounts for so many bytes more than were reserved. Rejects with ProxyError `store-full`; what was reserved stays. */
  grow(bytes: number): Promise<void>
  /**
   * Keeps the file, which has `size` bytes that were proved by NarHash (`nar`) or only by FileHash (`file`). Afterwards the entry is
   * found, also after kill -9. Rejects with ProxyError `store-full` or `store-failed`, or `damaged` when the file has another size;
   * then nothing is kept. If the same NAR has been committed meanwhile, that one stays.
   */
  commit(checked: Checked, size: number): Promise<void>
  /**
   * Removes the file and gives the room back; does nothing after commit, nor a second time. Never rejects.
   *
   * @param why what went wrong, if something did: a disk that is full or fails shows in the store's state
   */
  discard(why?: unknown): Promise<void>
}

export interface ReserveOptions {
  /** Nobody else may have it: it is never evicted. */
  readonly uploaded?: boolean
  /** Path of a file in the store with all the bytes; it stays as it is. */
  readonly from?: string
}

/** A file for bytes that no narinfo is known for yet. It is not counted; whoever asked for it closes and removes it. */
export interface Staged {
  readonly file: FileHandle
  readonly path: string
}

export interface ReservationsOptions {
  readonly layout: Layout
  readonly catalogue: SteadyCatalogue
  readonly shelves: Shelves
  readonly memory: NarinfoMemory
  readonly trust: Trust
  readonly ledger: Ledger
  readonly eviction: Eviction
  readonly marks: Marks
  readonly health: StoreHealth
}

/** What is wanted of one reservation. */
interface Plan {
  readonly substitute: Substitute
  readonly claim: Claim
  readonly uploaded: boolean
  readonly file: FileHandle
  readonly path: string
}

export class Reservations {
  readonly #options: ReservationsOptions
  readonly #open = new Set<Reservation>()
  #serial = 0

  constructor(options: ReservationsOptions) {
    this.#options = { ...options }
  }

  /** See DiskStore.reserve. */
  async make(
    substitute: Substitute,
    size: number | undefined,
    { uploaded = false, from }: ReserveOptions,
  ): Promise<Reservation> {
    const { layout, catalogue, eviction, health } = this.#options
    // What could not get its row is not worth writing.
    catalogue.must(() => {})
    const claim = await eviction.claim(size)
    const path = join(layout.incoming, `${nameOf(substitute.narinfo)}.${++this.#serial}`)
    try {
      const file = await (from === undefined ? this.#create(path) : duplicate(from, path))
      claim.fd = file.fd
      return this.#reserved({ substitute, claim, uploaded, file, path })
    } catch (error) {
      eviction.settle(claim)
      throw health.failed('disk', error)
    }
  }

  /** See DiskStore.stage. */
  async stage(size: number | undefined): Promise<Staged> {
    const { layout, eviction, health } = this.#options
    const claim = await eviction.claim(size)
    const path = join(layout.incoming, `staged.${++this.#serial}`)
    try {
      return { file: await this.#create(path), path }
    } catch (error) {
      throw health.failed('disk', error)
    } finally {
      eviction.settle(claim)
    }
  }

  /** Discards whatever has not been committed. */
  async discardAll(): Promise<void> {
    await Promise.all([...this.#open].map((reservation) => reservation.discard()))
  }

  #reserved(plan: Plan): Reservation {
    const { claim, file, path } = plan
    const { eviction } = this.#options
    let over: Promise<void> | undefined
    const reservation: Reservation = {
      file,
      path,
      grow: (bytes) => eviction.grow(claim, bytes),
      commit: (checked, size) => {
        if (over) return Promise.reject(new ProxyError('store-failed', 'store: a reservation that is over'))
        const committing = this.#commit(plan, checked, size)
        over = committing
          // What the commit left: nothing, or a file that was not needed.
          .then(
            () => this.#discard(plan, undefined),
            (error: unknown) => this.#discard(plan, error),
          )
          .finally(() => this.#open.delete(reservation))
        return over.then(() => committing)
      },
      discard: (why) => {
        over ??= this.#discard(plan, why).finally(() => this.#open.delete(reservation))
        return over
      },
    }
    this.#open.add(reservation)
    return reservation
  }

  async #commit({ substitute, claim, uploaded, file, path }: Plan, checked: Checked, size: number): Promise<void> {
    const { shelves, catalogue, marks, health } = this.#options
    const narinfo = withFileSize(substitute.narinfo, size)
    const { hash } = narinfo.storePath
    const name = nameOf(narinfo)
    try {
      const found = await file.stat()
      if (found.size !== size) {
        throw new ProxyError('damaged', `store: a NAR file has ${found.size} bytes, not the ${size} that were proved`)
      }
      await file.datasync()
      if (uploaded) await marks.set(hash, 'uploaded')
      await shelves.exclusive(name, async () => {
        const row = catalogue.must((index) => index.row({ hash, nar: narColumn(name) }))
        // The first one stays: it may be being read, and its narinfo has been handed out.
        if (row && row.size !== null && (await shelves.size(name)) === row.size) return
        const text = printNarInfo(narinfo, narinfo.url)
        await shelves.place(path, name, text, () => this.#record(substitute, narinfo, text, claim, checked, size))
      })
    } catch (error) {
      throw error instanceof ProxyError ? error : health.failed('disk', error)
    }
    health.works('disk')
  }

  /** Writes the row; from here on the bytes count as held and no longer as claimed. */
  #record(
    { from, signedBy }: Substitute,
    narinfo: NarInfo,
    text: string,
    claim: Claim,
    checked: Checked,
    size: number,
  ): void {
    const { catalogue, memory, ledger, trust, eviction } = this.#options
    const row = {
      hash: narinfo.storePath.hash,
      nar: narColumn(nameOf(narinfo)),
      narinfo: text,
      url: narinfo.url,
      source: from,
      ...trust.written(signedBy),
      recordedAt: ledger.time(),
      size,
      checked,
      lastAccess: ledger.stamp(),
    }
    catalogue.change((index) => index.hold(row))
    memory.forget(row.hash, nameOf(narinfo))
    eviction.settle(claim, size)
  }

  async #discard({ path, claim }: Plan, why: unknown): Promise<void> {
    const { health, eviction } = this.#options
    // Not rm with `force`, which looks twice before it removes. Most often there is nothing.
    await unlink(path).catch(() => {})
    if (isOfDisk(why) && health.failed('disk', why).code === 'store-full') eviction.refused(claim)
    eviction.settle(claim)
  }

  async #create(path: string): Promise<FileHandle> {
    try {
      return await open(path, 'wx+')
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      // Somebody tidied up.
      await mkdir(this.#options.layout.incoming, { recursive: true })
      return open(path, 'wx+')
    }
  }
}

/** The same bytes under another name, shared where the file system can. */
async function duplicate(from: string, path: string): Promise<FileHandle> {
  await link(from, path).catch(() => copyFile(from, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE))
  return open(path, 'r+')
}

function nameOf(narinfo: NarInfo): string {
  return narFileName(narinfo.storePath.hash, narIdentity(narinfo))
}

/** The same with the true FileSize where the sender's was wrong: only what is signed was proved. */
function withFileSize(narinfo: NarInfo, size: number): NarInfo {
  if (narinfo.fileSize === undefined || narinfo.fileSize === size) return narinfo
  const fields = narinfo.fields.map(([key, value]) => [key, key === 'FileSize' ? String(size) : value] as const)
  return { ...narinfo, fileSize: size, fields }
}

/** Whether the file system itself said no. */
function isOfDisk(error: unknown): boolean {
  const code = systemCode(error instanceof ProxyError ? error.cause : error)
  return code !== undefined && /^E[A-Z]+$/.test(code)
}
