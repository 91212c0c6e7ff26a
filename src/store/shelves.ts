// The NAR files themselves: put in place, opened, taken away, one change to a file at a time.

import { mkdir, open, readdir, readFile, rename, stat, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { parseNarFileName } from '../nix/nar-url.ts'
import type { StoreHash } from '../nix/store-path.ts'
import { syncDirectory, writeSynced } from './durable.ts'
import { commitEnding, sidecarEnding, type Layout } from './layout.ts'
import { systemCode } from './store-health.ts'

/** Altered files that are kept for a look, and the bytes of the largest. */
const quarantined = 16
const quarantinedBytes = 64 * 1024 * 1024

export class Shelves {
  readonly #layout: Layout
  readonly #changing = new Map<string, Promise<unknown>>()
  readonly #readers = new Map<string, number>()
  /** Directories of NARs that are being made, by path. */
  readonly #making = new Map<string, Promise<void>>()
  /** Changes to the names of these directories, and how many of them are on the disk for good. The first is what a killed program made. */
  #made = 1
  #settled = 0

  constructor({ layout }: { readonly layout: Layout }) {
    this.#layout = layout
  }

  /** Runs a change to one file (by file name) when the changes before it are over. */
  async exclusive<T>(file: string, change: () => Promise<T>): Promise<T> {
    const before = this.#changing.get(file)
    const mine = before ? before.then(change, change) : change()
    this.#changing.set(file, mine)
    try {
      return await mine
    } finally {
      if (this.#changing.get(file) === mine) this.#changing.delete(file)
    }
  }

  /** The same for a change to several files. Only one such change at a time: two could wait for each other. */
  exclusiveAll<T>(files: readonly string[], change: () => Promise<T>): Promise<T> {
    const [file, ...others] = files
    return file === undefined ? change() : this.exclusive(file, () => this.exclusiveAll(others, change))
  }

  /** Opens a NAR file for reading; undefined when it is not there or does not have this size, in bytes. Rejects by the file system. */
  async open(file: string, size: number): Promise<FileHandle | undefined> {
    let handle: FileHandle
    try {
      handle = await open(this.#layout.nar(file), 'r')
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw error
    }
    try {
      const found = await handle.stat()
      if (found.size === size) return handle
    } catch (error) {
      await handle.close()
      throw error
    }
    await handle.close()
    return undefined
  }

  /** Bytes of a NAR file; undefined when it is not there. */
  async size(file: string): Promise<number | undefined> {
    try {
      return (await stat(this.#layout.nar(file))).size
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** The text of the narinfo beside a NAR file; undefined when there is none. */
  async sidecar(file: string): Promise<string | undefined> {
    try {
      return await readFile(this.#layout.sidecar(file), 'utf8')
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** NAR files of a store path that have a narinfo beside them, looked up in the directory. */
  async filesOf(hash: StoreHash): Promise<readonly string[]> {
    const names = await listed(this.#layout.shard(hash))
    return names
      .filter((name) => name.startsWith(`${hash}-`) && name.endsWith(sidecarEnding))
      .map((name) => name.slice(0, -sidecarEnding.length))
      .filter((file) => parseNarFileName(file))
      .sort()
  }

  /**
   * Puts a NAR under its final name: its narinfo first, so that a NAR is never without; then, when both are on the disk for good,
   * `record`. Whatever fails leaves nothing behind but, at worst, what the next start finds by the `.commit` file.
   */
  async place(temp: string, file: string, narinfo: string, record: () => void): Promise<void> {
    const { nar, sidecar, shard } = this.#places(file)
    const [tempSidecar, underWay] = [`${temp}${sidecarEnding}`, `${temp}${commitEnding}`]
    try {
      await this.makeShard(file)
      await writeSynced(tempSidecar, narinfo)
      await (await open(underWay, 'w')).close()
      await rename(tempSidecar, sidecar)
      await rename(temp, nar)
      await syncDirectory(shard)
      record()
    } catch (error) {
      // The .commit file last: until it is gone the next start would look after the others.
      for (const path of [nar, sidecar, tempSidecar, temp, underWay]) await unlinked(path).catch(() => {})
      throw error
    }
    await unlinked(underWay).catch(() => {})
  }

  /**
   * Makes the directory of a NAR file or store hash. Resolves when it is on the disk for good, also for who finds it made: what he puts
   * there would go with it.
   */
  makeShard(name: string): Promise<void> {
    const shard = this.#layout.shard(name)
    const before = this.#making.get(shard)
    if (before) return before
    const making = this.#makeShard(shard).finally(() => this.#making.delete(shard))
    this.#making.set(shard, making)
    return making
  }

  async #makeShard(shard: string): Promise<void> {
    if ((await mkdir(shard, { recursive: true })) !== undefined) this.#made++
    const made = this.#made
    if (made === this.#settled) return
    await syncDirectory(this.#layout.nars)
    this.#settled = Math.max(this.#settled, made)
  }

  /** Replaces the narinfo beside a NAR file. */
  async rewriteSidecar(file: string, narinfo: string): Promise<void> {
    const { sidecar, shard } = this.#places(file)
    const temp = join(this.#layout.incoming, `${file}${sidecarEnding}`)
    await writeSynced(temp, narinfo)
    await rename(temp, sidecar)
    await syncDirectory(shard)
  }

  /** Takes a NAR file and its narinfo away; no matter which of them was there. */
  async remove(file: string): Promise<void> {
    const { nar, sidecar } = this.#places(file)
    await unlinked(nar)
    await unlinked(sidecar)
  }

  /** Takes an altered NAR file away, and keeps it for a look if it is not too large. */
  async quarantine(file: string): Promise<void> {
    const { quarantine } = this.#layout
    const size = await this.size(file)
    if (size !== undefined && size <= quarantinedBytes) {
      await mkdir(quarantine, { recursive: true })
      await rename(this.#layout.nar(file), join(quarantine, file))
      await this.#thinOut()
    }
    await this.remove(file)
  }

  /** Counts a reader of a NAR file in; the result counts it out. */
  reading(file: string): () => void {
    this.#readers.set(file, (this.#readers.get(file) ?? 0) + 1)
    return () => {
      const left = (this.#readers.get(file) ?? 1) - 1
      if (left > 0) this.#readers.set(file, left)
      else this.#readers.delete(file)
    }
  }

  /** The NAR files that are being read. */
  beingRead(): readonly string[] {
    return [...this.#readers.keys()]
  }

  isRead(file: string): boolean {
    return this.#readers.has(file)
  }

  async #thinOut(): Promise<void> {
    const { quarantine } = this.#layout
    const names = await listed(quarantine)
    if (names.length <= quarantined) return
    const aged = await Promise.all(
      names.map(async (name) => ({ name, changed: (await stat(join(quarantine, name))).ctimeMs })),
    )
    aged.sort((a, b) => a.changed - b.changed)
    for (const { name } of aged.slice(0, -quarantined)) await unlinked(join(quarantine, name))
  }

  #places(file: string): { nar: string; sidecar: string; shard: string } {
    const layout = this.#layout
    return { nar: layout.nar(file), sidecar: layout.sidecar(file), shard: layout.shard(file) }
  }
}

/** The names in a directory; none when it is not there. */
export async function listed(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}

async function unlinked(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
