// Promise: that nothing is known of a path is believed without asking again, and not a moment longer than it is true.

import { cp } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { narIdentity } from '../../src/nix/nar-url.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { NarinfoMemory } from '../../src/store/narinfo-memory.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { ask, fileOf, holds, put, read, storeFixture, substituteOf } from './store-fixture.ts'

test('a path that was asked for in vain is found as soon as it has been committed', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  await store.settled()
  const hello = fixture.add()
  expect(await ask(store, hello.hash)).toBeUndefined()
  expect(store.known(hello.hash)).toBeUndefined()

  await put(store, hello)

  expect(await read(store, hello)).toEqual(hello.file)
  expect(store.known(hello.hash)?.from).toBe('upstream')
})

test('a path that was asked for in vain while its NAR came is found when that is here', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  await store.settled()
  const hello = fixture.add()
  const reservation = await store.reserve(substituteOf(hello), hello.file.length)
  await reservation.file.writeFile(hello.file)
  expect(await holds(store, hello)).toBe(false)
  const committed = reservation.commit('nar', hello.file.length)
  expect(await holds(store, hello)).toBe(false)

  await committed
  await reservation.file.close()

  expect(await read(store, hello)).toEqual(hello.file)
})

test('a path that was asked for in vain is known as soon as its narinfo was seen, and found when its NAR is here', async () => {
  const fixture = await storeFixture()
  // Without memory for narinfos nothing but the catalogue can tell.
  for (const memory of [1024 * 1024, 0]) {
    const store = await fixture.open({ memory })
    await store.settled()
    const hello = fixture.add()
    expect(await ask(store, hello.hash)).toBeUndefined()
    store.remember(substituteOf(hello, 'near'))
    if (memory > 0) expect(store.known(hello.hash)?.from).toBe('near')
    expect(await holds(store, hello)).toBe(false)
    await put(store, hello)
    expect(await holds(store, hello)).toBe(true)
    await store.close()
  }
})

test('a path that was asked for in vain is found when the catalogue has been made again from files that came by themselves', async () => {
  const fixture = await storeFixture()
  const other = await storeFixture()
  const hello = fixture.add()
  const store = await fixture.open()
  await store.settled()
  const filled = await other.open({ keys: fixture.options().keys })
  await put(filled, hello)
  await filled.close()
  expect(await ask(store, hello.hash)).toBeUndefined()

  // As a backup is put back while the store is in use.
  await cp(join(other.root, 'v1', 'nar'), join(fixture.root, 'v1', 'nar'), { recursive: true })
  await store.rebuild()

  expect(await read(store, hello)).toEqual(hello.file)
})

test('what is absent is forgotten path by path: by an answer, by a file that came or went, and all of it at once', () => {
  const memory = new NarinfoMemory({ bytes: 100_000 })
  const fixture = new SyntheticCache()
  const [one, two, three, four] = [fixture.add(), fixture.add(), fixture.add(), fixture.add()]
  for (const { hash } of [one, two, three, four]) {
    expect(memory.isAbsent(hash)).toBe(false)
    memory.keepAbsent(hash)
    expect(memory.isAbsent(hash)).toBe(true)
  }
  const absent = (): boolean[] => [one, two, three, four].map(({ hash }) => memory.isAbsent(hash))
  const narinfo = parseNarInfo(one.narinfo, '/nix/store')
  const identity = narIdentity(narinfo)
  const known = { narinfo, identity, from: 'u', signedBy: undefined, recordedAt: 0, held: undefined }
  memory.keep({ hash: one.hash, nar: identity }, known)
  expect(absent()).toEqual([false, true, true, true])
  memory.forget(two.hash, fileOf(two))
  expect(absent()).toEqual([false, false, true, true])
  memory.clear()
  expect(absent()).toEqual([false, false, false, false])
})

test('a narinfo that memory had no room for is known once it has been written down, though it was asked for in vain before', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open({ memory: 0 })
  await store.settled()
  const hello = fixture.add()
  store.remember(substituteOf(hello, 'near'))
  // Neither memory nor the catalogue has it just now.
  expect(await holds(store, hello)).toBe(false)

  // Writes down what waits.
  expect([...store.list()]).toEqual([])

  expect(store.known(hello.hash)?.from).toBe('near')
})
