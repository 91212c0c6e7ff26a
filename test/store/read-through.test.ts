// The store in front of the strata is a substituter like any other; what it adds is tested in test/promises.

import { randomBytes } from 'node:crypto'

import { describe, expect, onTestFinished, test, vi } from 'vitest'

import type { StoreHash } from '../../src/nix/store-path.ts'
import type { DiskStore, DiskStoreOptions } from '../../src/store/disk-store.ts'
import { ReadThrough, type ReadThroughOptions } from '../../src/store/read-through.ts'
import { Verifier } from '../../src/store/verifier.ts'
import { Strata } from '../../src/upstreams/strata.ts'
import { upstreamTo } from '../support/real-upstream.ts'
import { question } from '../support/scripted-substituter.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { absentHash, bytesOf, storeHash, testSubstituter } from '../support/substituter-conformance.ts'
import type { SyntheticEntry } from '../support/synthetic-cache.ts'
import { storeFixture, type StoreFixture } from './store-fixture.ts'

interface Scene {
  readonly fixture: StoreFixture
  readonly server: ScriptedUpstream
  readonly readThrough: ReadThrough
  readonly store: DiskStore
  close(): Promise<void>
}

async function scene(
  options: Partial<ReadThroughOptions> = {},
  storeOptions: Partial<DiskStoreOptions> = {},
): Promise<Scene> {
  const fixture = await storeFixture()
  const server = await startScriptedUpstream({ cache: fixture.cache })
  const strata = upstreamTo(server.url, fixture.cache)
  const verifier = new Verifier({ threads: 1 })
  const store = await fixture.open(storeOptions)
  const readThrough = new ReadThrough({ store, strata, verifier, reachable: () => true, ...options })
  const close = async (): Promise<void> => {
    await readThrough.close(AbortSignal.abort())
    await strata.stop()
    await server.close()
    await verifier.close()
  }
  return { fixture, server, readThrough, store, close }
}

testSubstituter('read-through', async () => {
  const { fixture, server, readThrough, close } = await scene()
  const { hash, file, narPath } = fixture.cache.add({ content: randomBytes(300_000) })
  const failing = storeHash('1'.repeat(32))
  server.script(`/${failing}.narinfo`, { status: 500 })
  const silent = storeHash('2'.repeat(32))
  server.script(`/${silent}.narinfo`, { never: true })
  return {
    substituter: readThrough,
    has: { hash, file },
    lacks: absentHash,
    cannotAnswer: failing,
    hangs: { hash: silent, asked: () => server.seen(`/${silent}.narinfo`) },
    opened: () => server.count(narPath),
    cleanup: close,
  }
})

test('a NAR after its narinfo costs no second question', async () => {
  const { fixture, server, readThrough, close } = await scene()
  onTestFinished(close)
  const entry = fixture.cache.add()
  await readThrough.find({ hash: entry.hash }, question())
  expect((await narOf(readThrough, entry.hash)).equals(entry.file)).toBe(true)
  expect(server.count(entry.narinfoPath)).toBe(1)
})

test('a narinfo is not handed out of memory while nobody could follow it with its NAR (case 129)', async () => {
  let reachable = true
  const { fixture, server, readThrough, close } = await scene({ reachable: () => reachable })
  onTestFinished(close)
  const entry = fixture.cache.add()
  expect(await readThrough.find({ hash: entry.hash }, question())).toBeDefined()
  reachable = false
  await server.down()
  await expect(readThrough.find({ hash: entry.hash }, question())).rejects.toMatchObject({ code: 'unreachable' })
})

test('a narinfo whose NAR was evicted is answered without asking, and its NAR is fetched again (cases 63, 122)', async () => {
  const { fixture, server, readThrough, store, close } = await scene({}, { maxSize: 120_000 })
  onTestFinished(close)
  const [entry, other] = [50_000, 100_000].map((size) => fixture.cache.add({ content: randomBytes(size) }))
  for (const { hash, file } of [entry!, other!]) {
    expect((await narOf(readThrough, hash)).equals(file)).toBe(true)
    await expect.poll(() => readThrough.fills()).toEqual([])
  }
  await store.settled()
  expect(store.stats().nars).toBe(1)
  expect((await narOf(readThrough, entry!.hash, 40_000)).equals(entry!.file.subarray(40_000))).toBe(true)
  expect(server.count(entry!.narinfoPath)).toBe(1)
  expect(server.count(entry!.narPath)).toBe(2)
})

test('a disk with no room: the NAR is passed through, checked, and not kept (cases 119, 128)', async () => {
  const { fixture, server, readThrough, store, close } = await scene({}, { maxSize: 10_000 })
  onTestFinished(close)
  const entry = fixture.cache.add({ content: randomBytes(50_000) })
  expect((await narOf(readThrough, entry.hash)).equals(entry.file)).toBe(true)
  expect((await narOf(readThrough, entry.hash, 45_000)).equals(entry.file.subarray(45_000))).toBe(true)
  expect(store.stats().nars).toBe(0)

  server.script(entry.narPath, { wrongByte: 20_000 })
  await expect(narOf(readThrough, entry.hash)).rejects.toMatchObject({ code: 'damaged' })
})

