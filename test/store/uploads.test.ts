// Uploads: unseen until their narinfo is there, verified like anything else, and nothing left of what was refused.

import { randomBytes } from 'node:crypto'

import { expect, onTestFinished, test } from 'vitest'

import { parsePublicKey } from '../../src/nix/signature.ts'
import type { DiskStore } from '../../src/store/disk-store.ts'
import { UploadedNars } from '../../src/store/uploads.ts'
import { Verifier } from '../../src/store/verifier.ts'
import { question } from '../support/scripted-substituter.ts'
import { bytesOf } from '../support/substituter-conformance.ts'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'
import { storeFixture, type StoreFixture } from './store-fixture.ts'

interface Scene {
  readonly fixture: StoreFixture
  readonly store: DiskStore
  readonly uploads: UploadedNars
}

async function scene(evict = false): Promise<Scene> {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const verifier = new Verifier({ threads: 1 })
  const keys = [parsePublicKey(fixture.cache.publicKey)]
  const uploads = new UploadedNars({ store, verifier, keys, storeDir: '/nix/store', evict })
  onTestFinished(async () => {
    await uploads.close()
    await verifier.close()
    expect((await fixture.files()).filter((name) => name.includes('upload.'))).toEqual([])
  })
  return { fixture, store, uploads }
}

async function* body(...chunks: readonly Buffer[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield await Promise.resolve(chunk)
}

function urlOf({ narPath }: SyntheticEntry): string {
  return narPath.slice(1)
}

async function upload({ uploads }: Scene, entry: SyntheticEntry, file = entry.file): Promise<void> {
  await uploads.putNar(urlOf(entry), body(file.subarray(0, 100), file.subarray(100)), file.length)
  await uploads.putNarInfo(entry.hash, entry.narinfo)
}

async function held({ store }: Scene, entry: SyntheticEntry): Promise<Buffer | undefined> {
  const found = await store.find({ hash: entry.hash }, question())
  return found && bytesOf(await found.open(undefined, new AbortController().signal))
}

test('a path is seen when its narinfo has come, not before; it is kept for good, under the uploader’s signature', async () => {
  const at = await scene()
  const entry = at.fixture.cache.add({ compression: 'zstd', content: randomBytes(50_000) })
  await at.uploads.putNar(urlOf(entry), body(entry.file), undefined)
  expect(await at.uploads.narSize(urlOf(entry))).toBe(entry.file.length)
  expect(await held(at, entry)).toBeUndefined()

  await at.uploads.putNarInfo(entry.hash, entry.narinfo)

  expect((await held(at, entry))?.equals(entry.file)).toBe(true)
  expect([...at.store.list()]).toMatchObject([{ hash: entry.hash, uploaded: true, narinfo: entry.narinfo }])
})

test('where the operator allows it, uploads may be evicted', async () => {
  const at = await scene(true)
  await upload(at, at.fixture.cache.add())
  expect([...at.store.list()]).toMatchObject([{ uploaded: false }])
})

test.each<[string, (entry: SyntheticEntry) => Buffer]>([
  ['another NAR than the one that was signed', ({ file }) => randomBytes(file.length)],
  [
    'one flipped bit',
    ({ file }) => Buffer.concat([file.subarray(0, 500), Buffer.from([file[500]! ^ 1]), file.subarray(501)]),
  ],
  ['half a NAR', ({ file }) => file.subarray(0, file.length / 2)],
])('%s is refused and not kept', async (_, wrong) => {
  const at = await scene()
  const entry = at.fixture.cache.add({ fileHash: false })
  await expect(upload(at, entry, wrong(entry))).rejects.toMatchObject({ code: 'damaged' })
  expect(await held(at, entry)).toBeUndefined()
  expect(at.store.stats().nars).toBe(0)
})

test('a body shorter than its Content-Length is refused, and no NAR waits', async () => {
  const at = await scene()
  const entry = at.fixture.cache.add()
  const short = at.uploads.putNar(urlOf(entry), body(entry.file.subarray(0, 100)), entry.file.length)
  await expect(short).rejects.toMatchObject({ code: 'damaged' })
  expect(await at.uploads.narSize(urlOf(entry))).toBeUndefined()
})

test('a path that no trusted key has signed is refused in words that help', async () => {
  const at = await scene()
  const entry = new SyntheticCache({ keyName: 'stranger-1' }).add()
  const refusal = upload(at, entry)
  await expect(refusal).rejects.toMatchObject({ code: 'untrusted' })
  await expect(refusal).rejects.toThrow(/nix store sign/)
  expect(await held(at, entry)).toBeUndefined()
})

test('a content-addressed path needs no signature', async () => {
  const at = await scene()
  const entry = at.fixture.cache.add({ contentAddressed: true, signed: false })
  await upload(at, entry)
  expect((await held(at, entry))?.equals(entry.file)).toBe(true)
})

test('a narinfo without its NAR, and one of another path, are refused', async () => {
  const at = await scene()
  const [entry, other] = [at.fixture.cache.add(), at.fixture.cache.add()]
  await expect(at.uploads.putNarInfo(entry.hash, entry.narinfo)).rejects.toMatchObject({ code: 'gone' })
  await expect(at.uploads.putNarInfo(entry.hash, other.narinfo)).rejects.toMatchObject({ code: 'bad-narinfo' })
})

test('two paths with the same contents have one NAR, which is sent once', async () => {
  const at = await scene()
  const content = randomBytes(10_000)
  const [first, second] = [at.fixture.cache.add({ content }), at.fixture.cache.add({ content, name: 'other' })]
  await upload(at, first)
  expect(urlOf(second)).toBe(urlOf(first))
  expect(await at.uploads.narSize(urlOf(second))).toBe(second.file.length)
  await at.uploads.putNarInfo(second.hash, second.narinfo)
  expect((await held(at, second))?.equals(second.file)).toBe(true)
})

test('of two clients who upload the same path the second leaves nothing waiting', async () => {
  const at = await scene()
  const entry = at.fixture.cache.add()
  await upload(at, entry)
  await upload(at, entry)
  expect((await at.fixture.files()).filter((name) => name.includes('upload.'))).toEqual([])
  expect((await held(at, entry))?.equals(entry.file)).toBe(true)
})

test('a further signature is added to a path that is here, and the first stays byte for byte', async () => {
  const at = await scene()
  const entry = at.fixture.cache.add()
  await upload(at, entry)
  const more = new SyntheticCache({ keyName: 'second-1' }).sign('whatever it signs')
  await at.uploads.putNarInfo(entry.hash, `${entry.narinfo}Sig: ${more}\n`)
  const found = await at.store.find({ hash: entry.hash }, question())
  const [original] = /(?<=^Sig: ).*$/m.exec(entry.narinfo) ?? []
  expect(found?.narinfo.signatures.map(({ line }) => line)).toEqual([original, more])
})
