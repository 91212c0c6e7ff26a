// Uploads: bytes that wait for their narinfo, and bytes that are here already under another name.

import { access } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { holds, pathOf, put, read, storeFixture, substituteOf } from './store-fixture.ts'

test('staged bytes become an entry when their narinfo comes', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add(10_000)
  const staged = await store.stage(10_000)
  await staged.file.writeFile(hello.file)
  await staged.file.close()

  const reservation = await store.reserve(substituteOf(hello), 10_000, { from: staged.path })
  await reservation.commit('nar', 10_000)
  await reservation.discard()
  await reservation.file.close()

  expect(await read(store, hello)).toEqual(hello.file)
  expect(store.stats().bytes).toBe(10_000)
  await access(staged.path)
})

test('staged bytes that nobody came for are gone after a restart', async () => {
  const fixture = await storeFixture()
  let store = await fixture.open()
  const staged = await store.stage(undefined)
  await staged.file.writeFile('something')
  await staged.file.close()
  await store.close()

  store = await fixture.open()

  expect(await fixture.files()).toEqual([])
  await expect(store.stage(undefined).then(({ file }) => file.close())).resolves.toBeUndefined()
})

test('one NAR can be held for two paths, and outlives either', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const first = fixture.add(10_000, { url: 'nar/shared.nar' })
  const second = fixture.cache.add({ nar: first.nar, url: 'nar/shared.nar' })
  await put(store, first)
  const held = await store.fileOf(store.byUrl('nar/shared.nar')!, 'nar/shared.nar')
  expect(held).toEqual({ file: pathOf(fixture, first), size: 10_000 })

  const reservation = await store.reserve(substituteOf(second), 10_000, { from: held!.file, uploaded: true })
  await reservation.commit('nar', 10_000)
  await reservation.file.close()

  for (const entry of [first, second]) expect(await read(store, entry)).toEqual(first.file)
  expect(await store.fileOf(first.hash, 'nar/other.nar')).toBeUndefined()
})

test('a reservation that is open when the store closes leaves nothing', async () => {
  const fixture = await storeFixture()
  let store = await fixture.open()
  const hello = fixture.add()
  const reservation = await store.reserve(substituteOf(hello), 1000)
  await reservation.file.writeFile(hello.file)
  await store.close()
  await reservation.file.close()

  expect(await fixture.files()).toEqual([])
  store = await fixture.open()
  expect(await holds(store, hello)).toBe(false)
  expect(join(reservation.path)).toContain(fixture.root)
})

test('two who fetch the same NAR at once both end well, and it is held once', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add(10_000)

  await Promise.all([put(store, hello), put(store, hello), put(store, hello)])

  expect(store.stats()).toMatchObject({ nars: 1, bytes: 10_000 })
  expect(await read(store, hello)).toEqual(hello.file)
  expect(await fixture.files()).toHaveLength(2)
})
