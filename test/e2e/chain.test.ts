// Proxies behind proxies: what the client sees does not depend on how many there are.

import { expect, test } from 'vitest'

import { forEachClient, forSystemClient } from './support/clients.ts'
import type { Fixture } from './support/fixture.ts'
import { field, holds, narDigest, narinfo, narinfoOnDisk } from './support/narinfos.ts'
import { deadUrl, Origin } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'

/** Four proxies, the first of which a client would use; the last asks the origin. */
async function chainOfFour(origin: Origin, { key }: Fixture): Promise<readonly [Proxy, ...Proxy[]]> {
  const fourth = await Proxy.start({ upstreams: [origin], keys: [key] })
  const third = await Proxy.start({ upstreams: [fourth], keys: [key] })
  const second = await Proxy.start({ upstreams: [third], keys: [key] })
  return [await Proxy.start({ upstreams: [second], keys: [key] }), second, third, fourth]
}

forEachClient(({ fixture, machine }) => {
  test('four proxies in a chain: the client sees the one original signature and identical bytes', async () => {
    const origin = await Origin.start({ dir: fixture.caches.xz })
    const chain = await chainOfFour(origin, fixture)
    const client = await machine()
    await client.realise(fixture.top, { from: chain[0].url, key: fixture.key })
    const signed = await client.signatures('--store', fixture.store, '--recursive', fixture.top)
    expect(await client.verified(fixture.key)).toEqual(signed)
    expect(origin.fetched.filter((path) => path.startsWith('/nar/'))).toHaveLength(20)
  })
})

forSystemClient(({ fixture, machine }) => {
  test('every proxy of the chain gives the same narinfo, one Sig line of the origin’s, and the origin’s bytes', async () => {
    const cache = fixture.caches.zstd
    const origin = await Origin.start({ dir: cache })
    const chain = await chainOfFour(origin, fixture)
    for (const path of [fixture.top, fixture.big]) {
      const theirs = await narinfoOnDisk(cache, path)
      const bytes = await narDigest(origin.url, theirs)
      const ours = await narinfo(chain[0].url, path)
      expect(ours.match(/^Sig: .*$/gm)).toEqual(theirs.match(/^Sig: .*$/gm))
      for (const { url } of chain) {
        expect(await narinfo(url, path)).toBe(ours)
        expect(await narDigest(url, ours)).toEqual(bytes)
      }
      expect(field(ours, 'URL')).not.toMatch(/^\/|:/)
    }
  })

  test('the first of the chain serves alone what came through it', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const [first, ...others] = await chainOfFour(origin, fixture)
    await (await machine()).realise(fixture.top, { from: first.url, key: fixture.key })
    await holds(first.url, fixture.paths)
    for (const proxy of others) await proxy.stop()
    await origin.stop()
    const client = await machine()
    await client.realise(fixture.top, { from: first.url, key: fixture.key })
    expect((await client.verified(fixture.key)).size).toBe(20)
  })

  test('two proxies that ask each other say no to what neither has, instead of waiting for each other', async () => {
    // Otherwise a failure is told as a no as well.
    const asking = (url: string): string => `
      [server]
      unreachable = "error"
      [trust]
      keys = ["${fixture.key}"]
      [[strata]]
      name = "other"
      [[strata.upstreams]]
      url = "${url}"
    `
    const one = await Proxy.start({ config: asking(await deadUrl()) })
    const two = await Proxy.start({ config: asking(one.url) })
    await one.stop()
    await Proxy.start({ config: asking(two.url), listen: new URL(one.url).host })
    const response = await fetch(`${two.url}/${'0'.repeat(32)}.narinfo`)
    expect(response.status).toBe(404)
  })
})
