// The catalogue can be lost, at the start or while the store is serving: everything is found all the same, and has its row again soon.

import { randomBytes } from 'node:crypto'
import { appendFile, open, readdir, readFile, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { describe, expect, test } from 'vitest'

import { narIdentity } from '../../src/nix/nar-url.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { Sqlite } from '../../src/store/sqlite.js'
import { question } from '../support/scripted-substituter.ts'
import type { SyntheticEntry } from '../support/synthetic-cache.ts'
import { fileOf, holds, pathOf, put, read, storeFixture, substituteOf, type StoreFixture } from './store-fixture.ts'

function catalogueOf({ root }: StoreFixture): string {
  return join(root, 'v1', 'catalogue.sqlite')
}

/** A closed store with these three: plain, pinned, uploaded. */
async function filled(fixture: StoreFixture): Promise<readonly SyntheticEntry[]> {
  const store = await fixture.open()
  const entries = [fixture.add(10_000), fixture.add(20_000), fixture.add(30_000)]
  for (const [index, entry] of entries.entries()) await put(store, entry, { uploaded: index === 2 })
  await store.pin(entries[1]!.hash)
  await store.close()
  return entries
}

const losses: readonly (readonly [string, (path: string) => Promise<void>])[] = [
  ['is missing', (path) => rm(path)],
  ['is empty', (path) => truncate(path)],
  ['is no database', (path) => writeFile(path, 'not a database, but long enough to be taken for one'.repeat(100))],
  ['is cut in the middle', (path) => truncate(path, 5000)],
  [
    'is of a newer version',
    async (path) => {
      const database = new Sqlite(path)
      database.exec('ALTER TABLE entries ADD COLUMN more TEXT; PRAGMA user_version = 99')
      database.close()
    },
  ],
  [
    'is of an older version',
    async (path) => {
      await rm(path)
      const database = new Sqlite(path)
      database.exec('CREATE TABLE old (x); PRAGMA user_version = 0')
      database.close()
    },
  ],
]

describe('a catalogue that', () => {
  test.each(losses)('%s at the start is made again from the files (case 126)', async (_how, lose) => {
    const fixture = await storeFixture()
    const entries = await filled(fixture)
    await lose(catalogueOf(fixture))

    const store = await fixture.open()
    // At once, from the directories.
    for (const entry of entries) expect(await read(store, entry)).toEqual(entry.file)
    const nar = narIdentity(parseNarInfo(entries[0]!.narinfo, '/nix/store'))
    expect(await store.find({ hash: entries[0]!.hash, nar }, question())).toBeDefined()
    await store.settled()

    expect(store.stats()).toMatchObject({ bytes: 60_000, nars: 3, state: 'ok', rebuilding: false })
    const listed = [...store.list()].sort((a, b) => a.size - b.size)
    expect(listed.map(({ narinfo }) => narinfo)).toEqual(entries.map(({ narinfo }) => narinfo))
    expect(listed.map(({ pinned, uploaded }) => [pinned, uploaded])).toEqual([
      [false, false],
      [true, false],
      [false, true],
    ])
    for (const entry of entries) expect(await read(store, entry)).toEqual(entry.file)
  })

  test.each(losses.slice(0, 1))('%s is not made again twice', async (_how, lose) => {
    const fixture = await storeFixture()
    await filled(fixture)
    await lose(catalogueOf(fixture))
    let store = await fixture.open()
    await store.settled()
    await store.close()
    const { ino } = await stat(catalogueOf(fixture))
    fixture.lines.length = 0

    store = await fixture.open()

    expect(store.stats()).toMatchObject({ nars: 3, rebuilding: false })
    expect((await stat(catalogueOf(fixture))).ino).toBe(ino)
    expect(fixture.lines).toEqual([])
  })

  test('was only half made again is finished by the next start', async () => {
    const fixture = await storeFixture()
    const entries = await filled(fixture)
    await rm(catalogueOf(fixture))
    let store = await fixture.open()
    await store.close()

    store = await fixture.open()
    for (const entry of entries) expect(await read(store, entry)).toEqual(entry.file)
    await store.settled()

    expect(store.stats()).toMatchObject({ bytes: 60_000, nars: 3 })
  })

  test('was of no use is kept aside, one of them', async () => {
    const fixture = await storeFixture()
    await filled(fixture)
    for (const text of ['first', 'second']) {
      await writeFile(catalogueOf(fixture), `${text} rubbish`.repeat(100))
      await (await fixture.open()).close()
    }

    const aside = (await readdir(join(fixture.root, 'v1'))).filter((name) => name.includes('aside'))
    expect(aside).toEqual(['catalogue.set-aside.sqlite'])
    expect(await readFile(join(fixture.root, 'v1', aside[0]!), 'utf8')).toMatch(/^second/)
    expect(fixture.logged('warn')).toHaveLength(2)
  })

  test('is deleted while the store is open is made again (case 125)', async () => {
    const fixture = await storeFixture()
    const entries = await filled(fixture)
    const store = await fixture.open({ memory: 0 })
    for (const ending of ['', '-wal', '-shm']) await rm(`${catalogueOf(fixture)}${ending}`)

    for (const entry of entries) expect(await read(store, entry)).toEqual(entry.file)
    const more = fixture.add(5000)
    await put(store, more)
    expect([...store.list()]).toBeDefined()
    await store.settled()

    expect(store.stats()).toMatchObject({ bytes: 65_000, nars: 4, state: 'ok' })
    expect(fixture.logged('warn')).toHaveLength(1)
    await store.close()
    expect(await read(await fixture.open(), more)).toEqual(more.file)
  })

  test('turns out corrupt while the store is open is made again, and every hit is a hit', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open()
    const entries = Array.from({ length: 200 }, () => fixture.add(200))
    for (const entry of entries) await put(store, entry)
    await store.close()
    // All pages but the first, which says that it is a database.
    const { size } = await stat(catalogueOf(fixture))
    const file = await open(catalogueOf(fixture), 'r+')
    await file.write(randomBytes(size - 4096), 0, size - 4096, 4096)
    await file.close()

    store = await fixture.open()
    for (const entry of entries) expect(await holds(store, entry)).toBe(true)
    await store.settled()

    expect(store.stats()).toMatchObject({ nars: 200, state: 'ok', rebuilding: false })
    for (const entry of entries) expect(await read(store, entry)).toEqual(entry.file)
  })
})