describe('who lies and breaks off, and an honest one who went on for him', () => {
  test('do not take a third one with them: he gives it alone the next time', async () => {
    const { readThrough, entry, servers } = await withUpstreams(3)
    const [liar, honest, third] = servers
    liar?.script(entry.narPath, { wrongByte: 20_000, cutAfter: 30_000 })

    await expect(narOf(readThrough, entry.hash)).rejects.toMatchObject({ code: 'damaged' })
    expect(third?.count(entry.narPath)).toBe(0)
    expect((await narOf(readThrough, entry.hash)).equals(entry.file)).toBe(true)
    expect([liar, honest, third].map((one) => one?.count(entry.narPath))).toEqual([1, 1, 1])
  })

  test('are told apart where nobody else has it: the honest one gives it alone the next time', async () => {
    const { readThrough, entry, servers } = await withUpstreams(2)
    const [liar, honest] = servers
    liar?.script(entry.narPath, { wrongByte: 20_000, cutAfter: 30_000 })

    await expect(narOf(readThrough, entry.hash)).rejects.toMatchObject({ code: 'damaged' })
    expect(honest?.count(entry.narPath)).toBe(1)
    // At once, before the failed fill is cleared away.
    expect((await narOf(readThrough, entry.hash)).equals(entry.file)).toBe(true)
  })

  test('are not passed over for long in favour of one that hangs', async () => {
    const { readThrough, entry, servers } = await withUpstreams(3)
    const [liar, , third] = servers
    liar?.script(entry.narPath, { wrongByte: 20_000, cutAfter: 30_000 })
    third?.script(/./, { never: true })

    await expect(narOf(readThrough, entry.hash)).rejects.toMatchObject({ code: 'damaged' })
    expect((await narOf(readThrough, entry.hash)).equals(entry.file)).toBe(true)
  })
})

/** A store in front of so many upstreams with the same NAR, asked one after the other. */
async function withUpstreams(count: number): Promise<{
  readonly readThrough: ReadThrough
  readonly entry: SyntheticEntry
  readonly servers: readonly ScriptedUpstream[]
}> {
  const fixture = await storeFixture()
  const entry = fixture.cache.add({ content: randomBytes(50_000) })
  const servers = await Promise.all(
    Array.from({ length: count }, () => startScriptedUpstream({ cache: fixture.cache })),
  )
  const upstreams = servers.map(({ url }) => upstreamTo(url, fixture.cache))
  const strata = new Strata({ strata: upstreams.map((substituter) => ({ substituter, hedge: 20_000 })) })
  const verifier = new Verifier({ threads: 1 })
  const readThrough = new ReadThrough({ store: await fixture.open(), strata, verifier, reachable: () => true })
  onTestFinished(async () => {
    await readThrough.close(AbortSignal.abort())
    await Promise.all([...upstreams.map((one) => one.stop()), ...servers.map((one) => one.close()), verifier.close()])
  })
  return { readThrough, entry, servers }
}

async function narOf(readThrough: ReadThrough, hash: StoreHash, start?: number): Promise<Buffer> {
  const found = await readThrough.find({ hash }, question())
  const nar = await found?.open(start === undefined ? undefined : { start }, new AbortController().signal)
  if (!nar) throw new Error('not found')
  return bytesOf(nar)
}

describe('looking ahead', () => {
  test('asks for the narinfos of references one step before the client does, and each of them once', async () => {
    const { fixture, server, readThrough, close } = await scene({ lookAhead: true })
    onTestFinished(close)
    const [deep] = [fixture.cache.add()]
    const leaf = fixture.cache.add({ references: [deep] })
    const top = fixture.cache.add({ references: [leaf] })
    await readThrough.find({ hash: top.hash }, question())
    await vi.waitFor(() => expect(readThrough.recalled(leaf.hash)).toBeDefined())
    // Two steps away from what a client has asked for.
    expect(server.count(deep.narinfoPath)).toBe(0)
    await readThrough.find({ hash: leaf.hash }, question())
    await vi.waitFor(() => expect(readThrough.recalled(deep.hash)).toBeDefined())
    await readThrough.find({ hash: top.hash }, question())
    await readThrough.find({ hash: deep.hash }, question())
    for (const { narinfoPath } of [top, leaf, deep]) expect(server.count(narinfoPath)).toBe(1)
  })

  test('costs nobody anything when it fails, and is not done unless it is asked for', async () => {
    const { fixture, server, readThrough, close } = await scene({ lookAhead: true })
    onTestFinished(close)
    const leaf = fixture.cache.add()
    const top = fixture.cache.add({ references: [leaf] })
    server.script(leaf.narinfoPath, { status: 500 })
    expect(await readThrough.find({ hash: top.hash }, question())).toBeDefined()
    await server.seen(leaf.narinfoPath)
    const plain = await scene()
    onTestFinished(plain.close)
    const [other] = [plain.fixture.cache.add()]
    const above = plain.fixture.cache.add({ references: [other] })
    await plain.readThrough.find({ hash: above.hash }, question())
    await plain.readThrough.find({ hash: plain.fixture.cache.add().hash }, question())
    expect(plain.server.count(other.narinfoPath)).toBe(0)
  })
})
