// Room on disk: the least recently used goes, what is wanted stays, and a claim that cannot be met costs nobody anything.

import { mkdir, rm, rmdir } from 'node:fs/promises'

import { describe, expect, test } from 'vitest'

import { Metrics } from '../../src/metrics.ts'
import type { DiskStore } from '../../src/store/disk-store.ts'
import type { SyntheticEntry } from '../support/synthetic-cache.ts'
import { ask, holds, pathOf, put, storeFixture, substituteOf } from './store-fixture.ts'

const never = new AbortController().signal

/** Which of these the store holds. */
async function held(store: DiskStore, entries: readonly SyntheticEntry[]): Promise<readonly boolean[]> {
  return Promise.all(entries.map((entry) => holds(store, entry)))
}

describe('eviction', () => {
  test('takes the least recently used, down to the low watermark', async () => {
    const fixture = await storeFixture()
    const metrics = new Metrics()
    const store = await fixture.open({ maxSize: 100_000, metrics })
    const entries = Array.from({ length: 10 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    expect(store.stats().bytes).toBe(100_000)
    // The two that came first are wanted again.
    await ask(store, entries[0]!.hash)
    await ask(store, entries[1]!.hash)

    await put(store, fixture.add(10_000))

    // 110 000 - 95 000 must go: two of 10 000.
    expect(store.stats()).toMatchObject({ bytes: 90_000, nars: 9, narinfos: 11, state: 'ok' })
    expect(await held(store, entries)).toEqual([true, true, false, false, ...Array.from({ length: 6 }, () => true)])
    expect(await fixture.files()).toHaveLength(18)
    const text = await metrics.text()
    expect(text).toContain('substrata_evictions_total 2\n')
    expect(text).toContain('substrata_evicted_bytes_total 20000\n')
    expect(text).toContain('substrata_store_bytes 90000\n')
  })

  test('remembers who was used last across restarts, though the clock has gone back (case 131)', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open({ maxSize: 30_000, now: () => Date.now() + 1e9 })
    const entries = Array.from({ length: 3 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    await store.close()

    store = await fixture.open({ maxSize: 30_000, now: () => 0 })
    await ask(store, entries[0]!.hash)
    await store.close()

    store = await fixture.open({ maxSize: 30_000 })
    await put(store, fixture.add(10_000))
    expect(await held(store, entries)).toEqual([true, false, false])
  })

  test('never takes what is pinned or was uploaded, not even after a rebuild', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 30_000 })
    const [pinned, uploaded, plain] = [fixture.add(10_000), fixture.add(10_000), fixture.add(10_000)]
    // Before there is anything to pin.
    await store.pin(pinned.hash)
    await put(store, pinned)
    await put(store, uploaded, { uploaded: true })
    await put(store, plain)
    await store.rebuild()

    await put(store, fixture.add(10_000))
    expect(await held(store, [pinned, uploaded, plain])).toEqual([true, true, false])

    await expect(put(store, fixture.add(20_000))).rejects.toMatchObject({ code: 'store-full' })
    expect(await held(store, [pinned, uploaded])).toEqual([true, true])
    expect(store.stats()).toMatchObject({ state: 'full', nars: 3 })
    expect(fixture.logged('warn')).toHaveLength(1)
    // That a small one fits does not change it.
    await put(store, fixture.add(200))
    expect(store.stats().state).toBe('full')

    await store.unpin(pinned.hash)
    await put(store, fixture.add(20_000))
    expect(await held(store, [pinned, uploaded])).toEqual([false, true])
    expect(store.stats().state).toBe('ok')
  })

  test('is not begun for a NAR that is larger than the budget (case 128)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 50_000 })
    const small = fixture.add(10_000)
    await put(store, small)

    const refused = store.reserve(substituteOf(fixture.add()), 50_001)

    await expect(refused).rejects.toMatchObject({ code: 'store-full' })
    expect(await holds(store, small)).toBe(true)
    // One NAR that does not fit is no trouble of the store.
    expect(store.stats()).toMatchObject({ state: 'ok', bytes: 10_000 })
  })

  test('does not empty the store for a NAR of unknown size that never ends', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 100_000 })
    const entries = Array.from({ length: 10 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    const endless = await store.reserve(substituteOf(fixture.add()), undefined)

    const grow = async (): Promise<void> => {
      for (;;) await endless.grow(5000)
    }
    await expect(grow()).rejects.toMatchObject({ code: 'store-full' })

    expect(store.stats().bytes).toBeLessThanOrEqual(100_000)
    expect((await held(store, entries)).filter((is) => is).length).toBeGreaterThanOrEqual(4)
    await endless.discard()
    await endless.file.close()
    expect(store.stats().bytes).toBeLessThanOrEqual(50_000)
  })

  test('leaves what is being read, and takes it later', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 30_000 })
    const entries = Array.from({ length: 3 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    const nar = await (await ask(store, entries[0]!.hash))!.open(undefined, never)
    for (const entry of entries.slice(1)) await ask(store, entry.hash)

    await put(store, fixture.add(10_000))
    expect(await held(store, entries)).toEqual([true, false, false])
    await expect(put(store, fixture.add(29_000))).rejects.toMatchObject({ code: 'store-full' })

    await nar.body[Symbol.asyncIterator]().return?.()
    await put(store, fixture.add(29_000))
    expect(await holds(store, entries[0]!)).toBe(false)
  })

  test('of many at once counts each that is gone, though one cannot be removed', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 400_000 })
    const entries = Array.from({ length: 40 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    const stuck = pathOf(fixture, entries[3]!)
    await rm(stuck)
    await mkdir(stuck)

    await expect(put(store, fixture.add(200_000))).rejects.toMatchObject({ code: 'store-failed' })
    const { nars } = store.stats()
    expect(nars).toBeLessThan(40)
    expect(await fixture.files()).toHaveLength(2 * (nars - 1) + 1)

    await rmdir(stuck)
    await put(store, fixture.add(200_000))
    expect(await held(store, entries.slice(0, 20))).toEqual(Array.from({ length: 20 }, () => false))
    expect(store.stats().bytes).toBe(10_000 * (store.stats().nars - 1) + 200_000)
  })

  test('is made good at the start when the budget has been lowered', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open()
    for (let made = 0; made < 10; made++) await put(store, fixture.add(10_000))
    await store.close()

    store = await fixture.open({ maxSize: 50_000 })
    await store.settled()

    expect(store.stats()).toMatchObject({ bytes: 40_000, nars: 4 })
  })

  test('is not begun when it could not free enough for what the file system must keep free', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open()
    const small = fixture.add(10_000)
    await put(store, small)
    const { free } = store.stats()
    await store.close()

    store = await fixture.open({ minFree: free! * 2 })
    await expect(store.reserve(substituteOf(fixture.add()), 1000)).rejects.toMatchObject({ code: 'store-full' })

    expect(await holds(store, small)).toBe(true)
    expect(store.stats().state).toBe('full')
  })
})

