// Promise: what is asked for is written down seldom and cheaply, and never too late for what has to be evicted.

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test, vi } from 'vitest'

import { silentLog } from '../../src/log.ts'
import { narIdentity } from '../../src/nix/nar-url.ts'
import { HeldNar, narColumn } from '../../src/store/held-nar.ts'
import { Layout } from '../../src/store/layout.ts'
import { Ledger } from '../../src/store/ledger.ts'
import { BufferPool } from '../../src/store/nar-body.ts'
import { SteadyCatalogue } from '../../src/store/steady-catalogue.ts'
import { StoreHealth } from '../../src/store/store-health.ts'
import { question } from '../support/scripted-substituter.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { ask, fileOf, holds, put, storeFixture, substituteOf } from './store-fixture.ts'

/** Milliseconds after which the ledger writes by itself, and then some. */
const aFlush = 4000

/** A ledger with a catalogue on disk, and NARs in it that were last used long ago. */
async function ledgerOf(count: number) {
  const root = await mkdtemp(join(tmpdir(), 'substrata-ledger-'))
  const layout = new Layout({ root })
  await mkdir(layout.top, { recursive: true })
  const health = new StoreHealth({ log: silentLog, clock: () => 0 })
  const catalogue = new SteadyCatalogue({ layout, health, begun: () => {} })
  onTestFinished(async () => {
    await catalogue.close()
    await rm(root, { recursive: true })
  })
  const cache = new SyntheticCache()
  const held = Array.from({ length: count }, () => {
    const entry = cache.add()
    const [file, size] = [fileOf(entry), entry.file.length]
    const { narinfo } = substituteOf(entry)
    const row = { hash: entry.hash, nar: narColumn(file), narinfo: entry.narinfo, url: narinfo.url, source: 'u' }
    catalogue.change((index) =>
      index.hold({ ...row, signedBy: null, keys: '', recordedAt: 1, size, checked: 'nar', lastAccess: 1 }),
    )
    const opener = { pool: new BufferPool(), open: () => Promise.reject(new Error('x')), reading: () => () => {} }
    return new HeldNar({ name: 'store', narinfo, file, size, signedBy: undefined, lastAccess: 1, opener })
  })
  const ledger = new Ledger({ catalogue, mostBare: 10, now: () => 1_000_000 })
  /** Whether an access is on record, for each of them. */
  const written = (): boolean[] =>
    held.map(({ hash, nar }) => {
      const row = catalogue.must((index) => index.row({ hash, nar }))
      return row !== undefined && row.size !== null && row.lastAccess > 1
    })
  return { ledger, held, written }
}

test('a narinfo that is asked for is no write: only its NAR is, after a while', async () => {
  const { ledger, held, written } = await ledgerOf(2)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate'] })
  onTestFinished(() => void vi.useRealTimers())
  const [asked, used] = [held[0]!, held[1]!]

  for (let times = 0; times < 10; times += 1) ledger.accessed(asked, false)
  expect(vi.getTimerCount()).toBe(0)
  ledger.accessed(used, true)
  expect(written()).toEqual([false, false])
  vi.advanceTimersByTime(aFlush)

  expect(written()).toEqual([false, true])
})

test('a narinfo that was asked for counts when all is written down, as before an eviction or at the end', async () => {
  for (const end of ['flush', 'flushInTurns'] as const) {
    const { ledger, held, written } = await ledgerOf(2)
    ledger.accessed(held[0]!, false)
    await ledger[end]()
    expect(written()).toEqual([true, false])
  }
})

test.each(['asked for', 'recalled', 'recited'])(
  'a narinfo that was only %s keeps its NAR from being evicted',
  async (how) => {
    const fixture = await storeFixture()
    const store = await fixture.open({ maxSize: 30_000 })
    const entries = Array.from({ length: 3 }, () => fixture.add(10_000))
    for (const entry of entries) await put(store, entry)
    const [first, second, third] = [entries[0]!, entries[1]!, entries[2]!]
    // Memory has to know it before it can be recalled.
    for (const { hash } of how === 'recited' ? [second, third] : [first, second, third]) await ask(store, hash)
    if (how === 'recalled') expect(store.recall(first.hash)?.narinfo.storePath.hash).toBe(first.hash)
    else if (how === 'recited') expect(store.recite([first.hash])[0]?.file).toBe(fileOf(first))
    else await ask(store, first.hash)

    await put(store, fixture.add(10_000))

    expect(await Promise.all(entries.map((entry) => holds(store, entry)))).toEqual([true, false, false])
  },
)

test('a NAR that was asked for itself is on record for the next start', async () => {
  const fixture = await storeFixture()
  let now = 1_000_000_000
  const store = await fixture.open({ now: () => now })
  const hello = fixture.add()
  await put(store, hello)
  now += 120_000
  await store.find({ hash: hello.hash, nar: narIdentity(substituteOf(hello).narinfo) }, question())
  expect([...store.list()].map(({ lastAccess }) => lastAccess)).toEqual([now])
})
