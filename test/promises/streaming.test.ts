// What clients see while a NAR is on its way: one fetch for all of them, each at its own pace, and an end that tells the truth.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'
import { openAnswer, startProxy, type TestProxy } from '../support/test-proxy.ts'

interface Scene {
  readonly cache: SyntheticCache
  readonly upstream: ScriptedUpstream
  readonly proxy: TestProxy
}

async function scene(): Promise<Scene> {
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  return { cache, upstream, proxy }
}

/** An answer that is held back until `release` is called. */
function gate(): { readonly until: Promise<void>; readonly release: () => void } {
  let release = (): void => {}
  const until = new Promise<void>((go) => (release = go))
  return { until, release }
}

function big(cache: SyntheticCache): SyntheticEntry {
  return cache.add({ content: randomBytes(6_000_000) })
}

test('a miss is streamed, kept, and from then on served from disk with the upstream gone', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = cache.add({ compression: 'zstd', content: randomBytes(300_000) })

  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  await proxy.quiet()
  await upstream.down()

  const again = await proxy.nar(entry.hash)
  expect(again.body.equals(entry.file)).toBe(true)
  expect(again.headers['cache-status']).toMatch(/^substrata; hit/)
})

test('three clients at once, and 300 for one narinfo, are one question each (case 11)', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  const held = gate()
  upstream.script(entry.narinfoPath, { until: held.until })
  const asking = Array.from({ length: 300 }, () => proxy.narinfo(entry.hash))
  await upstream.seen(entry.narinfoPath)
  held.release()
  for (const { status } of await Promise.all(asking)) expect(status).toBe(200)
  expect(upstream.count(entry.narinfoPath)).toBe(1)

  const all = await Promise.all([1, 2, 3].map(() => proxy.nar(entry.hash)))
  for (const { body } of all) expect(body.equals(entry.file)).toBe(true)
  expect(upstream.count(entry.narPath)).toBe(1)
})

test('a client that joins half-way gets everything, from the same fetch', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  upstream.script(entry.narPath, { stallAfter: 3_000_000, times: 1 })
  const url = `${proxy.url}/${await proxy.narUrl(entry.hash)}`
  const first = await openAnswer(url)
  const [some] = (await once(first, 'data')) as [Buffer]
  first.pause()
  const late = await openAnswer(url)
  const [lateSome] = (await once(late, 'data')) as [Buffer]
  const both = Math.min(some.length, lateSome.length)
  expect(lateSome.subarray(0, both).equals(some.subarray(0, both))).toBe(true)
  expect(upstream.count(entry.narPath)).toBe(1)
  first.destroy()
  late.destroy()
})

test('a client that never reads holds up nobody (case 83)', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  const url = `${proxy.url}/${await proxy.narUrl(entry.hash)}`
  const silent = await openAnswer(url)
  silent.pause()

  expect((await proxy.get(await proxy.narUrl(entry.hash))).body.equals(entry.file)).toBe(true)
  await proxy.quiet()
  expect((await proxy.status()).store.nars).toBe(1)
  expect(upstream.count(entry.narPath)).toBe(1)
  silent.destroy()
})

test('a client that hangs up leaves the others alone (case 84)', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  const held = gate()
  upstream.script(entry.narPath, { until: held.until })
  const url = `${proxy.url}/${await proxy.narUrl(entry.hash)}`
  const staying = proxy.nar(entry.hash)
  await upstream.seen(entry.narPath)
  const leaving = openAnswer(url).catch(() => undefined)
  held.release()
  ;(await leaving)?.destroy()
  expect((await staying).body.equals(entry.file)).toBe(true)
  expect(upstream.count(entry.narPath)).toBe(1)
})

test('HEAD opens nothing (case 89)', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  const head = await proxy.get(await proxy.narUrl(entry.hash), {}, 'HEAD')
  expect(head.status).toBe(200)
  expect(head.headers['content-length']).toBe(String(entry.file.length))
  expect(upstream.count(entry.narPath)).toBe(0)
})

test('a range of a NAR that is on its way is those very bytes (case 79), also past what has come', async () => {
  const { cache, proxy } = await scene()
  const entry = big(cache)
  const url = await proxy.narUrl(entry.hash)
  const [whole, tail] = await Promise.all([proxy.get(url), proxy.get(url, { range: 'bytes=5999000-' })])
  expect(whole.body.equals(entry.file)).toBe(true)
  expect(tail.status).toBe(206)
  expect(tail.headers['content-range']).toBe(`bytes 5999000-${entry.file.length - 1}/${entry.file.length}`)
  expect(tail.body.equals(entry.file.subarray(5_999_000))).toBe(true)
})

test('three deaths in one NAR go unseen by its client (case 66)', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  upstream.script(entry.narPath, { cutAfter: 1_500_000, times: 3 })
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect(upstream.count(entry.narPath)).toBe(4)
})

test('a NAR that nobody can finish ends with a broken connection, and is not kept (case 67)', async () => {
  const { cache, upstream, proxy } = await scene()
  const entry = big(cache)
  const url = await proxy.narUrl(entry.hash)
  upstream.script(entry.narPath, { cutAfter: 1_000_000, times: 1 })
  upstream.script(entry.narPath, { status: 500, when: ({ headers }) => headers.range !== undefined })
  await expect(proxy.get(url)).rejects.toThrow()
  await proxy.quiet()
  expect((await proxy.status()).store.nars).toBe(0)
})

test('a NAR of 112 bytes works, and one of none is an error (case 88)', async () => {
  const { cache, upstream, proxy } = await scene()
  const empty = cache.add({ content: '' })
  expect(empty.file.length).toBe(112)
  expect((await proxy.nar(empty.hash)).body.equals(empty.file)).toBe(true)
  const nothing = cache.add({ compression: 'zstd' })
  upstream.script(nothing.narPath, { body: '' })
  const url = await proxy.narUrl(nothing.hash)
  const answer = await proxy.get(url).catch(() => undefined)
  expect(answer?.status).not.toBe(200)
})
