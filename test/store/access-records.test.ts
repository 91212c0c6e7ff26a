// What was used last is written down by us: the file system's times have no say in what is evicted.

import { utimes } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { narFileName } from '../../src/nix/nar-url.ts'
import type { StoreHash } from '../../src/nix/store-path.ts'
import { ask, holds, put, storeFixture, substituteOf } from './store-fixture.ts'

test('the times of files do not matter: neither a backup that reads them nor noatime changes what is evicted (case 132)', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open({ maxSize: 30_000 })
  const entries = Array.from({ length: 3 }, () => fixture.add(10_000))
  const fileOf = (entry: { readonly hash: StoreHash; readonly narinfo: string }): string => {
    const { narinfo } = substituteOf(entry)
    const digest = narinfo.fileHash ?? narinfo.narHash
    const name = narFileName(entry.hash, { digest, compression: narinfo.compression })
    return join(fixture.root, 'v1', 'nar', entry.hash.slice(0, 2), name)
  }
  for (const entry of entries) await put(store, entry)
  await ask(store, entries[0]!.hash)
  // By its times the one that is wanted is ancient, and the others are from tomorrow.
  await utimes(fileOf(entries[0]!), new Date(0), new Date(0))
  const tomorrow = new Date(Date.now() + 86_400_000)
  for (const entry of entries.slice(1)) await utimes(fileOf(entry), tomorrow, tomorrow)

  await put(store, fixture.add(10_000))

  expect(await Promise.all(entries.map((entry) => holds(store, entry)))).toEqual([true, false, false])
})
