// What a restart keeps: everything that was committed, every URL that was handed out, and nothing half.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { openAnswer, startProxy } from '../support/test-proxy.ts'

async function serve(cache: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

async function place(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'substrata-restart-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  return root
}

test('what was committed is served after a restart, without the upstream', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const options = { keys: [cache.publicKey], strata: [[upstream.url]] }
  const root = await place()
  const entry = cache.add({ compression: 'zstd' })
  const before = await startProxy(options, root)
  const url = await before.narUrl(entry.hash)
  const { body: narinfo } = await before.narinfo(entry.hash)
  await before.nar(entry.hash)
  await before.quiet()
  await before.stop()
  await upstream.down()

  const after = await startProxy(options, root)
  expect((await after.narinfo(entry.hash)).body.equals(narinfo)).toBe(true)
  expect((await after.get(url)).body.equals(entry.file)).toBe(true)
})

test('what had come whole when it was told to stop is proved and kept', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const options = { keys: [cache.publicKey], strata: [[upstream.url]], shutdown: '30s' }
  const root = await place()
  const entry = cache.add({ compression: 'zstd', content: Buffer.alloc(200_000_000) })
  const before = await startProxy(options, root)
  await before.nar(entry.hash)
  await before.stop()
  await upstream.down()

  const after = await startProxy(options, root)
  expect((await after.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('a NAR URL that was handed out is good for ever: after a restart and the loss of everything (cases 62, 80)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const options = { keys: [cache.publicKey], strata: [[upstream.url]] }
  const entry = cache.add({ content: randomBytes(100_000) })
  const url = await (await startProxy(options)).narUrl(entry.hash)

  const another = await startProxy(options)
  expect((await another.get(url)).body.equals(entry.file)).toBe(true)
  expect((await another.get(url, { range: 'bytes=99000-' })).body.equals(entry.file.subarray(99_000))).toBe(true)
})

test('a URL that other software handed out at this address is streamed, by its range too (case 62)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const entry = cache.add({ content: randomBytes(100_000) })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const path = entry.narPath.slice(1)
  expect((await proxy.get(path)).body.equals(entry.file)).toBe(true)
  const part = await proxy.get(path, { range: 'bytes=5-9' })
  expect([part.status, part.body.equals(entry.file.subarray(5, 10))]).toEqual([206, true])
  expect((await proxy.get('nar/0000.nar.xz')).status).toBe(404)
})

test('once its narinfo is known, a foreign URL is served from disk like any other', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const entry = cache.add({ content: randomBytes(100_000) })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  await proxy.nar(entry.hash)
  await proxy.quiet()
  await upstream.down()
  expect((await proxy.get(entry.narPath.slice(1))).body.equals(entry.file)).toBe(true)
})

test('a stop in the middle of a NAR keeps nothing of it, and the next start has it whole from the upstream (case 118)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const root = await place()
  const options = { keys: [cache.publicKey], strata: [[upstream.url]], server: '' }
  const entry = cache.add({ content: randomBytes(3_000_000) })
  upstream.script(entry.narPath, { stallAfter: 1_000_000, times: 1 })
  const before = await startProxy(options, root)
  const reading = await openAnswer(`${before.url}/${await before.narUrl(entry.hash)}`)
  const cut = new Promise((resolve) => reading.once('close', resolve))
  reading.on('error', () => {})
  reading.resume()
  await before.stop()
  await cut
  expect(reading.complete).toBe(false)

  const after = await startProxy(options, root)
  expect((await after.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('a NAR that was cut short on disk is fetched again, unseen by the client (case 124)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const entry = cache.add({ content: randomBytes(100_000) })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  await proxy.nar(entry.hash)
  await proxy.quiet()
  const nars = join(proxy.root, 'v1', 'nar')
  const file = (await readdir(nars, { recursive: true })).find((name) => name.endsWith('.nar'))
  await truncate(join(nars, file ?? ''), 50_000)
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('a catalogue that is rubbish costs nothing but a look through the files (case 126)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const root = await place()
  const options = { keys: [cache.publicKey], strata: [[upstream.url]] }
  const entry = cache.add()
  const before = await startProxy(options, root)
  await before.nar(entry.hash)
  await before.quiet()
  await before.stop()
  await upstream.down()
  for (const name of ['catalogue.sqlite-wal', 'catalogue.sqlite-shm']) await rm(join(root, 'v1', name), { force: true })
  await writeFile(join(root, 'v1', 'catalogue.sqlite'), randomBytes(10_000))

  const after = await startProxy(options, root)
  expect((await after.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})
