// Peers: asked for what they hold and nothing else, never believed without a signature, and never a way to a damaged NAR.

import { createHash, randomBytes } from 'node:crypto'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { startProxy } from '../support/test-proxy.ts'

async function serve(cache: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

test('what a peer holds comes from it, with the uplink gone; what it would have to fetch does not (case 140)', async () => {
  const cache = new SyntheticCache()
  const origin = await serve(cache)
  const [held, unheld] = [cache.add({ content: randomBytes(200_000), compression: 'zstd' }), cache.add()]
  const near = await startProxy({ keys: [cache.publicKey], strata: [[origin.url]] })
  await near.nar(held.hash)
  await near.quiet()
  const proxy = await startProxy({ keys: [cache.publicKey], peers: [[near.url]] })
  const asked = origin.count()

  const got = await proxy.nar(held.hash)
  expect(got.body.equals(held.file)).toBe(true)
  expect((await proxy.narinfo(held.hash)).body.toString()).toContain(held.narinfo.split('\n').at(-2))
  expect((await proxy.narinfo(unheld.hash)).status).toBe(404)
  expect(origin.count()).toBe(asked)
})

test('two peers who lack a path do not ask each other in a circle (cases 107, 140)', async () => {
  const cache = new SyntheticCache()
  const one = await startProxy({ keys: [cache.publicKey], strata: [[]], peers: [['http://127.0.0.1:1']] })
  const two = await startProxy({ keys: [cache.publicKey], peers: [[one.url]] })
  expect((await two.narinfo('0'.repeat(32))).status).toBe(404)
})

test('a peer with a true narinfo and a wrong NAR is found out before the last byte, and nothing is kept (case 135)', async () => {
  const cache = new SyntheticCache()
  const liar = await serve(cache)
  // Its FileHash fits its bytes: only what was signed gives it away.
  const lie = cache.add({ content: randomBytes(200_000) })
  const entry = cache.add({ content: randomBytes(200_000), fields: { FileHash: `sha256:${lie.fileHash}` } })
  cache.put(entry.narPath, lie.file)
  const proxy = await startProxy({ keys: [cache.publicKey], peers: [[liar.url]] })
  await expect(proxy.nar(entry.hash)).rejects.toThrow()
  await proxy.quiet()
  expect((await proxy.status()).store.nars).toBe(0)
})

test('an unsigned path that only names its content is not taken from a peer, one that names its NAR is', async () => {
  const cache = new SyntheticCache()
  const peer = await serve(cache)
  const entry = cache.add({ contentAddressed: true, signed: false })
  // What toFile makes: the text is fixed by the path, the NAR around it is not.
  const text = 'a text'
  const digest = createHash('sha256').update(text).digest('hex')
  const folded = Buffer.alloc(20)
  const whole = createHash('sha256').update(`text:sha256:${digest}:/nix/store:a.txt`).digest()
  for (const [at, byte] of whole.entries()) folded[at % 20]! ^= byte
  const strange = cache.add({
    name: 'a.txt',
    hash: nix32(folded),
    content: text,
    signed: false,
    fields: { CA: `text:sha256:${digest}` },
  })
  const upstream = await startProxy({ keys: [cache.publicKey], strata: [[peer.url]] })
  expect((await upstream.narinfo(strange.hash)).status).toBe(200)
  const proxy = await startProxy({ keys: [cache.publicKey], peers: [[peer.url]] })
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect((await proxy.narinfo(strange.hash)).status).toBe(404)
})

test('a peer that wins every race with rubbish does not keep anybody from the right answer (case 134)', async () => {
  const cache = new SyntheticCache()
  const stranger = new SyntheticCache({ keyName: 'stranger-1' })
  const [malicious, origin] = [await serve(stranger), await serve(cache)]
  const entries = Array.from({ length: 10 }, () => cache.add())
  for (const entry of entries) stranger.put(entry.narinfoPath, stranger.add({ hash: entry.hash }).narinfo)
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[], [origin.url]],
    peers: [[malicious.url]],
  })
  for (const entry of entries) expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
})

test('one peer with two addresses is one peer: its dead address costs nothing', async () => {
  const cache = new SyntheticCache()
  const [wifi, vpn] = [await serve(cache), await serve(cache)]
  const entry = cache.add()
  await wifi.down()
  const proxy = await startProxy({ keys: [cache.publicKey], peers: [[wifi.url, vpn.url]] })
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect(vpn.requests[0]?.headers['cache-control']).toBe('only-if-cached')
})

test('a peer that dies in the middle of a NAR is continued by an upstream with the same bytes (case 66)', async () => {
  const cache = new SyntheticCache()
  const [peer, origin] = [await serve(cache), await serve(cache)]
  const entry = cache.add({ content: randomBytes(3_000_000) })
  peer.script(entry.narPath, { cutAfter: 1_000_000 })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[], [origin.url]], peers: [[peer.url]] })
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect(origin.requests.some(({ headers }) => headers.range === 'bytes=1000000-')).toBe(true)
})
