// When the disk is full or fails, what is held is served, nothing new is kept, one line says so, and it passes by itself.

import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { diskError } from '../../src/store/gathered-writer.ts'
import { StoreHealth } from '../../src/store/store-health.ts'
import { describeUnless } from '../support/needs.ts'
import { holds, pathOf, put, read, StoreFixture, storeFixture, substituteOf } from './store-fixture.ts'

/** Undefined where this process may mount. */
function lackOfMount(): string | undefined {
  const outcome = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt'], { encoding: 'utf8' })
  return outcome.status === 0 ? undefined : 'no right to mount a tmpfs'
}

const lack = lackOfMount()
/** What is free is looked at once a second: a test lets that time pass. */
let now = 0
const clock = (): number => now

/** A store on a file system of its own, of so many bytes. */
async function smallDisk(bytes: number): Promise<StoreFixture & { remount(how: 'ro' | 'rw'): void }> {
  const root = await mkdtemp(join(tmpdir(), 'substrata-disk-'))
  mount('-t', 'tmpfs', '-o', `size=${bytes}`, 'none', root)
  const fixture = new StoreFixture(join(root, 'store'))
  onTestFinished(async () => {
    // The mount goes also when a test has failed and left something open.
    await fixture.cleanup().finally(() => spawnSync('umount', ['--lazy', root]))
    await rm(root, { recursive: true })
  })
  return Object.assign(fixture, { remount: (how: 'ro' | 'rw') => mount('-o', `remount,${how}`, root) })
}

function mount(...words: string[]): void {
  const outcome = spawnSync('mount', words, { encoding: 'utf8' })
  if (outcome.status !== 0) throw new Error(outcome.stderr)
}

/** Takes all the room there is; the result is the file that has it. */
async function fillUp(fixture: StoreFixture): Promise<string> {
  const ballast = join(dirname(fixture.root), 'ballast')
  for (const size of [65_536, 4096]) {
    const piece = Buffer.alloc(size)
    while (
      await writeFile(ballast, piece, { flag: 'a' }).then(
        () => true,
        () => false,
      )
    ) {
      // More.
    }
  }
  return ballast
}

describeUnless(lack, 'on a disk that is full', () => {
  test('hits are served, nothing is kept, and it passes by itself (cases 119, 120)', async () => {
    const fixture = await smallDisk(4_000_000)
    const store = await fixture.open({ memory: 0, clock })
    const hello = fixture.add(100_000)
    await put(store, hello)
    await store.pin(hello.hash)
    const ballast = await fillUp(fixture)
    fixture.lines.length = 0

    for (let tries = 0; tries < 3; tries++) {
      await expect(put(store, fixture.add(100_000))).rejects.toMatchObject({ code: 'store-full' })
      expect(await read(store, hello)).toEqual(hello.file)
    }
    expect(store.stats()).toMatchObject({ state: 'full', nars: 1 })
    expect(fixture.logged('warn')).toHaveLength(1)

    await rm(ballast)
    now += 2000
    await put(store, fixture.add(100_000))
    expect(store.stats()).toMatchObject({ state: 'ok', nars: 2 })
  })

  test('a fill that hears of it shows in the state, and leaves nothing', async () => {
    const fixture = await smallDisk(4_000_000)
    const store = await fixture.open()
    const reservation = await store.reserve(substituteOf(fixture.add()), undefined)
    const error = await reservation.file.writeFile(Buffer.alloc(8_000_000)).catch(diskError)

    await reservation.discard(error)
    await reservation.file.close()

    expect(store.stats().state).toBe('full')
    expect(await fixture.files()).toEqual([])
    const hello = fixture.add(100_000)
    await put(store, hello)
    expect(store.stats().state).toBe('ok')
    expect(fixture.logged('warn')).toHaveLength(1)
    expect(fixture.logged('info').filter((line) => line.includes('works again'))).toHaveLength(1)
  })

  test('what the catalogue cannot write is let go, and hits are hits', async () => {
    const fixture = await smallDisk(10_000_000)
    const store = await fixture.open({ memory: 0, clock })
    const hello = fixture.add(100_000)
    await put(store, hello)
    const ballast = await fillUp(fixture)
    fixture.lines.length = 0

    // More than there is room for in files that exist already.
    for (let seen = 0; seen < 1500; seen++) store.remember(substituteOf(fixture.add(200)))
    expect(await read(store, hello)).toEqual(hello.file)
    expect(store.stats()).toMatchObject({ state: 'full', nars: 1 })
    expect(fixture.logged('warn')).toHaveLength(1)
    expect(fixture.logged('warn')[0]).toContain('full (catalogue)')

    await rm(ballast)
    now += 2000
    await put(store, fixture.add(1000))
    expect(store.stats()).toMatchObject({ state: 'ok', nars: 2 })
  })

  test('the least recently used makes room', async () => {
    const fixture = await smallDisk(4_000_000)
    const store = await fixture.open({ minFree: 500_000, clock })
    const entries = Array.from({ length: 40 }, () => fixture.add(200_000))
    for (const entry of entries) {
      await put(store, entry)
      now += 2000
    }

    const held = await Promise.all(entries.map((entry) => holds(store, entry)))
    expect(held.lastIndexOf(false)).toBeGreaterThan(20)
    expect(held.lastIndexOf(false)).toBe(held.indexOf(true) - 1)
    expect(store.stats()).toMatchObject({ state: 'ok' })
    expect(store.stats().free).toBeGreaterThan(300_000)
  })

  test('what is claimed and not yet written is not claimed twice', async () => {
    const fixture = await smallDisk(4_000_000)
    const store = await fixture.open({ clock })
    const first = await store.reserve(substituteOf(fixture.add()), 2_500_000)
    now += 2000

    await expect(store.reserve(substituteOf(fixture.add()), 2_500_000)).rejects.toMatchObject({ code: 'store-full' })

    // Once it is written the file system says so itself.
    await first.file.writeFile(Buffer.alloc(2_500_000))
    now += 2000
    const second = await store.reserve(substituteOf(fixture.add()), 500_000)
    for (const reservation of [first, second]) {
      await reservation.discard()
      await reservation.file.close()
    }
  })

  test('a store starts and serves', async () => {
    const fixture = await smallDisk(4_000_000)
    let store = await fixture.open()
    const hello = fixture.add(100_000)
    await put(store, hello)
    await store.close()
    const ballast = await fillUp(fixture)

    store = await fixture.open({ clock })

    expect(await read(store, hello)).toEqual(hello.file)
    await expect(put(store, fixture.add(100_000))).rejects.toMatchObject({ code: 'store-full' })
    expect(store.stats().state).toBe('full')

    await rm(ballast)
    now += 2000
    await put(store, fixture.add(100_000))
    expect(await read(store, hello)).toEqual(hello.file)
    expect(store.stats()).toMatchObject({ state: 'ok', nars: 2 })
  })
})

