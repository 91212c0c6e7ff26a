// The store: what was committed is found and read back as it was, cheaply, whatever happened in between.

import { randomBytes } from 'node:crypto'
import {
  appendFile,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rm,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, expect, test } from 'vitest'

import { narIdentity, narUrl } from '../../src/nix/nar-url.ts'
import { parseNarInfo, printNarInfo, withSignatures } from '../../src/nix/narinfo.ts'
import { parsePublicKey, parseSignature } from '../../src/nix/signature.ts'
import { DiskStore } from '../../src/store/disk-store.ts'
import { Trail } from '../../src/trail.ts'
import { question } from '../support/scripted-substituter.ts'
import { absentHash, bytesOf, testSubstituter } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { ask, fileOf, holds, pathOf, put, read, storeFixture, StoreFixture, substituteOf } from './store-fixture.ts'

const never = new AbortController().signal

async function conformance(memory: number) {
  const fixture = new StoreFixture(await mkdtemp(join(tmpdir(), 'substrata-store-')))
  const store = await fixture.open({ memory })
  const hello = fixture.add(3_000_000)
  await put(store, hello)
  return {
    substituter: store,
    has: { hash: hello.hash, file: hello.file },
    lacks: absentHash,
    cleanup: () => fixture.cleanup(),
  }
}

testSubstituter('a store', () => conformance(1024 * 1024))
testSubstituter('a store without memory', () => conformance(0))

describe('a hit', () => {
  test('gives the very same narinfo each time, as its sender wrote it', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add(1000, { fields: { 'X-Unknown': 'kept' } })
    await put(store, hello)

    const first = await ask(store, hello.hash)
    const second = await ask(store, hello.hash)

    expect(second).toBe(first)
    expect(second?.narinfo).toBe(first?.narinfo)
    expect(printNarInfo(first!.narinfo, first!.narinfo.url)).toBe(hello.narinfo)
    expect(first).toMatchObject({ from: 'store', signedBy: 'cache.test-1', peer: false })
  })

  test('writes one line into the trail', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add()
    await put(store, hello)
    const trail = new Trail()

    await store.find({ hash: hello.hash }, question({ trail }))

    expect(trail.entries.map(({ who, stratum, outcome }) => [who, stratum, outcome.kind])).toEqual([
      ['store', 'store', 'found'],
    ])
    expect(trail.winner).toBe('store')
  })

  test('is there after a restart, and after kill -9 (case 121)', async () => {
    const fixture = await storeFixture()
    const hello = fixture.add(100_000)
    const store = await fixture.open()
    await put(store, hello)
    await store.settled()

    // What a process leaves that is killed: its files as they are.
    const other = await storeFixture()
    await copyTree(fixture.root, other.root)
    const revived = await DiskStore.open({ ...fixture.options(), root: other.root })

    expect(await read(revived, hello)).toEqual(hello.file)
    expect(revived.stats()).toMatchObject({ nars: 1, bytes: hello.file.length, rebuilding: false })
    await revived.close()
    await store.close()
    expect(await read(await fixture.open(), hello)).toEqual(hello.file)
  })

  test('for these exact bytes is not answered with others (case 64)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const plain = fixture.add(50_000)
    const packed = fixture.cache.add({ nar: plain.nar, hash: plain.hash, compression: 'zstd' })
    await put(store, plain)
    await put(store, packed)

    for (const entry of [plain, packed]) {
      const nar = narIdentity(parseNarInfo(entry.narinfo, '/nix/store'))
      const held = await store.find({ hash: entry.hash, nar }, question())
      expect(await bytesOf(await held!.open(undefined, never))).toEqual(entry.file)
      expect(await store.find({ hash: entry.hash, nar }, question())).toBe(held)
    }
    // Whoever names no bytes gets what came first.
    expect((await ask(store, plain.hash))?.narinfo.compression).toBe('none')
    expect(store.stats().nars).toBe(2)
  })

  test('of one path never mixes with another NAR of it (case 50)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const first = fixture.add()
    const other = fixture.add(1000, { hash: first.hash, url: 'nar/other.nar' })
    await put(store, first)
    store.remember(substituteOf(other))
    const nar = narIdentity(parseNarInfo(other.narinfo, '/nix/store'))

    expect((await ask(store, first.hash))?.narinfo.narHash).toBe(first.narHash)
    expect(await store.find({ hash: first.hash, nar }, question())).toBeUndefined()
    // The promise that was handed out can still be looked up.
    expect(store.known(first.hash, nar)?.narinfo.narHash).toBe(other.narHash)
  })

  test('of a NAR that was committed twice is the first one', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add()
    await put(store, hello)
    const resigned = hello.narinfo.replace(/^Sig:.*\n/m, '')
    await put(store, { ...hello, narinfo: resigned })

    expect((await ask(store, hello.hash))?.narinfo.signatures).toHaveLength(1)
    expect(store.stats()).toMatchObject({ nars: 1, bytes: hello.file.length })
    expect(await fixture.files()).toEqual([fileOf(hello), `${fileOf(hello)}.narinfo`])
  })
})

