// Promise: a running proxy explains a path by asking everybody anew, and fetches and keeps nothing by it.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { explainAlone } from '../src/compose-explain.ts'
import { parseConfig } from '../src/config.ts'
import type { Explanation } from '../src/explanation.ts'
import { silentLog } from '../src/log.ts'
import { startScriptedUpstream, type ScriptedUpstream } from './support/scripted-upstream.ts'
import { SyntheticCache } from './support/synthetic-cache.ts'
import { startProxy, type TestProxy } from './support/test-proxy.ts'

async function serve(cache: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

async function explanationOf(proxy: TestProxy, hash: string): Promise<Explanation> {
  const { status, body } = await proxy.get(`explain/${hash}`, { accept: 'application/json' })
  expect(status).toBe(200)
  return JSON.parse(body.toString()) as Explanation
}

const outcomes = ({ strata }: Explanation) =>
  strata.map(({ answers }) => answers.map(({ outcome, wins }) => (wins ? `${outcome}!` : outcome)).sort())

test('everybody’s answer is told, the one who wins is the one a client gets, and no NAR is fetched', async () => {
  const [cache, stranger] = [new SyntheticCache(), new SyntheticCache({ keyName: 'stranger-1' })]
  const [origin, other, empty] = [await serve(cache), await serve(stranger), await serve(new SyntheticCache())]
  const hello = cache.add({ name: 'hello' })
  stranger.add({ name: 'hello', hash: hello.hash, content: 'other' })
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[empty.url, other.url, 'http://127.0.0.1:9'], [origin.url]],
  })
  const explanation = await explanationOf(proxy, hello.hash)
  expect(outcomes(explanation)).toEqual([['failed', 'missed', 'refused'], ['found!']])
  expect(explanation).toMatchObject({
    storePath: hello.storePath,
    keys: ['cache.test-1'],
    held: [],
    verdict: {
      kind: 'found',
      signedBy: 'cache.test-1',
      signatures: ['cache.test-1'],
      nar: { place: new URL(hello.narPath, origin.url).href, compression: 'none', narSize: hello.nar.length },
    },
  })
  expect(explanation.strata[0]?.answers.find(({ outcome }) => outcome === 'refused')).toMatchObject({
    url: other.url.href,
    why: 'no signature of a trusted key, only of stranger-1',
  })
  expect(origin.count(/^\/nar\//) + other.count(/^\/nar\//)).toBe(0)
  expect((await proxy.status()).store).toMatchObject({ nars: 0 })
  expect(await readdir(join(proxy.root, 'v1', 'nar'))).toEqual([])
})

test('who said no a moment ago is asked again', async () => {
  const cache = new SyntheticCache()
  const origin = await serve(cache)
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[origin.url]], upstream: 'miss_ttl = "1h"' })
  const hello = cache.add()
  cache.remove(hello.narinfoPath)
  expect((await proxy.narinfo(hello.hash)).status).toBe(404)
  expect((await explanationOf(proxy, hello.hash)).verdict).toMatchObject({ kind: 'missed', why: 'everybody says no' })
  cache.put(hello.narinfoPath, hello.narinfo)
  expect(outcomes(await explanationOf(proxy, hello.hash))).toEqual([['found!']])
})

test('what is on disk is told with what the world says of it; a remembered answer is told as one', async () => {
  const cache = new SyntheticCache()
  const origin = await serve(cache)
  const [held, seen] = [cache.add(), cache.add()]
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[origin.url]] })
  await proxy.nar(held.hash)
  await proxy.narinfo(seen.hash)
  await proxy.quiet()
  const explanation = await explanationOf(proxy, held.hash)
  expect(explanation.verdict).toMatchObject({ kind: 'held', from: 'store', signedBy: 'cache.test-1' })
  expect(explanation.held).toMatchObject([{ size: held.file.length, checked: 'nar', pinned: false, trusted: true }])
  expect(outcomes(explanation)).toEqual([['found!']])
  expect((await explanationOf(proxy, seen.hash)).verdict).toMatchObject({
    kind: 'remembered',
    nar: { place: new URL(seen.narPath, origin.url).href },
  })
})

test('without a proxy the same is found out from the configuration, beside one that has the store', async () => {
  const cache = new SyntheticCache()
  const origin = await serve(cache)
  const hello = cache.add()
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[origin.url]] })
  await proxy.nar(hello.hash)
  await proxy.quiet()
  const config = parseConfig(
    `[store]\npath = ${JSON.stringify(proxy.root)}\n[trust]\nkeys = ["${cache.publicKey}"]
     [[strata]]\nname = "s"\nupstreams = [{ url = "${origin.url.href}" }, { url = "http://127.0.0.1:9" }]`,
    'test.toml',
  )
  const surroundings = { log: silentLog, version: '0', stateDir: '/nowhere' }
  const { signal } = new AbortController()
  const { explanation, owner } = await explainAlone(config, surroundings, hello.hash, signal)
  expect(explanation).toMatchObject({ storePath: hello.storePath, verdict: { kind: 'held', from: 'store' } })
  expect(outcomes(explanation)).toEqual([['failed', 'found!']])
  expect(owner).toMatch(/^process \d+ on /)
  const lacking = await explainAlone(config, surroundings, cache.add({ hash: '0'.repeat(32) }).hash, signal)
  expect(lacking.explanation.verdict.kind).toBe('found')
})
