// Puts the catalogue and the files in agreement again: one file after a crash, or all of them when the catalogue is new.
//
//   NAR, narinfo, no row      adopted: it was verified before it got its name
//   NAR with another size     altered: quarantined
//   NAR without narinfo       the row gives the narinfo back; without a row nobody can say what it is: removed, but left alone if marked
//   narinfo without NAR       removed
//   row without NAR           the row stays as a narinfo that was seen

import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { narFileName, narIdentity, parseNarFileName } from '../nix/nar-url.ts'
import { parseNarInfo, printNarInfo, type NarInfo } from '../nix/narinfo.ts'
import { isStoreHash } from '../nix/store-path.ts'
import type { Row } from './catalogue.ts'
import { syncDirectory } from './durable.ts'
import { evictedAtOnce } from './eviction.ts'
import { narColumn, narFileOf } from './held-nar.ts'
import { commitEnding, marks, sidecarEnding, type Layout } from './layout.ts'
import type { NarinfoMemory } from './narinfo-memory.ts'
import { keptBits } from './schema.ts'
import { listed, type Shelves } from './shelves.ts'
import type { SteadyCatalogue } from './steady-catalogue.ts'

/** Files that are looked at at once: enough to keep a disk busy, few enough to leave it to others. */
const filesAtOnce = 8

export interface RepairParts {
  readonly layout: Layout
  readonly catalogue: SteadyCatalogue
  readonly shelves: Shelves
  readonly memory: NarinfoMemory
  readonly storeDir: string
  /** What stands for the giver of a narinfo when it is no longer known. */
  readonly source: string
}

/** How many files came to which end. */
export interface Repaired {
  /** Got their row again. */
  adopted: number
  /** Rows whose NAR was gone. */
  released: number
  /** Files that were of no use. */
  removed: number
  /** NARs that had been altered. */
  quarantined: number
}

/**
 * After a crash: finishes or undoes what was being committed or evicted, and removes what was being written. Reads one small directory
 * and looks at a handful of files. Rejects by the file system, or with a ProxyError of the catalogue.
 */
export async function sweep(parts: RepairParts): Promise<Repaired> {
  const { incoming } = parts.layout
  const repaired = nothingYet()
  const names = await listed(incoming)
  for (const name of names) {
    if (!name.endsWith(commitEnding)) continue
    // `<file>.<n>.commit`
    const file = name.slice(0, -commitEnding.length).replace(/\.\d+$/, '')
    if (!parseNarFileName(file)) continue
    // A program that was killed may have moved it without waiting for the disk; its row must not come before that.
    await parts.shelves.makeShard(file)
    await syncDirectory(parts.layout.shard(file))
    await settle(parts, file, repaired)
  }
  // Eviction takes the least recently used first, so many at a time, and their files before their rows.
  const next = parts.catalogue.ask((index) => index.leastRecent(evictedAtOnce)) ?? []
  await Promise.all(next.map((row) => settle(parts, narFileOf(row), repaired)))
  // What was under way goes last: a crash now repeats the above.
  for (const name of [...names].sort((a, b) => Number(a.endsWith(commitEnding)) - Number(b.endsWith(commitEnding)))) {
    await rm(join(incoming, name), { force: true, recursive: true })
  }
  return repaired
}

/**
 * Goes through all directories, also those that are gone and whose rows are not, and settles whatever has no row or no file; opens
 * nothing else. Marks are read first, so that nothing pinned gets a row that may be evicted. Rejects with the signal's reason, by the
 * file system, or with a ProxyError of the catalogue.
 */
export async function reconcile(parts: RepairParts, signal: AbortSignal): Promise<Repaired> {
  const { layout, catalogue } = parts
  const repaired = nothingYet()
  const there = (await listed(layout.nars)).filter((name) => name.length === 2)
  for (const letters of new Set([...there, ...catalogue.must((index) => index.shards())])) {
    signal.throwIfAborted()
    const names = new Set(await listed(layout.shard(letters)))
    readMarks(parts, names)
    const rows = catalogue.must((index) => index.heldInShard(letters)).map(narFileOf)
    const held = new Set(rows)
    const odd = new Set(rows.filter((file) => !names.has(file) || !names.has(`${file}${sidecarEnding}`)))
    for (const name of names) {
      const file = name.endsWith(sidecarEnding) ? name.slice(0, -sidecarEnding.length) : name
      if (!held.has(file) && parseNarFileName(file)) odd.add(file)
    }
    await each([...odd], filesAtOnce, (file) => settle(parts, file, repaired), signal)
  }
  return repaired
}