describe('a rebuild', () => {
  test('forgets what was only seen, and goes on serving', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const [hello, seen] = [fixture.add(10_000), fixture.add()]
    await put(store, hello)
    store.remember(substituteOf(seen))

    const rebuilding = store.rebuild()
    expect(await read(store, hello)).toEqual(hello.file)
    const more = fixture.add(20_000)
    await put(store, more)

    expect(await rebuilding).toMatchObject({ removed: 0, quarantined: 0 })
    expect(store.stats()).toMatchObject({ bytes: 30_000, nars: 2 })
    for (const entry of [hello, more]) expect(await read(store, entry)).toEqual(entry.file)
  })

  test('removes what is of no use, and sets aside what was altered', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const entries = Array.from({ length: 5 }, () => fixture.add(10_000))
    const [good, altered, bare, alone, unreadable] = entries
    for (const entry of entries) await put(store, entry)
    await appendFile(pathOf(fixture, altered!), 'x')
    await unlink(pathOf(fixture, bare!))
    await unlink(`${pathOf(fixture, alone!)}.narinfo`)
    await writeFile(`${pathOf(fixture, unreadable!)}.narinfo`, '<html>')

    const repaired = await store.rebuild()

    expect(repaired).toEqual({ adopted: 1, released: 0, removed: 3, quarantined: 1 })
    expect(await fixture.files()).toEqual([fileOf(altered!), fileOf(good!), `${fileOf(good!)}.narinfo`].sort())
    expect(store.stats()).toMatchObject({ bytes: 10_000, nars: 1 })
  })

  test('leaves an upload alone whose narinfo cannot be read', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add(10_000)
    await put(store, hello, { uploaded: true })
    await writeFile(`${pathOf(fixture, hello)}.narinfo`, '<html>')

    await store.rebuild()

    expect(await holds(store, hello)).toBe(false)
    expect(await fixture.files()).toHaveLength(3)
  })
})