describe('a NAR', () => {
  test('of an empty file and one of exactly a buffer are read whole (case 88)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    for (const size of [112, 256 * 1024, 1024 * 1024, 1024 * 1024 + 8, 2 * 1024 * 1024]) {
      const entry = fixture.add(size)
      await put(store, entry)
      expect(Buffer.compare(await read(store, entry), entry.file)).toBe(0)
    }
  })

  test('of more than 4 GiB is read at its end (case 87)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const size = 5 * 1024 ** 3
    const hello = fixture.add(1000, { fields: { FileSize: String(size) } })
    const reservation = await store.reserve(substituteOf(hello), size)
    // A hole, and something at its end.
    await reservation.file.write('the end', size - 7)
    await reservation.commit('file', size)
    await reservation.file.close()

    const nar = await (await ask(store, hello.hash))!.open({ start: size - 7 }, never)

    expect((await bytesOf(nar)).toString()).toBe('the end')
    expect(store.stats().bytes).toBe(size)
  })

  test('that was opened is read to the end though it is evicted meanwhile (case 127)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add(3_000_000)
    await put(store, hello)
    const nar = await (await ask(store, hello.hash))!.open(undefined, never)
    const body = nar.body[Symbol.asyncIterator]()
    const first = Buffer.from((await body.next()).value as Uint8Array)

    await unlink(pathOf(fixture, hello))
    const rest = await bytesOf({ body: { [Symbol.asyncIterator]: () => body } })

    expect(Buffer.compare(Buffer.concat([first, rest]), hello.file)).toBe(0)
  })

  test('that becomes shorter while it is read never ends well (case 124)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add(5_000_000)
    await put(store, hello)
    const nar = await (await ask(store, hello.hash))!.open(undefined, never)
    const body = nar.body[Symbol.asyncIterator]()
    await body.next()
    await truncate(pathOf(fixture, hello), 2_500_000)

    await expect(bytesOf({ body: { [Symbol.asyncIterator]: () => body } })).rejects.toMatchObject({ code: 'damaged' })
  })

  test('whose file has another size is quarantined, and gone (case 124)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add()
    await put(store, hello)
    await appendFile(pathOf(fixture, hello), 'x')
    const held = await ask(store, hello.hash)

    await expect(held!.open(undefined, never)).rejects.toMatchObject({ code: 'gone' })

    expect(await holds(store, hello)).toBe(false)
    expect(store.stats()).toMatchObject({ bytes: 0, nars: 0, narinfos: 1 })
    expect(await readdir(join(fixture.root, 'v1', 'quarantine'))).toEqual([fileOf(hello)])
    expect(fixture.logged('warn')).toHaveLength(1)
    // It can be had again.
    await put(store, hello)
    expect(await read(store, hello)).toEqual(hello.file)
  })

  test('whose file was deleted is gone, and can be put again (case 125)', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add()
    await put(store, hello)
    await unlink(pathOf(fixture, hello))
    const held = await ask(store, hello.hash)

    await expect(held!.open(undefined, never)).rejects.toMatchObject({ code: 'gone' })

    expect(await holds(store, hello)).toBe(false)
    expect(store.known(hello.hash)?.from).toBe('upstream')
    expect(await fixture.files()).toEqual([])
    await put(store, hello)
    expect(await read(store, hello)).toEqual(hello.file)
  })

  test('whose body nobody iterates can be let go of', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add(3_000_000)
    await put(store, hello)
    const held = await ask(store, hello.hash)
    const before = await openFiles(fixture.root)
    const bodies = await Promise.all([1, 2, 3].map(async () => (await held!.open(undefined, never)).body))
    expect(await openFiles(fixture.root)).toBe(before + 3)

    const [one, two, three] = bodies.map((body) => body[Symbol.asyncIterator]())
    await one!.return!()
    await two!.next()
    await two!.return!()
    const reading = three!.next()
    await three!.return!()
    expect((await reading).done).toBe(true)

    expect(await openFiles(fixture.root)).toBe(before)
    expect(await one!.next()).toEqual({ done: true, value: undefined })
  })
})

