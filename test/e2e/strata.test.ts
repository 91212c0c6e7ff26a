// Good, bad and near upstreams side by side: the client notices none of it.

import { expect, test } from 'vitest'

import { forEachClient, forSystemClient } from './support/clients.ts'
import { hashOf, type Fixture } from './support/fixture.ts'
import { holds } from './support/narinfos.ts'
import { deadUrl, Origin, type Intercept } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'

/** A hotel's network before the login: the same page for every address. */
const captivePortal: Intercept = (_, response) => {
  response.writeHead(200, { 'Content-Type': 'text/html' })
  response.end('<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please accept our terms: </body></html>')
  return true
}

/** Takes every request and never answers. */
const hung: Intercept = () => true

/** A second stratum is asked only when the first has no answer: far longer than the first here ever takes. */
function twoStrata({ key }: Fixture, near: string, far: string): string {
  return `
    [trust]
    keys = ["${key}"]

    [[strata]]
    name = "near"
    hedge = "5s"
    ${near}

    [[strata]]
    name = "far"
    [[strata.upstreams]]
    url = "${far}"
  `
}

forEachClient(({ fixture, machine }) => {
  const bad = {
    'a captive portal': async () => (await Origin.start({ intercept: captivePortal })).url,
    'a hung upstream': async () => (await Origin.start({ intercept: hung })).url,
    'a dead upstream': deadUrl,
  }
  for (const [name, start] of Object.entries(bad)) {
    test(`${name} beside the good one is not noticed`, async () => {
      const origin = await Origin.start({ dir: fixture.caches.zstd })
      const proxy = await Proxy.start({ upstreams: [await start(), origin], keys: [fixture.key] })
      const client = await machine()
      const said = await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
      expect(said).not.toMatch(/retrying|error|disabled/)
      expect((await client.verified(fixture.key)).size).toBe(20)
    })
  }

  for (const [name, start] of Object.entries(bad)) {
    test(`${name} alone does not keep the client from its next substituter`, async () => {
      const proxy = await Proxy.start({ upstreams: [await start()], keys: [fixture.key] })
      const origin = await Origin.start({ dir: fixture.caches.zstd })
      const client = await machine()
      const [leaf = ''] = fixture.leaves
      const both = `${proxy.url}?priority=1 ${origin.url}?priority=2`
      await client.realise(leaf, { from: both, key: fixture.key })
      expect(origin.fetched).toContain(`/${hashOf(leaf)}.narinfo`)
    })
  }

  test('two strata: what the near one has comes from there, the rest from the far one', async () => {
    const leaves = new Set(fixture.leaves.map((path) => `/${hashOf(path)}.narinfo`))
    const onlyLeaves: Intercept = (request, response) => {
      if (request.url?.endsWith('.narinfo') !== true || leaves.has(request.url)) return false
      response.writeHead(404, { 'Content-Length': 0 }).end()
      return true
    }
    const near = await Origin.start({ dir: fixture.caches.zstd, intercept: onlyLeaves })
    const far = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({
      config: twoStrata(fixture, `[[strata.upstreams]]\nurl = "${near.url}"`, far.url),
    })
    const client = await machine()
    await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
    expect((await client.verified(fixture.key)).size).toBe(20)

    expect(near.fetched.filter((path) => path.startsWith('/nar/'))).toHaveLength(10)
    expect(far.fetched.filter((path) => path.startsWith('/nar/'))).toHaveLength(10)
    expect(far.fetched.filter((path) => leaves.has(path))).toEqual([])
  })

  test('a peer that holds the closure gives it all; the far stratum is not asked', async () => {
    const peersOrigin = await Origin.start({ dir: fixture.caches.zstd })
    const peer = await Proxy.start({ upstreams: [peersOrigin], keys: [fixture.key] })
    await (await machine()).realise(fixture.top, { from: peer.url, key: fixture.key })
    await holds(peer.url, fixture.paths)
    await peersOrigin.stop()
    const far = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ config: withPeer(fixture, peer, far) })
    const client = await machine()
    await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
    expect((await client.verified(fixture.key)).size).toBe(20)
    expect(far.fetched).toEqual([])
  })
})

function withPeer(fixture: Fixture, peer: Proxy, far: Origin): string {
  return `
    ${twoStrata(fixture, 'peers = true', far.url)}
    [[peers]]
    id = "neighbour"
    urls = ["${peer.url}"]
  `
}

forSystemClient(({ fixture, machine }) => {
  test('a peer fetches nothing on our behalf: what it does not hold comes from our own far stratum', async () => {
    const peersOrigin = await Origin.start({ dir: fixture.caches.zstd })
    const peer = await Proxy.start({ upstreams: [peersOrigin], keys: [fixture.key] })
    const far = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ config: withPeer(fixture, peer, far) })
    const client = await machine()
    await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
    expect(peersOrigin.fetched).toEqual([])
    expect(far.fetched.filter((path) => path.startsWith('/nar/'))).toHaveLength(20)
  })

  test('an unsigned or falsified narinfo of one upstream loses to the good one of a slower', async () => {
    const falsified: Intercept = (request, response) => {
      if (request.url?.endsWith('.narinfo') !== true) return false
      const hash = request.url.slice(1, 33)
      const path = fixture.paths.find((path) => hashOf(path) === hash)
      if (path === undefined) return false
      response.writeHead(200, { 'Content-Type': 'text/x-nix-narinfo' })
      const nar = `nar/${'0'.repeat(52)}.nar`
      response.end(
        `StorePath: ${path}\nURL: ${nar}\nCompression: none\nNarHash: sha256:${'0'.repeat(52)}\nNarSize: 4096\nReferences: \n` +
          `Sig: ${fixture.key.split(':')[0]}:${Buffer.alloc(64).toString('base64')}\n`,
      )
      return true
    }
    const liar = await Origin.start({ intercept: falsified })
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [liar, origin], keys: [fixture.key] })
    const client = await machine()
    await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
    expect((await client.verified(fixture.key)).size).toBe(20)
    expect(liar.fetched.filter((path) => path.startsWith('/nar/'))).toEqual([])
  })
})
