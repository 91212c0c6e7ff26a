// Nothing wrong is kept, nothing wrong ends well, and no failure is remembered as "missing".

import { createHash, randomBytes } from 'node:crypto'

import { describe, expect, onTestFinished, test } from 'vitest'
import { compress as zstdSync } from 'zstd-napi'

import { startScriptedUpstream, type Behaviour, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { startProxy } from '../support/test-proxy.ts'

async function upstreamOf(cache: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

const wrongNars: readonly (readonly [string, Behaviour])[] = [
  ['one flipped bit (case 69)', { wrongByte: 150_000 }],
  ['a web page (case 75)', { html: true }],
  ['too few bytes, ended cleanly (case 67)', { endAfter: 1000, chunked: true }],
  ['bytes without end (case 68)', { body: '', endless: true }],
  ['an encoding that was not asked for (case 77)', { encoding: 'gzip' }],
  ['206 although nobody asked (case 76)', { lie206: { contentRange: 'bytes 0-99/300112', start: 0, end: 99 } }],
]

describe.each(wrongNars)('a NAR with %s', (_, behaviour) => {
  test('is not kept, and no client sees it end well', async () => {
    const cache = new SyntheticCache()
    const upstream = await upstreamOf(cache)
    const entry = cache.add({ content: randomBytes(300_000) })
    upstream.script(entry.narPath, behaviour)
    const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })

    const url = await proxy.narUrl(entry.hash)
    const answer = await proxy.get(url).catch(() => undefined)

    expect(answer === undefined || answer.status >= 400).toBe(true)
    await proxy.quiet()
    expect((await proxy.status()).store.nars).toBe(0)
  })

  test('is fetched from another, for the same client or at the latest for the next', async () => {
    const cache = new SyntheticCache()
    const [bad, good] = [await upstreamOf(cache), await upstreamOf(cache)]
    const entry = cache.add({ content: randomBytes(300_000) })
    bad.script(entry.narPath, behaviour)
    // Its narinfo is there first, so that its NAR is asked for.
    good.script(entry.narinfoPath, { until: bad.seen(entry.narinfoPath), delay: 100 })
    const proxy = await startProxy({ keys: [cache.publicKey], strata: [[bad.url, good.url]] })

    const url = await proxy.narUrl(entry.hash)
    const first = await proxy.get(url).catch(() => undefined)
    if (first?.status === 200) expect(first.body.equals(entry.file)).toBe(true)
    await proxy.quiet()
    expect((await proxy.get(url)).body.equals(entry.file)).toBe(true)
  })
})

test('a NAR with bytes without end after it is cut at its end, and is right (case 68)', async () => {
  const cache = new SyntheticCache()
  const upstream = await upstreamOf(cache)
  const entries = (['none', 'zstd'] as const).map((compression) =>
    cache.add({ content: randomBytes(300_000), compression }),
  )
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  for (const entry of entries) {
    upstream.script(entry.narPath, { endless: true })
    expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  }
})

test('a bomb whose FileHash fits never ends well where it takes longer to come than to be seen through (case 72)', async () => {
  const cache = new SyntheticCache()
  const upstream = await upstreamOf(cache)
  const entry = cache.add()
  const bomb = Buffer.concat([zstdSync(Buffer.alloc(16 * 1024 * 1024)), zstdSync(randomBytes(100_000))])
  const fileHash = nix32(createHash('sha256').update(bomb).digest())
  const narinfo = entry.narinfo
    .replace('Compression: none', 'Compression: zstd')
    .replace(/^FileHash: .*$/m, `FileHash: sha256:${fileHash}`)
    .replace(/^FileSize: .*$/m, `FileSize: ${bomb.length}`)
  cache.put(entry.narinfoPath, narinfo)
  upstream.script(entry.narPath, { body: bomb, drip: { bytes: 1000, every: 50 } })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })

  await expect(proxy.nar(entry.hash)).rejects.toThrow()
  await proxy.quiet()
  expect((await proxy.status()).store.nars).toBe(0)
})

test('a failure is never remembered as missing (case 97)', async () => {
  const cache = new SyntheticCache()
  const upstream = await upstreamOf(cache)
  const entry = cache.add()
  upstream.script(entry.narinfoPath, { status: 500, times: 1 })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  expect((await proxy.narinfo(entry.hash)).status).toBe(404)
  expect((await proxy.narinfo(entry.hash)).status).toBe(200)
})

