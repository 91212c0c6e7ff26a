// A NAR that we hold, as an answer: its narinfo, and the way to its file.

import type { FileHandle } from 'node:fs/promises'

import { ProxyError } from '../errors.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import { isStoreHash, type StoreHash } from '../nix/store-path.ts'
import type { ByteRange, Nar, Substitute } from '../substituter.ts'
import type { RowKey } from './catalogue.ts'
import { NarBody, type BufferPool } from './nar-body.ts'

/** How a held NAR gets at its file. */
export interface Opener {
  readonly pool: BufferPool
  /** Opens the file, which has the size of the row. Rejects with ProxyError `gone` when it has not, or is not there. */
  open(held: HeldNar): Promise<FileHandle>
  /** Counts a reader in; the result counts it out, with what went wrong. */
  reading(held: HeldNar): (error: ProxyError | undefined) => void
}

export interface HeldNarOptions {
  readonly name: string
  readonly narinfo: NarInfo
  readonly file: string
  readonly size: number
  readonly signedBy: string | undefined
  /** µs since 1970 */
  readonly lastAccess: number
  readonly opener: Opener
}

export class HeldNar implements Substitute {
  readonly from: string
  readonly narinfo: NarInfo
  readonly signedBy: string | undefined
  readonly peer = false
  /** `<store hash>-<digest>.nar[.xz|…]` */
  readonly file: string
  /** Bytes of the NAR file. */
  readonly size: number
  /** The row of the catalogue. */
  readonly hash: StoreHash
  readonly nar: string
  /** Its last access as the catalogue has it, or will have it soon: µs since 1970, see the ledger. */
  accessWritten: number
  readonly #opener: Opener

  constructor({ name, narinfo, file, size, signedBy, lastAccess, opener }: HeldNarOptions) {
    this.from = name
    this.narinfo = narinfo
    this.signedBy = signedBy
    this.file = file
    this.size = size
    this.hash = narinfo.storePath.hash
    this.nar = narColumn(file)
    this.accessWritten = lastAccess
    this.#opener = opener
  }

  /** Rejects with ProxyError `gone` (the file is no longer what it was; ask elsewhere), `bad-range`, `store-failed` or `aborted`. */
  readonly open = async (range: ByteRange | undefined, signal: AbortSignal): Promise<Nar> => {
    if (signal.aborted) throw new ProxyError('aborted', 'store: nobody waits for this NAR any more')
    const { size } = this
    const start = range?.start ?? 0
    const end = Math.min(range?.end ?? size - 1, size - 1)
    if (range && (start >= size || end < start)) {
      throw new ProxyError('bad-range', `store: the NAR has ${size} bytes, none from ${start} to ${end}`)
    }
    const over = this.#opener.reading(this)
    try {
      const file = await this.#opener.open(this)
      const body = new NarBody({ file, start, length: end + 1 - start, pool: this.#opener.pool, signal, over })
      return { size, body }
    } catch (error) {
      over(undefined)
      throw error
    }
  }
}

/** What follows the store hash and its dash in a file name. */
export function narColumn(file: string): string {
  return file.slice(33)
}

/** The NAR file of a row. */
export function narFileOf({ hash, nar }: RowKey): string {
  return `${hash}-${nar}`
}

/** The row of a NAR file. Throws for a name that is none: only names of files that we hold come here. */
export function rowKey(file: string): RowKey {
  const hash = file.slice(0, 32)
  if (!isStoreHash(hash)) throw new TypeError(`not a NAR file: ${file}`)
  return { hash, nar: narColumn(file) }
}
