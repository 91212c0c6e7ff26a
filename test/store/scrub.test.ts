// A scrub looks at every NAR: what is wrong is taken out, what cannot be read is left and named, and the rest is served on.

import { createHash } from 'node:crypto'
import { readFile, unlink, writeFile } from 'node:fs/promises'

import { expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { sha256FromDigest } from '../../src/nix/hash.ts'
import type { NarInfo } from '../../src/nix/narinfo.ts'
import { fileOf, holds, pathOf, put, read, storeFixture } from './store-fixture.ts'

const signal = new AbortController().signal

/** For NARs that are not compressed. */
async function check(path: string, { narHash }: NarInfo): Promise<void> {
  const digest = createHash('sha256')
    .update(await readFile(path))
    .digest()
  if (sha256FromDigest(digest) !== narHash) throw new ProxyError('damaged', 'not what was signed')
}

test('finds bits that have rotted, and takes that NAR out (case 124)', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const [good, rotten] = [fixture.add(300_000), fixture.add(300_000)]
  await put(store, good)
  await put(store, rotten)
  await holds(store, rotten)
  const bytes = Buffer.from(rotten.file)
  bytes[123_456]! ^= 1
  await writeFile(pathOf(fixture, rotten), bytes)
  const seen: number[] = []

  const progress = ({ right, damaged }: { right: number; damaged: readonly string[] }): void => {
    seen.push(right + damaged.length)
  }
  const scrubbed = await store.scrub({ check, signal, atOnce: 1, progress })

  expect(scrubbed).toMatchObject({ right: 1, damaged: [rotten.storePath], unread: [] })
  expect(seen).toEqual([1, 2])
  expect(await holds(store, rotten)).toBe(false)
  expect(await read(store, good)).toEqual(good.file)
  expect(await fixture.files()).toEqual([fileOf(good), `${fileOf(good)}.narinfo`, fileOf(rotten)].sort())
  expect(store.stats()).toMatchObject({ bytes: 300_000, nars: 1 })
})

test('brings rows and files in agreement', async () => {
  const fixture = await storeFixture()
  let store = await fixture.open()
  const [good, lost, stray] = [fixture.add(), fixture.add(), fixture.add()]
  await put(store, good)
  await put(store, lost)
  const [nar, narinfo] = [pathOf(fixture, good), `${pathOf(fixture, good)}.narinfo`]
  const at = pathOf(fixture, stray)
  await put(store, stray)
  await store.close()
  // As an old backup of the catalogue would have it.
  store = await fixture.open()
  await unlink(pathOf(fixture, lost))
  await unlink(narinfo)
  await unlink(at)
  await expect(read(store, stray)).rejects.toMatchObject({ code: 'gone' })
  await writeFile(at, stray.file)
  await writeFile(`${at}.narinfo`, stray.narinfo)

  const scrubbed = await store.scrub({ check, signal })

  expect(scrubbed).toEqual({
    adopted: 1,
    released: 1,
    removed: 1,
    quarantined: 0,
    right: 2,
    damaged: [],
    unread: [],
  })
  expect(await read(store, stray)).toEqual(stray.file)
  expect(await readFile(narinfo, 'utf8')).toBe(good.narinfo)
  expect(await readFile(nar)).toEqual(good.file)
})

test('leaves what it could not read, and stops when it is told to', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const entries = [fixture.add(), fixture.add(), fixture.add()]
  for (const entry of entries) await put(store, entry)
  const failing = (): Promise<void> => Promise.reject(new ProxyError('store-failed', 'EIO'))

  const { unread, right } = await store.scrub({ check: failing, signal })
  expect(right).toBe(0)
  expect(unread.map(({ path }) => path).sort()).toEqual(entries.map(({ storePath }) => storePath).sort())
  expect(unread[0]?.why).toBe('EIO')
  for (const entry of entries) expect(await holds(store, entry)).toBe(true)

  const stop = new AbortController()
  let checked = 0
  const stopping = (): Promise<void> => {
    checked++
    stop.abort()
    return Promise.resolve()
  }
  await expect(store.scrub({ check: stopping, signal: stop.signal, atOnce: 1 })).rejects.toMatchObject({
    name: 'AbortError',
  })
  expect(checked).toBe(1)
})