describe('a claim', () => {
  test('counts as used until it is given up', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 100_000 })
    const claims = await Promise.allSettled(
      [60_000, 30_000, 30_000].map((size) => store.reserve(substituteOf(fixture.add()), size)),
    )

    expect(claims.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected'])
    expect(store.stats()).toMatchObject({ bytes: 90_000, nars: 0 })
    for (const claim of claims) {
      if (claim.status === 'rejected') continue
      await claim.value.discard()
      await claim.value.discard()
      await claim.value.file.close()
    }
    expect(store.stats().bytes).toBe(0)
    expect(await fixture.files()).toEqual([])
  })

  test('gives back what was not needed', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 100_000 })
    const hello = fixture.add(10_000)
    const reservation = await store.reserve(substituteOf(hello), 40_000)
    await reservation.grow(1)
    expect(store.stats().bytes).toBe(40_001)
    await reservation.file.writeFile(hello.file)
    await reservation.commit('file', 10_000)
    await reservation.discard()
    await reservation.file.close()

    expect(store.stats().bytes).toBe(10_000)
    expect([...store.list()][0]).toMatchObject({ checked: 'file' })
  })

  test('is given back when the bytes are not as many as were proved', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 100_000 })
    const hello = fixture.add(10_000)
    const reservation = await store.reserve(substituteOf(hello), 10_000)
    await reservation.file.writeFile(hello.file.subarray(1))

    await expect(reservation.commit('nar', 10_000)).rejects.toMatchObject({ code: 'damaged' })

    expect(store.stats()).toMatchObject({ bytes: 0, nars: 0, state: 'ok' })
    expect(await fixture.files()).toEqual([])
    await expect(reservation.commit('nar', 9999)).rejects.toMatchObject({ code: 'store-failed' })
    await reservation.file.close()
  })
})