describe('a narinfo without its NAR', () => {
  test('is known at once and after a restart, and is no hit', async () => {
    const fixture = await storeFixture()
    const hello = fixture.add()
    let store = await fixture.open({ now: () => 1_000_000 })
    store.remember(substituteOf(hello, 'event'))

    const atOnce = store.known(hello.hash)
    expect(atOnce).toMatchObject({ from: 'event', signedBy: 'cache.test-1', recordedAt: 1_000_000 })
    expect(atOnce).not.toHaveProperty('held')
    expect(await holds(store, hello)).toBe(false)
    await store.close()

    store = await fixture.open()
    expect(await holds(store, hello)).toBe(false)
    expect(store.known(hello.hash)).toEqual(atOnce)
    expect(store.stats()).toMatchObject({ nars: 0, narinfos: 1 })
  })

  test('becomes a hit when its NAR is committed', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add()
    store.remember(substituteOf(hello))
    expect(await holds(store, hello)).toBe(false)

    await put(store, hello)

    expect(await holds(store, hello)).toBe(true)
    expect(store.stats()).toMatchObject({ nars: 1, narinfos: 1 })
  })

  test('does not replace the one of a NAR that is held, in memory or on disk', async () => {
    const fixture = await storeFixture()
    const hello = fixture.add()
    let store = await fixture.open({ memory: 0 })
    await put(store, hello)
    store.remember(substituteOf({ narinfo: hello.narinfo.replace('URL: nar/', 'URL: other/') }))
    expect(await holds(store, hello)).toBe(true)
    await store.close()

    store = await fixture.open()
    expect((await ask(store, hello.hash))?.narinfo.url).toMatch(/^nar\//)
  })

  test('is forgotten when there are too many, the oldest first', async () => {
    const fixture = await storeFixture()
    let now = 1000
    let store = await fixture.open({ mostBare: 10, now: () => now++ })
    const entries = Array.from({ length: 25 }, () => fixture.add())
    for (const entry of entries) store.remember(substituteOf(entry))
    await store.close()

    store = await fixture.open()
    expect(store.stats().narinfos).toBe(10)
    expect(entries.map(({ hash }) => store.known(hash) !== undefined)).toEqual(entries.map((_, index) => index >= 15))
  })

  test('is found by its URL field', async () => {
    const fixture = await storeFixture()
    let store = await fixture.open()
    const seen = fixture.add(1000, { url: 'nar/some-uuid.nar?hash=x' })
    const held = fixture.add(1000, { url: 'nar/held.nar' })
    store.remember(substituteOf(seen))
    await put(store, held)
    await store.close()

    store = await fixture.open()
    expect(store.byUrl('nar/some-uuid.nar?hash=x')).toBe(seen.hash)
    expect(store.byUrl('nar/held.nar')).toBe(held.hash)
    expect(store.byUrl('nar/some-uuid.nar')).toBeUndefined()
  })
})

describe('trusted keys', () => {
  test('that no longer include the signer end the hit, and restored ones bring it back (case 144)', async () => {
    const fixture = await storeFixture()
    const hello = fixture.add()
    const seen = fixture.add()
    let store = await fixture.open()
    await put(store, hello)
    store.remember(substituteOf(seen))
    await store.close()

    const others = [parsePublicKey(new SyntheticCache({ keyName: 'another-1' }).publicKey)]
    // Twice: the verdict is remembered.
    for (const _ of [1, 2]) {
      store = await fixture.open({ keys: others })
      expect(await holds(store, hello)).toBe(false)
      expect(store.known(seen.hash)).toBeUndefined()
      await store.close()
    }

    store = await fixture.open({ keys: [...others, parsePublicKey(fixture.cache.publicKey)] })
    expect(await ask(store, hello.hash)).toMatchObject({ signedBy: 'cache.test-1' })
    await store.close()

    store = await fixture.open({ keys: [] })
    expect(await ask(store, hello.hash)).toMatchObject({ signedBy: undefined })
  })

  test('are not asked about a path that proves itself', async () => {
    const fixture = await storeFixture()
    const proved = fixture.add(1000, { contentAddressed: true, signed: false })
    let store = await fixture.open({ keys: [] })
    await put(store, proved)
    await store.close()

    store = await fixture.open()
    expect(await ask(store, proved.hash)).toMatchObject({ signedBy: 'ca' })
  })

  test('that were not asked when it was put are asked when it is served', async () => {
    const fixture = await storeFixture()
    const [signed, unsigned] = [fixture.add(), fixture.add(1000, { signed: false })]
    const store = await fixture.open()
    for (const entry of [signed, unsigned]) {
      const reservation = await store.reserve({ ...substituteOf(entry), signedBy: undefined }, entry.file.length)
      await reservation.file.writeFile(entry.file)
      await reservation.commit('nar', entry.file.length)
      await reservation.file.close()
    }

    expect(await ask(store, signed.hash)).toMatchObject({ signedBy: 'cache.test-1' })
    expect(await holds(store, unsigned)).toBe(false)
  })
})

