// After a crash, wherever it came, an entry is whole or not there, and nothing is left lying about.

import { mkdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { describe, expect, test } from 'vitest'

import { Sqlite } from '../../src/store/sqlite.js'
import type { SyntheticEntry } from '../support/synthetic-cache.ts'
import { fileOf, holds, pathOf, put, read, storeFixture, type StoreFixture } from './store-fixture.ts'

type Step = (fixture: StoreFixture, entry: SyntheticEntry) => Promise<void>

/** Where a commit has its files before they are moved. */
function incoming({ root }: StoreFixture, entry: SyntheticEntry, ending = ''): string {
  return join(root, 'v1', 'incoming', `${fileOf(entry)}.7${ending}`)
}

const steps: readonly (readonly [string, Step])[] = [
  ['half of the NAR was written', (f, e) => writeFile(incoming(f, e), e.file.subarray(0, 100))],
  ['all of it was written', (f, e) => writeFile(incoming(f, e), e.file)],
  ['half of the narinfo was written', (f, e) => writeFile(incoming(f, e, '.narinfo'), e.narinfo.slice(0, 50))],
  ['all of the narinfo was written', (f, e) => writeFile(incoming(f, e, '.narinfo'), e.narinfo)],
  ['the commit was announced', (f, e) => writeFile(incoming(f, e, '.commit'), '')],
  [
    'the narinfo was moved',
    async (f, e) => {
      await mkdir(dirname(pathOf(f, e)), { recursive: true })
      await rename(incoming(f, e, '.narinfo'), `${pathOf(f, e)}.narinfo`)
    },
  ],
  ['the NAR was moved', (f, e) => rename(incoming(f, e), pathOf(f, e))],
]

describe('a crash after', () => {
  test.each(steps.map(([name], index) => [name, index] as const))('%s (cases 121, 122)', async (_name, index) => {
    const fixture = await storeFixture()
    await (await fixture.open()).close()
    const hello = fixture.add(10_000)
    for (const [, step] of steps.slice(0, index + 1)) await step(fixture, hello)
    const whole = index === steps.length - 1

    const store = await fixture.open()

    expect(await holds(store, hello)).toBe(whole)
    expect(await fixture.files()).toEqual(whole ? [fileOf(hello), `${fileOf(hello)}.narinfo`] : [])
    expect(store.stats()).toMatchObject({ bytes: whole ? 10_000 : 0, nars: whole ? 1 : 0, rebuilding: false })
    if (!whole) await put(store, hello)
    expect(await read(store, hello)).toEqual(hello.file)
  })

  test('the row was written leaves the entry once', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open()
    const hello = fixture.add(10_000)
    await put(store, hello)
    await store.close()
    await writeFile(incoming(fixture, hello, '.commit'), '')

    store = await fixture.open()

    expect(await read(store, hello)).toEqual(hello.file)
    expect([...store.list()][0]).toMatchObject({ from: 'upstream' })
    expect(store.stats()).toMatchObject({ bytes: 10_000, nars: 1 })
    expect(await fixture.files()).toHaveLength(2)
  })

  test('the NARs of evicted entries were removed leaves nothing but their narinfos', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open()
    // As many as are evicted at once.
    const entries = Array.from({ length: 16 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    await store.close()
    for (const entry of entries) await unlink(pathOf(fixture, entry))

    store = await fixture.open()

    // Evictions take the least recent, so that is where the start looks for those that were cut short.
    expect(store.stats()).toMatchObject({ bytes: 0, nars: 0, narinfos: 16 })
    expect(await fixture.files()).toEqual([])
    for (const entry of entries) expect(await holds(store, entry)).toBe(false)
  })
})

describe('after a power cut', () => {
  /** A closed store with one entry whose row is lost, and one that is not; `open` is what the catalogue says of the last boot. */
  async function cut(fixture: StoreFixture, open: string | undefined): Promise<readonly SyntheticEntry[]> {
    const store = await fixture.open()
    const [kept, lost] = [fixture.add(10_000), fixture.add(20_000)]
    await put(store, kept)
    await put(store, lost)
    await store.close()
    const catalogue = new Sqlite(join(fixture.root, 'v1', 'catalogue.sqlite'))
    catalogue.prepare('DELETE FROM entries WHERE hash = ?').run(lost.hash)
    if (open !== undefined) catalogue.prepare(`INSERT INTO meta VALUES ('open', ?)`).run(open)
    catalogue.close()
    return [kept, lost]
  }

  test('NARs whose rows were not yet on the disk are found again', async () => {
    const fixture = await storeFixture()
    const [, lost] = await cut(fixture, 'another boot')

    const store = await fixture.open()
    await store.settled()

    expect(await read(store, lost!)).toEqual(lost!.file)
    expect(store.stats()).toMatchObject({ bytes: 30_000, nars: 2 })
    // What was known of the other is still known.
    expect([...store.list()].map(({ from }) => from)).toEqual(['upstream', 'store'])
  })

  test('NARs whose directory was not yet on the disk have no row any more', async () => {
    const fixture = await storeFixture()
    const [kept, lost] = await cut(fixture, 'another boot')
    await rm(dirname(pathOf(fixture, kept!)), { recursive: true })
    // The start itself looks at those that would be evicted next, and finds it without going through all.
    const catalogue = new Sqlite(join(fixture.root, 'v1', 'catalogue.sqlite'))
    catalogue.prepare('UPDATE entries SET kept = 1').run()
    catalogue.close()

    const store = await fixture.open()
    await store.settled()

    expect(store.stats()).toMatchObject({ bytes: 20_000, nars: 1 })
    expect(await holds(store, kept!)).toBe(false)
    expect(await read(store, lost!)).toEqual(lost!.file)
  })

  test('they are found by the next start when this one is too short for it', async () => {
    const fixture = await storeFixture()
    const [, lost] = await cut(fixture, 'another boot')
    await (await fixture.open()).close()

    const store = await fixture.open()
    await store.settled()

    expect(await read(store, lost!)).toEqual(lost!.file)
  })

  test.each([
    ['closed', () => Promise.resolve(undefined)],
    ['killed in the same boot', async () => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()],
  ])('nothing is looked for in a store that was %s', async (_how, boot) => {
    const fixture = await storeFixture()
    const [, lost] = await cut(fixture, await boot())

    const store = await fixture.open()

    expect(store.stats().rebuilding).toBe(false)
    await store.settled()
    expect(await holds(store, lost!)).toBe(false)
  })
})

test('a directory that somebody tidied away is made again', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const [first, second] = [fixture.add(), fixture.add()]
  await put(store, first)
  await rm(join(fixture.root, 'v1', 'incoming'), { recursive: true })
  await rm(join(fixture.root, 'v1', 'nar'), { recursive: true })

  await put(store, second)

  expect(await read(store, second)).toEqual(second.file)
  await expect(read(store, first)).rejects.toMatchObject({ code: 'gone' })
})
