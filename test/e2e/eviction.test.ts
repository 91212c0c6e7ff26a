// A store smaller than what is asked for: the client gets everything all the same, and the disk keeps its limit.

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { forSystemClient } from './support/clients.ts'
import { Origin } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'

const mebibyte = 1024 * 1024

/** Bytes in files below a directory; those that vanish meanwhile count nothing. */
async function bytesBelow(dir: string, counts: (name: string) => boolean): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !counts(entry.name)) continue
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => undefined)
    bytes += found?.size ?? 0
  }
  return bytes
}

forSystemClient(({ fixture, machine }) => {
  test('a closure of 35 MiB comes through a store of 2 MiB, again and again, and the store keeps its limit', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key], maxSize: '2MiB' })
    for (let round = 0; round < 3; round++) {
      const client = await machine()
      await client.realise(fixture.top, { from: proxy.url, key: fixture.key }, '-j', '8')
      expect((await client.verified(fixture.key)).size).toBe(20)
    }
    const nars = (name: string): boolean => name.includes('.nar')
    await expect.poll(() => bytesBelow(proxy.store, nars)).toBeLessThanOrEqual(2 * mebibyte)
    expect(await bytesBelow(proxy.store, nars), 'something is kept').toBeGreaterThan(mebibyte / 2)
    // The index has a size of its own, which does not grow with the bytes that come through.
    expect(await bytesBelow(proxy.store, () => true)).toBeLessThan(8 * mebibyte)
  })

  test('what was used last stays when others have to make room', async () => {
    const origin = await Origin.start({ dir: fixture.caches.none })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key], maxSize: '3MiB' })
    for (const leaf of fixture.leaves) {
      await (await machine()).realise(leaf, { from: proxy.url, key: fixture.key })
    }
    await origin.stop()
    const client = await machine()
    const last = fixture.leaves.at(-1) ?? ''
    await client.realise(last, { from: proxy.url, key: fixture.key })
    expect([...(await client.verified(fixture.key)).keys()]).toEqual([last])
    const gone = await (await machine()).tryRealise(fixture.leaves[0] ?? '', { from: proxy.url, key: fixture.key })
    expect(gone.code).not.toBe(0)
  })
})