describe('a narinfo that is signed once more', () => {
  test('is served with both signatures, also from the files alone', async () => {
    const fixture = await storeFixture()
    const store = await fixture.open()
    const hello = fixture.add()
    await put(store, hello)
    const narinfo = parseNarInfo(hello.narinfo, '/nix/store')
    const more = withSignatures(narinfo, [parseSignature(`second-1:${randomBytes(64).toString('base64')}`)!])

    expect(await store.amend(more, 'cache.test-1')).toBe(true)

    expect((await ask(store, hello.hash))?.narinfo.signatures).toHaveLength(2)
    await store.rebuild()
    expect((await ask(store, hello.hash))?.narinfo.signatures).toHaveLength(2)
    const other = parseNarInfo(fixture.add().narinfo, '/nix/store')
    expect(await store.amend(other, 'cache.test-1')).toBe(false)
  })
})

test('a wrong FileSize is put right where the NAR was proved (case 32)', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add(1000, { fields: { FileSize: '7' } })
  await put(store, hello)

  expect((await ask(store, hello.hash))?.narinfo.fileSize).toBe(hello.file.length)
  await store.rebuild()
  const { narinfo } = (await ask(store, hello.hash))!
  expect(printNarInfo(narinfo, narUrl(narinfo))).toContain(`FileSize: ${hello.file.length}\n`)
})

test('what is listed says what is kept, and why', async () => {
  const fixture = await storeFixture()
  let now = 5000
  const store = await fixture.open({ now: () => now })
  const [plain, pinned, uploaded] = [fixture.add(), fixture.add(2000), fixture.add()]
  await put(store, plain)
  await put(store, pinned)
  await put(store, uploaded, { uploaded: true })
  await store.pin(pinned.hash)
  now = 9000
  await ask(store, plain.hash)

  const listed = [...store.list()]

  expect(listed.map(({ hash }) => hash)).toEqual([plain.hash, pinned.hash, uploaded.hash])
  expect(listed.map(({ lastAccess }) => lastAccess)).toEqual([9000, 5000, 5000])
  expect(listed.map(({ pinned, uploaded }) => [pinned, uploaded])).toEqual([
    [false, false],
    [true, false],
    [false, true],
  ])
  expect(listed[1]).toMatchObject({ size: pinned.file.length, from: 'upstream', checked: 'nar', file: fileOf(pinned) })
  expect(listed[1]?.narinfo).toBe(pinned.narinfo)
})

test('files of other kinds among ours do no harm', async () => {
  const fixture = await storeFixture()
  let store = await fixture.open()
  const hello = fixture.add()
  await put(store, hello)
  await writeFile(join(fixture.root, 'v1', 'nar', 'README'), 'hands off')
  await writeFile(`${pathOf(fixture, hello)}.bak`, 'hands off')
  await store.rebuild()
  await store.close()

  store = await fixture.open()
  expect(await read(store, hello)).toEqual(hello.file)
  expect(await fixture.files()).toContain('README')
})

/** How many files below this directory are open in this process. */
async function openFiles(root: string): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return links.filter((link) => link.startsWith(root)).length
}

/** Copies a store that is in use, as a killed process would leave it. The lock stays behind: opening it here would end it. */
async function copyTree(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true })
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const copy = join(to, path.slice(from.length))
    if (entry.isDirectory()) await mkdir(copy, { recursive: true })
    else if (entry.name !== 'lock.sqlite') {
      await mkdir(join(copy, '..'), { recursive: true })
      await copyFile(path, copy)
    }
  }
}
