// Looks at every NAR that we hold: is it there, has it its size, and is it what was signed?

import { codeOf, messageOf, ProxyError } from '../errors.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import { parseNarInfo } from '../nix/narinfo.ts'
import type { HeldRow } from './catalogue.ts'
import { narFileOf } from './held-nar.ts'
import { each, reconcile, type Repaired, type RepairParts } from './repair.ts'

/** Rows that are read at once. */
const page = 256

export interface ScrubOptions {
  /** Proves a NAR file against its narinfo; rejects with ProxyError `damaged` when it is not what was promised. */
  readonly check: (path: string, narinfo: NarInfo) => Promise<void>
  readonly signal: AbortSignal
  /** NARs that are checked at once; default 2. */
  readonly atOnce?: number
  /** Told after every NAR. */
  readonly progress?: (scrubbed: Scrubbed) => void
}

export interface Scrubbed extends Repaired {
  /** NARs that were checked and are right. */
  right: number
  /** Store paths whose NAR was altered, and is in quarantine now. */
  readonly damaged: string[]
  /** Store paths whose NAR could not be read, with the reason; they are left as they are. */
  readonly unread: { readonly path: string; readonly why: string }[]
}

/**
 * Brings rows and files in agreement, then checks every NAR, in the order of the catalogue, next to normal service. Rejects with the
 * signal's reason, by the file system, or with a ProxyError of the catalogue.
 *
 * @param drop takes a damaged entry out of the store
 */
export async function scrub(
  parts: RepairParts,
  { check, signal, atOnce = 2, progress }: ScrubOptions,
  drop: (row: HeldRow) => Promise<void>,
): Promise<Scrubbed> {
  const scrubbed: Scrubbed = { ...(await reconcile(parts, signal)), right: 0, damaged: [], unread: [] }
  const one = async (row: HeldRow): Promise<void> => {
    let path = `${parts.storeDir}/${row.hash}`
    const file = narFileOf(row)
    try {
      const size = await parts.shelves.size(file)
      // Evicted since its row was read.
      if (size === undefined) return
      const narinfo = parseNarInfo(row.narinfo, parts.storeDir)
      path = narinfo.storePath.path
      if (size !== row.size) throw new ProxyError('damaged', `store: ${size} bytes instead of ${row.size}`)
      await check(parts.layout.nar(file), narinfo)
      scrubbed.right++
    } catch (error) {
      signal.throwIfAborted()
      if (codeOf(error) === 'damaged') {
        await drop(row)
        scrubbed.damaged.push(path)
      } else {
        scrubbed.unread.push({ path, why: messageOf(error) })
      }
    }
    progress?.(scrubbed)
  }
  for (let last = 0; ;) {
    const rows = parts.catalogue.must((index) => index.heldAfter(last, page))
    if (rows.length === 0) return scrubbed
    await each(rows, atOnce, one, signal)
    last = rows.at(-1)?.id ?? last
  }
}
