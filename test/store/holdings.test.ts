// Promise: a narinfo that is read straight from the catalogue is the one that an ordinary question finds, or there is none.

import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { parseNarInfo, printNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'
import { Sqlite } from '../../src/store/sqlite.js'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'
import {
  ask,
  fileOf,
  holds,
  pathOf,
  put,
  read,
  storeFixture,
  substituteOf,
  type StoreFixture,
} from './store-fixture.ts'

function nobodysHash(): StoreHash {
  const hash = '0'.repeat(32)
  if (!isStoreHash(hash)) throw new Error(`${hash} is no store hash`)
  return hash
}

/** The same path with other bytes in its NAR file. */
function twin(fixture: StoreFixture, { hash }: SyntheticEntry): SyntheticEntry {
  return fixture.add(2000, { hash, compression: 'gzip' })
}

test('the narinfos of held paths are found at once, those of others are not', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const [held, other, seen] = [fixture.add(), fixture.add(), fixture.add()]
  for (const entry of [held, other]) await put(store, entry)
  store.remember(substituteOf(seen))

  const [first, second, ...none] = store.recite([held.hash, other.hash, seen.hash, nobodysHash()])

  expect(first).toEqual({ text: held.narinfo, file: fileOf(held) })
  expect(second).toEqual({ text: other.narinfo, file: fileOf(other) })
  expect(none).toEqual([undefined, undefined])
})

test('what is asked for again is for memory, which knows it from then on', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add()
  await put(store, hello)
  expect(store.recite([hello.hash, hello.hash])).toEqual([expect.anything(), undefined])
  expect(store.recall(hello.hash)).toBeUndefined()

  await ask(store, hello.hash)

  expect(store.recall(hello.hash)?.narinfo.storePath.hash).toBe(hello.hash)
})

test.each(['CRLF', 'spaces', 'a comment'])(
  'it is as an ordinary question finds it, though it was sent with %s',
  async (odd) => {
    const fixture = await storeFixture()
    const hello = fixture.add()
    const sent = {
      CRLF: hello.narinfo.replaceAll('\n', '\r\n'),
      spaces: hello.narinfo.replaceAll(': ', ':   '),
      'a comment': `# hello\n${hello.narinfo}\n\n`,
    }[odd]
    const sidecar = `${pathOf(fixture, hello)}.narinfo`
    const store = await fixture.open()
    await put(store, hello)
    await store.close()
    // The catalogue is lost, and the files are all that is left.
    for (const ending of ['', '-wal', '-shm'])
      await rm(join(fixture.root, 'v1', `catalogue.sqlite${ending}`), { force: true })
    await writeFile(sidecar, sent ?? '')

    const again = await fixture.open()
    await again.settled()
    const found = await ask(again, hello.hash)
    // Whose keys vouch for it has been decided now, and is written down at the end.
    await again.close()
    const later = await fixture.open()

    expect(found && printNarInfo(found.narinfo, found.narinfo.url)).toBe(hello.narinfo)
    expect(later.recite([hello.hash])[0]?.text).toBe(hello.narinfo)
  },
)

test('of several NARs of a path it is the narinfo of the one that is found', async () => {
  const fixture = await storeFixture()
  let now = 1_000_000
  const store = await fixture.open({ now: () => now })
  const hello = fixture.add()
  const other = twin(fixture, hello)
  await put(store, hello)
  now += 1000
  await put(store, other)

  expect(store.recite([hello.hash])[0]?.file).toBe(fileOf(hello))
  expect((await ask(store, hello.hash))?.narinfo.url).toBe(parseNarInfo(hello.narinfo, '/nix/store').url)
})

test('what was let go of is not found any more', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add()
  await put(store, hello)
  await rm(pathOf(fixture, hello))
  await expect(read(store, hello)).rejects.toMatchObject({ code: 'gone' })

  expect(store.recite([hello.hash])).toEqual([undefined])
})

test('other keys than those that vouched for it: nobody has decided yet', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add()
  await put(store, hello)
  await store.close()

  const strict = await fixture.open({ keys: [parsePublicKey(new SyntheticCache().publicKey)] })
  expect(strict.recite([hello.hash])).toEqual([undefined])
  expect(await holds(strict, hello)).toBe(false)
  await strict.close()

  const trusting = await fixture.open({ keys: [] })
  expect(trusting.recite([hello.hash])).toEqual([expect.objectContaining({ text: hello.narinfo })])
})

test('another store directory: it is no path of ours', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add()
  await put(store, hello)
  await store.close()

  const elsewhere = await fixture.open({ storeDir: '/elsewhere/store' })
  expect(elsewhere.recite([hello.hash])).toEqual([undefined])
})

test('without a catalogue that can be asked there is none, and the ordinary question goes to the files', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open({ memory: 0 })
  const hello = fixture.add()
  await put(store, hello)
  const database = new Sqlite(join(fixture.root, 'v1', 'catalogue.sqlite'))
  database.exec('DROP TABLE entries')
  database.close()

  expect(store.recite([hello.hash])).toEqual([])
  expect(await holds(store, hello)).toBe(true)
})

test('that nothing is known of a path is remembered, as after an ordinary question', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  await store.settled()
  const hello = fixture.add()
  expect(store.recite([hello.hash])).toEqual([undefined])

  await put(store, hello)

  expect(store.recite([hello.hash])).toEqual([expect.objectContaining({ text: hello.narinfo })])
})