/** Does something with each of a list, so many at once; rejects with the first failure, or the signal's reason, when those begun are over. */
export async function each<T>(
  list: readonly T[],
  atOnce: number,
  act: (item: T) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const items = list.values()
  const outcomes = await Promise.allSettled(
    Array.from({ length: atOnce }, async () => {
      for (const item of items) {
        signal.throwIfAborted()
        await act(item)
      }
    }),
  )
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

async function settle(parts: RepairParts, file: string, repaired: Repaired): Promise<void> {
  const { catalogue, shelves, memory } = parts
  const parsed = parseNarFileName(file)
  if (!parsed) return
  const key = { hash: parsed.hash, nar: narColumn(file) }
  await shelves.exclusive(file, async () => {
    const [size, sidecar] = [await shelves.size(file), await shelves.sidecar(file)]
    const row = catalogue.must((index) => index.row(key))
    const held = row !== undefined && row.size !== null
    if (held && row.size === size) {
      if (sidecar === undefined) await shelves.rewriteSidecar(file, row.narinfo)
      return
    }
    memory.forget(parsed.hash, file)
    if (held) catalogue.change((index) => index.release(key))
    if (size === undefined) {
      if (held) repaired.released++
      if (sidecar !== undefined) repaired.removed++
      return shelves.remove(file)
    }
    const said = readFirst(parts, file, [sidecar, row?.narinfo])
    if (held || (said && (said.narinfo.fileSize ?? size) !== size)) {
      await shelves.quarantine(file)
      repaired.quarantined++
    } else if (said) {
      if (said.text !== sidecar) await shelves.rewriteSidecar(file, said.text)
      await adopt(parts, { file, ...said, size, seen: row })
      repaired.adopted++
    } else if (catalogue.must((index) => index.mark(parsed.hash)) === 0) {
      await shelves.remove(file)
      repaired.removed++
    }
  })
}

interface Adopted {
  readonly file: string
  readonly narinfo: NarInfo
  readonly size: number
  readonly seen: Row | undefined
}

async function adopt(parts: RepairParts, { file, narinfo, size, seen }: Adopted): Promise<void> {
  const { catalogue, layout, source } = parts
  const changed = Math.round((await stat(layout.nar(file))).mtimeMs)
  catalogue.change((index) =>
    index.hold({
      hash: narinfo.storePath.hash,
      nar: narColumn(file),
      narinfo: printNarInfo(narinfo, narinfo.url),
      url: narinfo.url,
      source: seen?.source ?? source,
      signedBy: null,
      keys: '',
      recordedAt: changed,
      size,
      checked: narinfo.fileHash === undefined ? 'nar' : 'file',
      lastAccess: changed * 1000,
    }),
  )
}

/** The first of these texts that is a narinfo, and the one of that file. */
function readFirst(
  { storeDir }: RepairParts,
  file: string,
  texts: readonly (string | undefined)[],
): { readonly narinfo: NarInfo; readonly text: string } | undefined {
  for (const text of texts) {
    if (text === undefined) continue
    try {
      const narinfo = parseNarInfo(text, storeDir)
      if (narFileName(narinfo.storePath.hash, narIdentity(narinfo)) === file) return { narinfo, text }
    } catch {
      // The next.
    }
  }
  return undefined
}

function readMarks({ catalogue }: RepairParts, names: ReadonlySet<string>): void {
  const found = new Map<string, number>()
  for (const name of names) {
    const mark = marks.find((mark) => name.endsWith(`.${mark}`))
    if (!mark) continue
    const hash = name.slice(0, -mark.length - 1)
    found.set(hash, (found.get(hash) ?? 0) | keptBits[mark])
  }
  for (const [hash, kept] of found) {
    if (isStoreHash(hash) && catalogue.must((index) => index.mark(hash)) !== kept) {
      catalogue.change((index) => index.setMark(hash, kept))
    }
  }
}

function nothingYet(): Repaired {
  return { adopted: 0, released: 0, removed: 0, quarantined: 0 }
}
