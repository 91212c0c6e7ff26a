// The other commands of a real client that read a binary cache, and the requests of programs that are not Nix.

import { readFile, readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'

import { expect, test } from 'vitest'

import { forEachClient, forSystemClient } from './support/clients.ts'
import { hashOf } from './support/fixture.ts'
import { field, narinfo, narinfoOnDisk } from './support/narinfos.ts'
import { Origin } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'

forEachClient(({ fixture, machine }) => {
  test('nix copy --from brings the closure', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const trust = ['--option', 'trusted-public-keys', fixture.key]
    await client.succeed('nix', 'copy', '--from', proxy.url, '--to', client.store, fixture.top, ...trust)
    expect([...(await client.verified(fixture.key)).keys()].toSorted()).toEqual(fixture.paths.toSorted())
  })

  test('nix path-info -r walks the closure without fetching a NAR', async () => {
    const origin = await Origin.start({ dir: fixture.caches.xz })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const listed = await client.signatures('--store', proxy.url, '--recursive', fixture.top)
    expect(listed).toEqual(await client.signatures('--store', fixture.store, '--recursive', fixture.top))
    expect(origin.fetched.filter((path) => path.startsWith('/nar/'))).toEqual([])
  })

  test('nix store ls, cat and verify read the cache', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const [leaf = ''] = fixture.leaves
    const at = ['--store', proxy.url]

    const listed = await client.succeed('nix', 'store', 'ls', ...at, '--long', '--recursive', leaf)
    expect(listed).toMatch(/^-r-xr-xr-x +\d+ .*run$/m)
    expect(listed).toMatch(/share\/link -> text$/m)

    const text = await client.succeed('nix', 'store', 'cat', ...at, `${leaf}/share/text`)
    expect(text).toBe(await readFile(join(fixture.store, leaf, 'share', 'text'), 'utf8'))

    const trust = ['--sigs-needed', '1', '--option', 'trusted-public-keys', fixture.key]
    await client.succeed('nix', 'store', 'verify', ...at, '--recursive', ...trust, fixture.top)
  })

  test('nix log shows the build log', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    expect(await client.succeed('nix', 'log', '--store', proxy.url, fixture.top)).toContain(fixture.logLine)
  })

  test('nix store ping finds a binary cache, also when no upstream can be reached', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    await origin.stop()
    const client = await machine()
    expect((await client.run('nix', 'store', 'ping', '--store', proxy.url)).code).toBe(0)
  })
})

forSystemClient(({ fixture }) => {
  /** Ranges as clients write them, and the slice of `size` bytes that each means. */
  const ranges = [
    ['bytes=0-99', 0, 100],
    ['bytes=1000000-1999999', 1_000_000, 2_000_000],
    ['bytes=31000000-', 31_000_000, undefined],
    ['bytes=-500', -500, undefined],
  ] as const

  test('every range of a NAR is those bytes of it, while it is being fetched and afterwards', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const theirs = await narinfoOnDisk(fixture.caches.zstd, fixture.big)
    const whole = await readFile(join(fixture.caches.zstd, field(theirs, 'URL') ?? ''))
    const url = `${proxy.url}/${field(await narinfo(proxy.url, fixture.big), 'URL')}`

    for (const when of ['cold', 'warm']) {
      const answers = ranges.map(async ([range, start, end]) => {
        const response = await fetch(url, { headers: { Range: range } })
        const expected = whole.subarray(start, end)
        const from = start < 0 ? whole.length + start : start
        expect(response.status, `${when} ${range}`).toBe(206)
        expect(response.headers.get('Content-Range')).toBe(
          `bytes ${from}-${from + expected.length - 1}/${whole.length}`,
        )
        expect(response.headers.get('Content-Length')).toBe(String(expected.length))
        expect(expected.equals(Buffer.from(await response.arrayBuffer())), `${when} ${range}: other bytes`).toBe(true)
      })
      await Promise.all(answers)
      const entire = Buffer.from(await (await fetch(url)).arrayBuffer())
      expect(whole.equals(entire), `${when}: other bytes`).toBe(true)
    }
    const outside = await fetch(url, { headers: { Range: `bytes=${whole.length}-` } })
    expect(outside.status).toBe(416)
  })

  test('HEAD says of a narinfo and of a NAR what GET would, without a body and without fetching the NAR', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const text = await narinfo(proxy.url, fixture.big)
    const info = await fetch(`${proxy.url}/${hashOf(fixture.big)}.narinfo`, { method: 'HEAD' })
    expect([info.status, info.headers.get('Content-Length')]).toEqual([200, String(text.length)])
    const nar = await fetch(`${proxy.url}/${field(text, 'URL')}`, { method: 'HEAD' })
    expect([nar.status, nar.headers.get('Content-Length')]).toEqual([200, field(text, 'FileSize')])
    expect(nar.headers.get('Accept-Ranges')).toBe('bytes')
    expect(await nar.text()).toBe('')
    expect(origin.fetched.filter((path) => path.startsWith('/nar/'))).toEqual([])
  })

  test('listings and logs are the origin’s byte for byte', async () => {
    const cache = fixture.caches.zstd
    const origin = await Origin.start({ dir: cache })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const listings = (await readdir(cache)).filter((name) => name.endsWith('.ls'))
    expect(listings).toHaveLength(21)
    for (const name of [...listings, `log/${basename(fixture.deriver)}`]) {
      const response = await fetch(`${proxy.url}/${name}`)
      const theirs = await readFile(join(cache, name), 'utf8')
      expect([name, response.status, await response.text()]).toEqual([name, 200, theirs])
    }
    expect((await fetch(`${proxy.url}/${'0'.repeat(32)}.ls`)).status).toBe(404)
  })
})
