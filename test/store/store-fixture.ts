// A store in a fresh directory, and ways to put the entries of a SyntheticCache into it.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { onTestFinished } from 'vitest'

import { createLog, type Log } from '../../src/log.ts'
import { narFileName, narIdentity } from '../../src/nix/nar-url.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import type { StoreHash } from '../../src/nix/store-path.ts'
import { DiskStore, type DiskStoreOptions } from '../../src/store/disk-store.ts'
import { diskError } from '../../src/store/gathered-writer.ts'
import type { Substitute } from '../../src/substituter.ts'
import { question } from '../support/scripted-substituter.ts'
import { bytesOf } from '../support/substituter-conformance.ts'
import { SyntheticCache, type EntryOptions, type SyntheticEntry } from '../support/synthetic-cache.ts'

export class StoreFixture {
  readonly cache = new SyntheticCache()
  /** What was logged, a line each. */
  readonly lines: string[] = []
  readonly log: Log = createLog({ level: 'debug', format: 'text', write: (line) => this.lines.push(line) })
  readonly root: string
  readonly #opened: DiskStore[] = []

  constructor(root: string) {
    this.root = root
  }

  async open(options: Partial<DiskStoreOptions> = {}): Promise<DiskStore> {
    const store = await DiskStore.open(this.options(options))
    this.#opened.push(store)
    return store
  }

  options(options: Partial<DiskStoreOptions> = {}): DiskStoreOptions {
    return {
      root: this.root,
      storeDir: '/nix/store',
      keys: [parsePublicKey(this.cache.publicKey)],
      maxSize: undefined,
      minFree: 0,
      memory: 1024 * 1024,
      log: this.log,
      ...options,
    }
  }

  /** Lines of this level. */
  logged(level: string): readonly string[] {
    return this.lines.filter((line) => line.includes(` ${level.padEnd(5)} `))
  }

  async cleanup(): Promise<void> {
    for (const store of this.#opened) await store.close()
    await rm(this.root, { recursive: true, force: true })
  }

  /** An entry of so many bytes. */
  add(size = 1000, options: EntryOptions = {}): SyntheticEntry {
    return this.cache.add({ content: randomBytes(size - 112), ...options })
  }

  /** All files under the store's NAR directory, temporary ones included, by name. */
  async files(): Promise<readonly string[]> {
    const names = await readdir(join(this.root, 'v1'), { recursive: true, withFileTypes: true })
    return names
      .filter((entry) => entry.isFile() && /(nar|incoming|quarantine)(\/|$)/.test(entry.parentPath))
      .map(({ name }) => name)
      .sort()
  }
}

/** A fixture that is cleaned up when the test has finished. */
export async function storeFixture(): Promise<StoreFixture> {
  const fixture = new StoreFixture(await mkdtemp(join(tmpdir(), 'substrata-store-')))
  onTestFinished(() => fixture.cleanup())
  return fixture
}

/** An entry as an upstream gives it. */
export function substituteOf({ narinfo }: Pick<SyntheticEntry, 'narinfo'>, from = 'upstream'): Substitute {
  return {
    narinfo: parseNarInfo(narinfo, '/nix/store'),
    from,
    signedBy: 'cache.test-1',
    peer: false,
    open: () => Promise.reject(new Error('not opened in these tests')),
  }
}

/** Reserves, writes and commits. */
export async function put(store: DiskStore, entry: SyntheticEntry, options?: { uploaded: boolean }): Promise<void> {
  const reservation = await store.reserve(substituteOf(entry), entry.file.length, options)
  try {
    await reservation.file.writeFile(entry.file)
    await reservation.commit('nar', entry.file.length)
  } catch (error) {
    await reservation.discard(error)
    throw diskError(error)
  } finally {
    await reservation.file.close()
  }
}

/** What the store answers for a path. */
export function ask(store: DiskStore, hash: StoreHash): Promise<Substitute | undefined> {
  return store.find({ hash }, question())
}

/** Whether the store finds a path. */
export async function holds(store: DiskStore, { hash }: { readonly hash: StoreHash }): Promise<boolean> {
  return (await ask(store, hash)) !== undefined
}

/** The NAR file of a path, read through the store. */
export async function read(store: DiskStore, { hash }: { readonly hash: StoreHash }): Promise<Buffer> {
  const held = await ask(store, hash)
  if (!held) throw new Error(`the store has no ${hash}`)
  return bytesOf(await held.open(undefined, new AbortController().signal))
}

/** The file name under which an entry is kept. */
export function fileOf(entry: Pick<SyntheticEntry, 'narinfo'>): string {
  const narinfo = parseNarInfo(entry.narinfo, '/nix/store')
  return narFileName(narinfo.storePath.hash, narIdentity(narinfo))
}

/** Where it lies in the store of a fixture. */
export function pathOf({ root }: { readonly root: string }, entry: Pick<SyntheticEntry, 'narinfo'>): string {
  const file = fileOf(entry)
  return join(root, 'v1', 'nar', file.slice(0, 2), file)
}
