// Promise: what is said of a held path is so, whether the store is ours or only its files are read.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { parsePublicKey } from '../../src/nix/signature.ts'
import { ownerOf, peek } from '../../src/store/dossier.ts'
import { sampleNarInfos } from '../../src/store/sample.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { pathOf, put, storeFixture } from './store-fixture.ts'

test('an open store tells file, size, since when, from whom, how it was checked, and what keeps it', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open({ now: () => 1_700_000_000_000 })
  const entry = fixture.add(5000)
  await put(store, entry)
  await store.pin(entry.hash)
  expect(await store.entries(entry.hash)).toMatchObject([
    {
      file: pathOf(fixture, entry),
      size: 5000,
      since: 1_700_000_000_000,
      from: 'upstream',
      checked: 'nar',
      pinned: true,
      uploaded: false,
      trusted: true,
      signedBy: 'cache.test-1',
    },
  ])
  expect(await store.entries(fixture.add().hash)).toEqual([])
})

test('what no trusted key vouches for any more is told, and told to be so (case 144)', async () => {
  const fixture = await storeFixture()
  const first = await fixture.open()
  const entry = fixture.add()
  await put(first, entry)
  await first.close()
  const store = await fixture.open({ keys: [parsePublicKey(new SyntheticCache({ keyName: 'new-1' }).publicKey)] })
  expect(await store.entries(entry.hash)).toMatchObject([{ trusted: false, signedBy: undefined }])
})

test('the files of a store that another process has are read, and none is made or changed', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const [entry, other] = [fixture.add(5000), fixture.add()]
  await put(store, entry)
  await put(store, other)
  await store.pin(entry.hash)
  const before = await readdir(fixture.root, { recursive: true })
  const keys = [parsePublicKey(fixture.cache.publicKey)]
  expect(await peek(fixture.root, entry.hash, { storeDir: '/nix/store', keys })).toMatchObject([
    {
      file: pathOf(fixture, entry),
      size: 5000,
      from: undefined,
      checked: undefined,
      pinned: true,
      uploaded: false,
      trusted: true,
      signedBy: 'cache.test-1',
    },
  ])
  expect(await ownerOf(fixture.root)).toMatch(/^process \d+ on /)
  expect((await sampleNarInfos(fixture.root, '/nix/store', 10)).map(({ storePath }) => storePath.hash).sort()).toEqual(
    [entry.hash, other.hash].sort(),
  )
  expect(await sampleNarInfos(fixture.root, '/nix/store', 1)).toHaveLength(1)
  expect((await readdir(fixture.root, { recursive: true })).sort()).toEqual(before.sort())
})

test('where there is no store nothing is held, and none is made', async () => {
  const fixture = await storeFixture()
  const nowhere = join(fixture.root, 'nowhere')
  expect(await peek(nowhere, fixture.add().hash, { storeDir: '/nix/store', keys: [] })).toEqual([])
  expect(await ownerOf(nowhere)).toBeUndefined()
  expect(await sampleNarInfos(nowhere, '/nix/store', 10)).toEqual([])
  expect(await readdir(fixture.root)).toEqual([])
})
