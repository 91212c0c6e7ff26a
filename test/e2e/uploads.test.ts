// A real client puts its own paths into the proxy: by credentials, signed by a key that the proxy trusts, and nothing else.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { forEachClient } from './support/clients.ts'
import { hashOf, type Fixture } from './support/fixture.ts'
import { narinfo } from './support/narinfos.ts'
import { deadUrl } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'
import { tempDir } from './support/temp-dir.ts'

/** A proxy that takes uploads of `maker` with the password `secret`, and has no upstream that could be reached. */
async function uploadable(fixture: Fixture): Promise<Proxy> {
  const credentials = join(await tempDir(), 'uploaders')
  await writeFile(credentials, 'maker:secret\n', { mode: 0o600 })
  return Proxy.start({
    config: `
      [server.uploads]
      credentials = "${credentials}"
      [trust]
      keys = ["${fixture.key}"]
      [[strata]]
      name = "nobody"
      [[strata.upstreams]]
      url = "${await deadUrl()}"
    `,
  })
}

/** `http://127.0.0.1:8501` → `http://maker:secret@127.0.0.1:8501` */
function authorised({ url }: Proxy, password = 'secret'): string {
  return url.replace('http://', `http://maker:${password}@`)
}

/** Arguments of the upload, with zstd since xz takes ten seconds for the big path. */
function copy(from: string, to: string, path: string): readonly string[] {
  return ['copy', '--from', from, '--to', `${to}?compression=zstd&write-nar-listing=1`, path]
}

forEachClient(({ fixture, machine }) => {
  test('nix copy --to uploads a closure, which other machines then get with its signatures', async () => {
    const proxy = await uploadable(fixture)
    await (await machine()).succeed('nix', ...copy(fixture.store, authorised(proxy), fixture.top))

    const client = await machine()
    await client.realise(fixture.top, { from: proxy.url, key: fixture.key })
    const signed = await client.signatures('--store', fixture.store, '--recursive', fixture.top)
    expect(await client.verified(fixture.key)).toEqual(signed)
    const listing = await fetch(`${proxy.url}/${hashOf(fixture.top)}.ls`)
    expect([listing.status, await listing.json()]).toEqual([200, expect.objectContaining({ version: 1 })])
  })

  test('uploads outlive a restart', async () => {
    const [leaf = ''] = fixture.leaves
    const first = await uploadable(fixture)
    await (await machine()).succeed('nix', ...copy(fixture.store, authorised(first), leaf))
    await first.stop()
    const second = await Proxy.start({ upstreams: [await deadUrl()], keys: [fixture.key], store: first.store })
    const client = await machine()
    await client.realise(leaf, { from: second.url, key: fixture.key })
    expect([...(await client.verified(fixture.key)).keys()]).toEqual([leaf])
  })

  test('login and password may stand in a netrc file', async () => {
    const [leaf = ''] = fixture.leaves
    const proxy = await uploadable(fixture)
    const client = await machine()
    const netrc = join(client.dir, 'netrc')
    await writeFile(netrc, `machine ${new URL(proxy.url).hostname} login maker password secret\n`, { mode: 0o600 })
    await client.succeed('nix', ...copy(fixture.store, proxy.url, leaf), '--option', 'netrc-file', netrc)
    expect(await narinfo(proxy.url, leaf)).toContain(`StorePath: ${leaf}\n`)
  })

  for (const [who, address] of [
    ['without credentials', ({ url }: Proxy) => url],
    ['with a wrong password', (proxy: Proxy) => authorised(proxy, 'guess')],
  ] as const) {
    test(`${who} nothing can be uploaded`, async () => {
      const [leaf = ''] = fixture.leaves
      const proxy = await uploadable(fixture)
      const { code } = await (await machine()).run('nix', ...copy(fixture.store, address(proxy), leaf))
      expect(code).not.toBe(0)
      expect((await fetch(`${proxy.url}/${hashOf(leaf)}.narinfo`)).status).toBe(404)
    })
  }

  test('a path without a signature that the proxy trusts is refused, and not there afterwards', async () => {
    const [leaf = ''] = fixture.leaves
    const proxy = await uploadable({ ...fixture, key: fixture.wrongKey })
    const { code } = await (await machine()).run('nix', ...copy(fixture.store, authorised(proxy), leaf))
    expect(code).not.toBe(0)
    expect((await fetch(`${proxy.url}/${hashOf(leaf)}.narinfo`)).status).toBe(404)
  })

  test('nix store sign adds a signature to what is there, and the first stays byte for byte', async () => {
    const [leaf = ''] = fixture.leaves
    const proxy = await uploadable(fixture)
    const client = await machine()
    await client.succeed('nix', ...copy(fixture.store, authorised(proxy), leaf))
    const before = await narinfo(proxy.url, leaf)

    const at = (name: string): string => join(client.dir, name)
    await client.succeed('nix-store', '--generate-binary-cache-key', 'second.example.org-1', at('secret'), at('public'))
    const other = await machine()
    await other.succeed('nix', 'store', 'sign', '--store', authorised(proxy), '--key-file', at('secret'), leaf)
    const signatures = (text: string): readonly string[] => text.match(/^Sig: .*$/gm) ?? []
    const after = signatures(await narinfo(proxy.url, leaf))
    expect(after).toHaveLength(2)
    expect(after).toContain(signatures(before)[0])
    expect(after).toContainEqual(expect.stringMatching(/^Sig: second\.example\.org-1:/))
  })

  test('nix store copy-log --to uploads a build log', async () => {
    const proxy = await uploadable(fixture)
    const client = await machine()
    await client.succeed(
      'nix',
      'store',
      'copy-log',
      '--from',
      fixture.store,
      '--to',
      authorised(proxy),
      fixture.deriver,
    )
    await client.succeed('nix', ...copy(fixture.store, authorised(proxy), fixture.top))
    expect(await (await machine()).succeed('nix', 'log', '--store', proxy.url, fixture.top)).toContain(fixture.logLine)
  })
})
