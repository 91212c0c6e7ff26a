// What a power cut may leave of a store: everything that the program did not wait for may be missing.
//
// The program's own journal (faults.js) says what it synced. Of the names it moved, removed or made without syncing their directory
// afterwards, those from some moment on are as they were (file systems keep the order of names); bytes it did not sync are cut at some
// length; the catalogue's log, which is not waited for after the start, is cut somewhere. Not shown: a disk that lies about a sync, a file
// system that reorders names, and blocks written in part.

import { link, open, readdir, readFile, rename, rm, stat, truncate } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

export interface Cut {
  readonly store: string
  readonly journal: string
  readonly random: () => number
}

/** What was taken away, counted. */
export interface Lost {
  names: number
  bytes: number
  directories: number
  log: number
}

/** Cuts the power under a program that has been killed. */
export async function cutPower({ store, journal, random }: Cut): Promise<Lost> {
  const lost: Lost = { names: 0, bytes: 0, directories: 0, log: 0 }
  const lines = (await readFile(journal, 'utf8').catch(() => ''))
    .split('\n')
    .filter((line) => line !== '')
    .map((line): readonly string[] => JSON.parse(line))
  const syncedAfter = (path: string, index: number): boolean =>
    lines.some(([op, synced], at) => at > index && op === 'synced' && synced === path)

  // Bytes, by the name that the file had when it was written.
  for (const [index, [op, path = '']] of lines.entries()) {
    if (op !== 'open' || syncedAfter(path, index)) continue
    // The same file under a second name (an upload), which was synced.
    if (lines.some(([op, from, linked = '']) => op === 'link' && from === path && syncedAfter(linked, index))) continue
    const name = lines.findLast(([op, from]) => op === 'rename' && from === path)?.[2]
    for (const file of name === undefined ? [path] : [path, name]) {
      const size = await stat(file).then(
        ({ size }) => size,
        () => 0,
      )
      if (size === 0) continue
      await truncate(file, Math.floor(random() * (size + 1)))
      lost.bytes++
    }
  }
  // Names, the last first.
  const since = Math.floor(random() * lines.length)
  for (const [index, [op, path = '', to = '']] of [...lines.entries()].slice(since).toReversed()) {
    if (op === 'rename' && !syncedAfter(dirname(to), index)) {
      if (
        await rename(to, path).then(
          () => true,
          () => false,
        )
      )
        lost.names++
    } else if ((op === 'unlink' || op === 'rm') && path.includes('/v1/nar/') && !syncedAfter(dirname(path), index)) {
      const removed = join(`${journal}.removed`, basename(path))
      if (
        await link(removed, path).then(
          () => true,
          () => false,
        )
      )
        lost.names++
    } else if (op === 'mkdir' && dirname(path).endsWith('/v1/nar') && !syncedAfter(dirname(path), index)) {
      const first = lines.findIndex(([op, made]) => op === 'mkdir' && made === path) === index
      if (!first || (await readdir(path).catch(() => [])).length === 0) continue
      await rm(path, { recursive: true })
      lost.directories++
    }
  }
  await cutLog(join(store, 'v1', 'catalogue.sqlite'), random, lost)
  return lost
}

/**
 * The log may be lost from anywhere on; not once some of it has been moved into the catalogue, for which SQLite waits for it. Its index
 * says so (sqlite.org/walformat.html: nBackfill, nBackfillAttempted).
 */
async function cutLog(file: string, random: () => number, lost: Lost): Promise<void> {
  const index = await readFile(`${file}-shm`).catch(() => undefined)
  const log = await open(`${file}-wal`, 'r+').catch(() => undefined)
  if (!log) return
  try {
    if (!index || index.readUInt32LE(96) !== 0 || index.readUInt32LE(128) !== 0) return
    const { size } = await log.stat()
    // Often all of it: nothing makes the system write it soon.
    await log.truncate(random() < 0.5 ? 0 : Math.floor(random() * size))
    await rm(`${file}-shm`, { force: true })
    lost.log++
  } finally {
    await log.close()
  }
}
