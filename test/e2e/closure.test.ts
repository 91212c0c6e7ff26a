// A real client gets its closures through the proxy as if from the origin: every compression, every signature, nothing unsigned.

import { expect, test } from 'vitest'

import type { Client } from './support/client.ts'
import { forEachClient, forSystemClient } from './support/clients.ts'
import { compressions, hashOf, type Fixture } from './support/fixture.ts'
import { holds, narinfo, narinfoOnDisk, withoutUrl } from './support/narinfos.ts'
import { Origin } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'

/** The 20 paths, each with the one signature that it was made with. */
function original(client: Client, { store, top }: Fixture): Promise<ReadonlyMap<string, readonly string[]>> {
  return client.signatures('--store', store, '--recursive', top)
}

forSystemClient(({ fixture, machine }) => {
  test('control: the closure comes straight from the plain origin, so what fails below is the proxy', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const client = await machine()
    await client.realise(fixture.top, { from: origin.url, key: fixture.key })
    const signed = await original(client, fixture)
    expect([...signed.values()].map((lines) => lines.length)).toEqual(fixture.paths.map(() => 1))
    expect(await client.verified(fixture.key)).toEqual(signed)
  })

  for (const compression of compressions) {
    test(`narinfos of ${compression} are the origin’s byte for byte but for the URL`, async () => {
      const origin = await Origin.start({ dir: fixture.caches[compression] })
      const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
      for (const path of [...fixture.paths, fixture.contentAddressed]) {
        const theirs = await narinfoOnDisk(fixture.caches[compression], path)
        expect(withoutUrl(await narinfo(proxy.url, path))).toBe(withoutUrl(theirs))
      }
    })
  }

  test('of a path that a client has just fetched, explain says that it is held, proved, from whom and by whose signature', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const before = await proxy.explain(fixture.top)
    await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
    // The client has its last byte before the file has its name.
    await expect.poll(() => holds(proxy.url, [fixture.top])).toBe(true)
    const { code, stdout, stderr } = await proxy.explain(fixture.top)

    const [signer = ''] = fixture.key.split(':')
    const { host } = new URL(origin.url)
    expect([before.code, code], stderr).toEqual([0, 0])
    expect(before.stdout).toContain(`A client gets it from ${host}`)
    expect(before.stdout).toContain('nothing of it')
    expect(stderr).toContain(`The proxy at ${new URL(proxy.url).host} says:`)
    const told = stdout.replace(/\s+/g, ' ')
    expect(told.startsWith(`${fixture.top} A client gets it from our own disk: `)).toBe(true)
    expect(told).toContain(`came from ${host}, NarHash proved`)
    expect(told).toContain(`signed by ${signer} (trusted)`)
    expect(told).toMatch(/ ms has it, signed by /)
  })
})

forEachClient(({ fixture, machine }) => {
  for (const compression of compressions) {
    test(`a closure of 20 paths comes through ${compression}, each with its one signature`, async () => {
      const origin = await Origin.start({ dir: fixture.caches[compression] })
      const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
      const client = await machine()

      await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
      expect(await client.verified(fixture.key)).toEqual(await original(client, fixture))

      const nars = origin.fetched.filter((path) => path.startsWith('/nar/'))
      expect(nars, 'each NAR is fetched once').toHaveLength(20)
      expect(new Set(nars).size).toBe(20)
    })
  }

  test('a path without a signature of a key that the proxy trusts does not exist, and its NAR is never fetched', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.wrongKey] })
    const client = await machine()
    const { code } = await client.tryRealise(fixture.top, { from: proxy.url, key: fixture.key })
    expect(code).not.toBe(0)
    expect((await fetch(`${proxy.url}/${hashOf(fixture.top)}.narinfo`)).status).toBe(404)
    expect(origin.fetched.filter((path) => path.startsWith('/nar/'))).toEqual([])
  })

  test('a client that trusts another key of the same name refuses what the proxy serves', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const { code, stderr } = await client.tryRealise(fixture.leaves[0] ?? '', {
      from: proxy.url,
      key: fixture.wrongKey,
    })
    expect(code).not.toBe(0)
    expect(stderr).toMatch(/not signed by any of the keys|lacks a (valid )?signature/)
  })

  test('a content-addressed path needs no signature, at the proxy or at the client', async () => {
    const origin = await Origin.start({ dir: fixture.caches.xz })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    await client.realise(fixture.contentAddressed, { from: proxy.url, key: fixture.key })
    expect(await client.verified(fixture.key)).toEqual(new Map([[fixture.contentAddressed, []]]))
    expect(await narinfo(proxy.url, fixture.contentAddressed)).not.toMatch(/^Sig:/m)
  })

  test('a path that nobody has is a quick no, not an error', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const { code, stderr } = await client.tryRealise(`/nix/store/${'0'.repeat(32)}-nowhere`, {
      from: proxy.url,
      key: fixture.key,
    })
    expect(code).not.toBe(0)
    expect(stderr).not.toMatch(/HTTP error|retrying/)
    expect(origin.fetched).toContain(`/${'0'.repeat(32)}.narinfo`)
  })
})
