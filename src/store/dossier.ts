// All that is known of the NARs of one path: from the catalogue of a store that is open, or from the files of one that is not ours.

import { readFile, stat } from 'node:fs/promises'

import type { StoreEntry } from '../explanation.ts'
import { narFileName, narIdentity } from '../nix/nar-url.ts'
import { parseNarInfo, type NarInfo } from '../nix/narinfo.ts'
import type { TrustedKeys } from '../nix/signature.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Row } from './catalogue.ts'
import { narFileOf } from './held-nar.ts'
import { Layout, type Mark } from './layout.ts'
import { keptBits } from './schema.ts'
import { Shelves } from './shelves.ts'
import { Trust } from './trust.ts'

export interface DossierOptions {
  readonly layout: Layout
  readonly storeDir: string
  readonly trust: Trust
}

/** What rows of the catalogue say. A row whose narinfo cannot be read is left out. */
export async function entriesOfRows(
  rows: readonly Row[],
  { layout, storeDir, trust }: DossierOptions,
): Promise<readonly StoreEntry[]> {
  const entries: StoreEntry[] = []
  for (const row of rows) {
    const narinfo = row.size === null ? undefined : parsed(row.narinfo, storeDir)
    if (row.size === null || !narinfo) continue
    entries.push({
      file: layout.nar(narFileOf(row)),
      size: row.size,
      since: row.recordedAt,
      from: row.source,
      checked: row.checked,
      pinned: (row.kept & keptBits.pinned) !== 0,
      uploaded: (row.kept & keptBits.uploaded) !== 0,
      narinfo,
      ...(await vouched(narinfo, trust)),
    })
  }
  return entries
}

/**
 * What the files under `root` say, without the lock and without the catalogue: nothing is opened for writing, so it may be done while
 * another process has the store. Empty where there is no store; rejects by the file system.
 */
export async function peek(
  root: string,
  hash: StoreHash,
  { storeDir, keys }: { readonly storeDir: string; readonly keys: TrustedKeys },
): Promise<readonly StoreEntry[]> {
  const layout = new Layout({ root })
  const shelves = new Shelves({ layout })
  const trust = new Trust({ keys })
  const marked = (mark: Mark): Promise<boolean> => exists(layout.mark(hash, mark))
  const entries: StoreEntry[] = []
  for (const file of await shelves.filesOf(hash)) {
    const [found, text] = [await statOf(layout.nar(file)), await shelves.sidecar(file)]
    const narinfo = text === undefined ? undefined : parsed(text, storeDir)
    if (!found || !narinfo || narFileName(narinfo.storePath.hash, narIdentity(narinfo)) !== file) continue
    entries.push({
      file: layout.nar(file),
      size: found.size,
      since: Math.floor(found.mtimeMs),
      from: undefined,
      checked: undefined,
      pinned: await marked('pinned'),
      uploaded: await marked('uploaded'),
      narinfo,
      ...(await vouched(narinfo, trust)),
    })
  }
  return entries
}

/** Who says to have the store under `root`: `process 123 on tent`; undefined: nobody. After a crash it may be untrue. */
export async function ownerOf(root: string): Promise<string | undefined> {
  const text = await readFile(new Layout({ root }).owner, 'utf8').catch(() => '')
  return text.trim() || undefined
}

async function vouched(narinfo: NarInfo, trust: Trust): Promise<Pick<StoreEntry, 'trusted' | 'signedBy'>> {
  const voucher = await trust.decide(narinfo)
  return voucher === false ? { trusted: false, signedBy: undefined } : { trusted: true, signedBy: voucher.by }
}

function parsed(text: string, storeDir: string): NarInfo | undefined {
  try {
    return parseNarInfo(text, storeDir)
  } catch {
    return undefined
  }
}

async function statOf(path: string): Promise<{ readonly size: number; readonly mtimeMs: number } | undefined> {
  return stat(path).catch(() => undefined)
}

async function exists(path: string): Promise<boolean> {
  return (await statOf(path)) !== undefined
}