describeUnless(lack, 'on a file system that is read-only', () => {
  test('a store starts and serves, and keeps nothing (case 120)', async () => {
    const fixture = await smallDisk(4_000_000)
    let store = await fixture.open()
    const hello = fixture.add(100_000)
    await put(store, hello)
    await store.close()
    fixture.remount('ro')

    store = await fixture.open()
    expect(await read(store, hello)).toEqual(hello.file)
    await expect(put(store, fixture.add())).rejects.toMatchObject({ code: 'store-failed' })
    expect(store.stats().state).toBe('failed')
    await store.close()

    fixture.remount('rw')
    store = await fixture.open()
    await put(store, fixture.add())
    expect(await read(store, hello)).toEqual(hello.file)
    expect(store.stats()).toMatchObject({ state: 'ok', nars: 2 })
  })
})

test('a NAR that cannot get its name is not kept, and nothing of it is left', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const [hello, other] = [fixture.add(), fixture.add()]
  await put(store, other)
  // A file where the directory of its NARs would be.
  const shard = dirname(pathOf(fixture, hello))
  await rm(shard, { recursive: true, force: true })
  await writeFile(shard, '')
  fixture.lines.length = 0

  for (let tries = 0; tries < 3; tries++) {
    await expect(put(store, hello)).rejects.toMatchObject({ code: 'store-failed' })
  }
  expect(store.stats()).toMatchObject({ state: 'failed', nars: 1, bytes: 1000 })
  expect(fixture.logged('warn')).toHaveLength(1)
  expect(await readdir(join(fixture.root, 'v1', 'incoming'))).toEqual([])

  await rm(shard)
  await put(store, hello)
  expect(store.stats()).toMatchObject({ state: 'ok', nars: 2 })
  expect(await read(store, hello)).toEqual(hello.file)
})

test('a NAR that fails after its narinfo was moved leaves neither', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add()
  // A directory where its file would be.
  await mkdir(pathOf(fixture, hello), { recursive: true })

  await expect(put(store, hello)).rejects.toMatchObject({ code: 'store-failed' })

  expect(await fixture.files()).toEqual([])
  await rmdir(pathOf(fixture, hello))
  await put(store, hello)
  expect(await read(store, hello)).toEqual(hello.file)
})

test('each trouble is said once until it has passed, and not again at once', () => {
  const fixture = new StoreFixture('/nonexistent')
  const health = new StoreHealth({ log: fixture.log, clock })
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  const failing = Object.assign(new Error('i/o error'), { code: 'EIO' })

  expect(health.failed('disk', full).code).toBe('store-full')
  expect(health.failed('disk', full).code).toBe('store-full')
  expect(health.failed('room', full).code).toBe('store-full')
  expect(health.state).toBe('full')
  expect(health.failed('catalogue', failing).code).toBe('store-failed')
  expect(health.state).toBe('failed')
  expect(fixture.logged('warn')).toHaveLength(2)
  health.works('catalogue')
  health.works('catalogue')
  expect(health.state).toBe('full')
  health.works('disk')
  expect(health.state).toBe('full')
  health.works('room')
  expect(health.state).toBe('ok')
  expect(fixture.logged('info')).toHaveLength(2)

  health.failed('disk', full)
  health.works('disk')
  expect(fixture.lines).toHaveLength(4)
  now += 60_000
  health.failed('disk', full)
  expect(fixture.logged('warn')).toHaveLength(3)
})