test('where the operator prefers a stop to a build, the same failure is 502 (case 96)', async () => {
  const cache = new SyntheticCache()
  const upstream = await upstreamOf(cache)
  const entry = cache.add()
  upstream.script(entry.narinfoPath, { status: 500, times: 1 })
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[upstream.url]],
    server: 'unreachable = "error"',
  })
  expect((await proxy.narinfo(entry.hash)).status).toBe(502)
  expect((await proxy.narinfo('0'.repeat(32))).status).toBe(404)
})

test('a captive portal beside a good upstream costs nothing, and nothing of it is kept (cases 16, 17)', async () => {
  const cache = new SyntheticCache()
  const [portal, good] = [await upstreamOf(cache), await upstreamOf(cache)]
  portal.script(/./, { html: true })
  const entries = Array.from({ length: 20 }, () => cache.add())
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[portal.url, good.url]] })
  for (const entry of entries) expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('an upstream that takes every question and answers none costs the one beside it nothing (case 85)', async () => {
  const cache = new SyntheticCache()
  const [hung, good] = [await upstreamOf(cache), await upstreamOf(cache)]
  hung.script(/./, { never: true })
  const entry = cache.add()
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[hung.url, good.url]] })
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('a stratum of nothing but hung upstreams costs a hedge, and the next one answers', async () => {
  const cache = new SyntheticCache()
  const [hung, good] = [await upstreamOf(cache), await upstreamOf(cache)]
  hung.script(/./, { never: true })
  const entry = cache.add()
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[hung.url], [good.url]],
    stratum: 'hedge = "50ms"',
  })
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('narinfos that are unsigned, signed by a stranger, or of another path lose to the right one (cases 18, 46, 47)', async () => {
  const cache = new SyntheticCache()
  const stranger = new SyntheticCache({ keyName: 'stranger-1' })
  const [bad, good] = [await upstreamOf(stranger), await upstreamOf(cache)]
  const entries = [0, 1, 2].map(() => cache.add())
  const [unsigned, strange, other] = entries
  stranger.put(unsigned!.narinfoPath, unsigned!.narinfo.replace(/^Sig: .*\n/m, ''))
  stranger.put(strange!.narinfoPath, stranger.add({ hash: strange!.hash }).narinfo)
  stranger.put(other!.narinfoPath, unsigned!.narinfo)
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[bad.url], [good.url]] })
  for (const entry of entries) {
    const { body } = await proxy.narinfo(entry.hash)
    expect(body.toString()).toContain(`StorePath: ${entry.storePath}\n`)
    expect(body.toString()).toContain(`Sig: ${cache.keyName}:`)
    expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  }
})

test('the winner is the first right narinfo, not the first answer (case 52)', async () => {
  const cache = new SyntheticCache()
  const tampered = new SyntheticCache()
  const [quick, slow] = [await upstreamOf(tampered), await upstreamOf(cache)]
  const entry = cache.add()
  tampered.put(entry.narinfoPath, entry.narinfo.replace(/^NarSize: .*$/m, 'NarSize: 99'))
  slow.script(entry.narinfoPath, { delay: 200 })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[quick.url, slow.url]] })
  expect((await proxy.narinfo(entry.hash)).body.toString()).toContain(`NarSize: ${entry.nar.length}\n`)
})

test('one URL for two narinfos with different NARs: each is held to its own (case 60)', async () => {
  const cache = new SyntheticCache()
  const upstream = await upstreamOf(cache)
  const [right, wrong] = [cache.add({ url: 'nar/same.nar' }), cache.add({ url: 'nar/same.nar' })]
  cache.put('/nar/same.nar', right.file)
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  expect((await proxy.nar(right.hash)).body.equals(right.file)).toBe(true)
  await expect(proxy.nar(wrong.hash)).rejects.toThrow()
  await proxy.quiet()
  expect((await proxy.status()).store.nars).toBe(1)
})

test('the same URL on two upstreams with different bytes is two NARs (case 61)', async () => {
  const [one, two] = [new SyntheticCache({ keyName: 'one-1' }), new SyntheticCache({ keyName: 'two-1' })]
  const [first, second] = [await upstreamOf(one), await upstreamOf(two)]
  const [a, b] = [one.add({ url: 'nar/x.nar' }), two.add({ url: 'nar/x.nar' })]
  const proxy = await startProxy({ keys: [one.publicKey, two.publicKey], strata: [[first.url, second.url]] })
  expect((await proxy.nar(a.hash)).body.equals(a.file)).toBe(true)
  expect((await proxy.nar(b.hash)).body.equals(b.file)).toBe(true)
})
