// What a power cut may leave of a store: whatever the program did not wait for may be missing.
//
// The program's own journal (faults.js) says when each change began and was done, and the same of each sync. What was done before a sync
// of it began, and that sync was done, stays. Of the rest a power cut here takes away:
//
//   names   created, moved, linked, removed or replaced: in each directory all from some moment on are as they were, whatever became of
//           those in other directories. A move is made good by a sync of the directory it ends in, and is never half done
//   made    directories, with all that is in them, unless the directory above was synced after they were made
//   bytes   of files written and not synced since: missing, or zeros, from some length on
//   log     the catalogue's, which is not waited for: missing, or zeros, from anywhere on behind what has been moved into the catalogue
//
// That is more than a journalled file system takes, which keeps the order of all names: where it does, the sync of one makes all earlier
// ones good. Never taken is what the disk had when the program started, so a directory that was there before stays, though the program
// asked for it again. Not shown: a disk that lies about a sync, a file system that reorders names in a directory, pages of the catalogue's
// own file that a checkpoint was writing (the log still has them), and a cut soon after a stop in peace.

import { link, open, readdir, readFile, rename, rm, rmdir, stat, truncate, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface Cut {
  readonly store: string
  readonly journal: string
  readonly random: () => number
}

/** What was taken away, in words. */
export interface Lost {
  readonly names: string[]
  readonly made: string[]
  readonly bytes: string[]
  readonly log: string[]
}

/** A line of the journal: something begins. */
interface Begun {
  readonly line: string
  readonly op: string
  readonly path: string
  readonly to?: string
  /** Whether there was something under the name that changes. */
  readonly existed: boolean
  /** Of a file that is written or synced. */
  readonly ino?: number
}

/** The line that says that it is done. */
interface Done {
  readonly done: string
  /** Of mkdir: whether there was none before. */
  readonly made?: boolean
}

/** Something that was done, with its places in the journal. */
interface Act extends Begun {
  readonly began: number
  readonly ended: number
  /** False: its program died over it, and it may have been done or not. */
  readonly finished: boolean
  readonly made: boolean
}

/** Cuts the power under a program that has been killed. */
export async function cutPower({ store, journal, random }: Cut): Promise<Lost> {
  const lost: Lost = { names: [], made: [], bytes: [], log: [] }
  const acts = await read(journal)
  await loseBytes(acts, [join(store, 'v1'), `${journal}.removed`], random, lost)
  await loseNames(acts, join(store, 'v1'), `${journal}.removed`, random, lost)
  await loseLog(join(store, 'v1', 'catalogue.sqlite'), random, lost)
  return lost
}

async function read(journal: string): Promise<readonly Act[]> {
  const lines = (await readFile(journal, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line): Begun | Done => JSON.parse(line))
  const ends = new Map<string, { readonly ended: number; readonly made: boolean }>()
  for (const [ended, line] of lines.entries()) {
    if ('done' in line) ends.set(line.done, { ended, made: line.made === true })
  }
  /** What a program that was killed left unfinished is decided when the next one begins. */
  const death = (line: string, began: number): number => {
    const next = lines.findIndex((other, at) => at > began && programOf(other) !== programOf({ done: line }))
    return next < 0 ? Infinity : next
  }
  return lines.flatMap((line, began): readonly Act[] => {
    if ('done' in line) return []
    const end = ends.get(line.line)
    const ended = end?.ended ?? death(line.line, began)
    return [{ ...line, began, ended, finished: end !== undefined, made: end?.made === true }]
  })
}

function programOf(line: Begun | Done): string {
  return ('done' in line ? line.done : line.line).split('.')[0] ?? ''
}

async function loseBytes(
  acts: readonly Act[],
  places: readonly string[],
  random: () => number,
  lost: Lost,
): Promise<void> {
  const syncs = acts.filter(({ op, finished }) => op.endsWith('sync') && finished)
  const loose = new Set(
    acts
      .filter(({ op, ino, ended }) => op === 'write' && !syncs.some((sync) => sync.ino === ino && sync.began >= ended))
      .map(({ ino }) => ino),
  )
  for (const place of places) {
    for (const entry of await readdir(place, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      const { ino, size } = await stat(path)
      // Once, whatever the number of its names.
      if (!loose.delete(ino) || size === 0) continue
      const from = Math.floor(random() * (size + 1))
      await truncate(path, from)
      if (random() < 0.5) await truncate(path, size)
      lost.bytes.push(`${path} from ${from} of ${size}`)
    }
  }
}

async function loseNames(
  acts: readonly Act[],
  top: string,
  removed: string,
  random: () => number,
  lost: Lost,
): Promise<void> {
  const syncs = acts.filter(({ op, finished }) => op === 'sync' && finished)
  const loose = new Map<string, Act[]>()
  for (const act of acts) {
    if (!changesName(act)) continue
    const directory = dirname(act.to ?? act.path)
    if (!`${directory}/`.startsWith(`${top}/`)) continue
    if (syncs.some(({ path, began }) => path === directory && began >= act.ended)) continue
    loose.set(directory, [...(loose.get(directory) ?? []), act])
  }
  const undone = [...loose.values()].flatMap((some) => some.slice(Math.floor(random() * (some.length + 1))))
  for (const act of undone.sort((a, b) => b.began - a.began)) {
    if (await undo(act, removed)) (act.op === 'mkdir' ? lost.made : lost.names).push(`${act.op} ${act.to ?? act.path}`)
  }
}

function changesName({ op, existed, made, finished }: Act): boolean {
  if (op === 'mkdir') return made || (!existed && !finished)
  return op === 'rename' || op === 'rm' || op === 'unlink' || (!existed && creators.has(op))
}

const creators = new Set(['open', 'writeFile', 'link', 'copyFile'])

/** False: it had not been done, or what came later hides it. */
async function undo({ op, line, path, to = path, finished }: Act, removed: string): Promise<boolean> {
  const before = join(removed, line)
  if (op === 'rename') {
    // Not done when the program died: what is there under the new name is another file.
    if (await isThere(path)) return false
    return (await works(rename(to, path))) && (await works(link(before, to)), true)
  }
  if (op === 'rm' || op === 'unlink') return works(link(before, path))
  if (op === 'mkdir') return works(finished ? rm(path, { recursive: true }) : rmdir(path))
  return works(rm(to))
}

function works(change: Promise<unknown>): Promise<boolean> {
  return change.then(
    () => true,
    () => false,
  )
}

function isThere(path: string): Promise<boolean> {
  return works(stat(path))
}

/** SQLite waits for the log before it moves some of it into the catalogue; the log's index says how much (sqlite.org/walformat.html). */
async function loseLog(file: string, random: () => number, lost: Lost): Promise<void> {
  const index = await readFile(`${file}-shm`).catch(() => undefined)
  // A power cut leaves no index either.
  await rm(`${file}-shm`, { force: true })
  const log = await open(`${file}-wal`, 'r+').catch(() => undefined)
  if (!log) return
  try {
    if (index) await cutLog(log, index, random, lost)
  } finally {
    await log.close()
  }
}

async function cutLog(log: FileHandle, index: Buffer, random: () => number, lost: Lost): Promise<void> {
  const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
  const word = (at: number): number => (little ? index.readUInt32LE(at) : index.readUInt32BE(at))
  const pageSize = little ? index.readUInt16LE(14) : index.readUInt16BE(14)
  const moved = Math.max(word(96), word(128))
  const { size } = await log.stat()
  const kept = moved === 0 ? 0 : Math.min(size, 32 + moved * (24 + pageSize))
  if (kept === size) return
  // Often all of it: nothing makes the system write it soon.
  const from = random() < 0.5 ? kept : kept + Math.floor(random() * (size - kept))
  await log.truncate(from)
  if (random() < 0.5) await log.truncate(size)
  lost.log.push(`from ${from} of ${size}, ${kept} were moved`)
}
