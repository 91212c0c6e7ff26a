// Promise: what the tests are told about upstreams is true. The other tests lean on these two helpers.

import { createHash, randomBytes } from 'node:crypto'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { provesItsPath } from '../../src/nix/content-address.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey, verifiedBy } from '../../src/nix/signature.ts'
import { startScriptedUpstream, type ScriptedUpstream } from './scripted-upstream.ts'
import { nix32, SyntheticCache } from './synthetic-cache.ts'

let cache: SyntheticCache
let upstream: ScriptedUpstream

beforeEach(async () => {
  cache = new SyntheticCache()
  upstream = await startScriptedUpstream({ cache })
})
afterEach(() => upstream.close())

const get = (path: string, headers: Record<string, string> = {}) => fetch(new URL(path, upstream.url), { headers })

test('an entry has right hashes, a good signature, and is served', async () => {
  const base = cache.add()
  const entry = cache.add({ name: 'top-1.0', compression: 'zstd', references: [base, `${'0'.repeat(32)}-x`] })
  const info = parseNarInfo(await (await get(entry.narinfoPath)).text(), '/nix/store')
  expect(await verifiedBy(info, [parsePublicKey(cache.publicKey)])).toBe('cache.test-1')
  expect(info.references[0]).toBe(base.baseName)
  const file = Buffer.from(await (await get(`/${info.url}`)).arrayBuffer())
  expect(nix32(createHash('sha256').update(file).digest())).toBe(info.fileHash)
})

test('a content-addressed entry proves its path', () => {
  for (const contentAddressed of [true, 'flat'] as const) {
    const entry = cache.add({ content: 'a file', contentAddressed, signed: false })
    expect(provesItsPath(parseNarInfo(entry.narinfo, '/nix/store'))).toBe(true)
  }
})

test('parts are served, HEAD has no body, and what is not there is 404', async () => {
  cache.put('/x', '0123456789')
  const part = await get('/x', { range: 'bytes=3-5' })
  expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 3-5/10', '345'])
  expect((await get('/x', { range: 'bytes=10-' })).status).toBe(416)
  const head = await fetch(new URL('/x', upstream.url), { method: 'HEAD' })
  expect([head.status, head.headers.get('content-length')]).toEqual([200, '10'])
  expect((await get('/y')).status).toBe(404)
})

test('scripts are followed, the newest first, as often as they say', async () => {
  cache.put('/x', 'as it is')
  upstream.script(/^\/x/, { status: 500 })
  upstream.script('/x', { body: 'once', times: 1 })
  const answers = [await get('/x'), await get('/x')]
  upstream.unscript()
  answers.push(await get('/x'))
  expect(answers.map(({ status }) => status)).toEqual([200, 500, 200])
  expect(await answers[0]!.text()).toBe('once')
  expect(await answers[2]!.text()).toBe('as it is')
  expect(upstream.count('/x')).toBe(3)
  expect(upstream.requests[0]).toMatchObject({ method: 'GET', url: '/x', connection: 0 })
})

test('bytes are cut, flipped and dripped where they should be', async () => {
  const body = randomBytes(100)
  cache.put('/x', body)
  upstream.script('/x', { wrongByte: 7, times: 1 })
  const wrong = Buffer.from(await (await get('/x')).arrayBuffer())
  expect([...wrong].flatMap((byte, at) => (byte === body[at] ? [] : [at]))).toEqual([7])
  upstream.script('/x', { drip: { bytes: 30, every: 1 }, times: 1 })
  expect(Buffer.from(await (await get('/x')).arrayBuffer()).equals(body)).toBe(true)
  upstream.script('/x', { cutAfter: 50, times: 1 })
  await expect(get('/x').then((response) => response.arrayBuffer())).rejects.toThrow()
})

test('it goes away and comes back at the same address', async () => {
  cache.put('/x', 'here')
  const { href } = upstream.url
  await upstream.down()
  await expect(get('/x')).rejects.toThrow()
  await upstream.up()
  expect(upstream.url.href).toBe(href)
  expect(await (await get('/x')).text()).toBe('here')
})
