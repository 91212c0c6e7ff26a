// What was fetched once stays: without the origin, after a restart, after kill -9; and what was half fetched is finished, never
// served as if it were whole.

import { readdir, readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import type { Client } from './support/client.ts'
import { forEachClient } from './support/clients.ts'
import type { Fixture } from './support/fixture.ts'
import { field, held, holds, narinfoOnDisk } from './support/narinfos.ts'
import { Origin, type Intercept } from './support/origin.ts'
import { Proxy } from './support/proxy.ts'

/** Of the big NAR of 30 MiB: more than any buffer on the way holds, and far from its end. */
const half = 15 * 1024 * 1024

/** Sends the first half of the big NAR and then nothing; from the second request on, and for all else, the origin answers. */
async function holdBigNar({
  big,
  caches,
}: Fixture): Promise<{ intercept: Intercept; halfSent: Promise<ServerResponse> }> {
  const path = field(await narinfoOnDisk(caches.zstd, big), 'URL') ?? ''
  const nar = await readFile(join(caches.zstd, path))
  let hold: ((response: ServerResponse) => void) | undefined
  const halfSent = new Promise<ServerResponse>((resolve) => (hold = resolve))
  const intercept: Intercept = (request, response) => {
    if (hold === undefined || request.method !== 'GET' || request.url !== `/${path}`) return false
    response.writeHead(200, { 'Content-Length': nar.length, 'Accept-Ranges': 'bytes' })
    // Written out: by then all but the last buffers' worth has reached the other side.
    const settle = hold
    hold = undefined
    response.write(nar.subarray(0, half), () => settle(response))
    return true
  }
  return { intercept, halfSent }
}

/** Gets the closure of 20 onto a machine, and says how many paths arrived whole and signed. */
async function arrived(client: Client, { top, key }: Fixture, from: string): Promise<number> {
  await client.realise(top, { from, key })
  return (await client.verified(key)).size
}

forEachClient(({ fixture, machine }) => {
  test('a second machine gets everything from our disk with the origin stopped', async () => {
    const origin = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    expect(await arrived(await machine(), fixture, proxy.url)).toBe(20)
    await holds(proxy.url, fixture.paths)
    await origin.stop()
    expect(await arrived(await machine(), fixture, proxy.url)).toBe(20)
  })

  test('so it does after a restart of the proxy', async () => {
    const origin = await Origin.start({ dir: fixture.caches.xz })
    const first = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    expect(await arrived(await machine(), fixture, first.url)).toBe(20)
    await first.stop()
    await origin.stop()
    const second = await Proxy.start({ upstreams: [origin], keys: [fixture.key], store: first.store })
    expect(await arrived(await machine(), fixture, second.url)).toBe(20)
  })

  test('kill -9 in the middle of a NAR: the client’s command goes on once the proxy is back, and nothing is damaged', async () => {
    const { intercept, halfSent } = await holdBigNar(fixture)
    const origin = await Origin.start({ dir: fixture.caches.zstd, intercept })
    const first = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    for (const leaf of fixture.leaves) {
      await (await machine()).realise(leaf, { from: first.url, key: fixture.key })
    }
    await holds(first.url, fixture.leaves)

    const client = await machine()
    // Nix asks again after 0.3, 0.6, 1.2 … seconds: ten attempts outlast the restart on any machine.
    const patience = ['--option', 'download-attempts', '10']
    const command = client.realise(fixture.top, { from: first.url, key: fixture.key }, ...patience)
    await halfSent
    await first.kill()
    const { store, url } = first
    const second = await Proxy.start({ upstreams: [origin], keys: [fixture.key], store, listen: new URL(url).host })
    expect(await held(url, fixture.leaves)).toEqual(fixture.leaves)

    await command
    expect((await client.verified(fixture.key)).size).toBe(20)
    // What the killed one had passed on but not yet checked is fetched again, when somebody asks for it.
    expect(await arrived(await machine(), fixture, second.url)).toBe(20)
    await holds(url, fixture.paths)
    await origin.stop()
    expect(await arrived(await machine(), fixture, second.url)).toBe(20)
    const nars = (await readdir(store, { recursive: true })).filter((name) => name.includes('.nar.zst'))
    expect(
      nars.filter((name) => !name.endsWith('.narinfo')),
      'no half NAR is left',
    ).toHaveLength(20)
  })

  test('an origin that dies in the middle of a NAR: another with the same bytes finishes it unseen', async () => {
    const { intercept, halfSent } = await holdBigNar(fixture)
    const dying = await Origin.start({ dir: fixture.caches.zstd, intercept })
    const other = await Origin.start({ dir: fixture.caches.zstd })
    const proxy = await Proxy.start({
      config: `
        [trust]
        keys = ["${fixture.key}"]
        [[strata]]
        name = "near"
        [[strata.upstreams]]
        url = "${dying.url}"
        [[strata]]
        name = "far"
        [[strata.upstreams]]
        url = "${other.url}"
      `,
    })
    const client = await machine()
    const command = client.realise(fixture.big, { from: proxy.url, key: fixture.key })
    const response = await halfSent
    response.destroy()
    await dying.stop()

    expect(await command).not.toMatch(/retrying|error/)
    expect([...(await client.verified(fixture.key)).keys()]).toEqual([fixture.big])
    const resumed = other.asked.filter(({ path }) => path.startsWith('/nar/'))
    expect(resumed.map(({ headers }) => headers.range)).toEqual([expect.stringMatching(/^bytes=\d+-/)])
  })

  test('an origin that dies in the middle of a NAR and has no double fails the client, and the next attempt is whole', async () => {
    const { intercept, halfSent } = await holdBigNar(fixture)
    let dead = false
    const origin = await Origin.start({
      dir: fixture.caches.zstd,
      intercept: (request, response) => {
        if (dead && request.url?.startsWith('/nar/') === true) {
          request.socket.destroy()
          return true
        }
        return intercept(request, response)
      },
    })
    const proxy = await Proxy.start({ upstreams: [origin], keys: [fixture.key] })
    const client = await machine()
    const twice = ['--option', 'download-attempts', '2']
    const command = client.tryRealise(fixture.big, { from: proxy.url, key: fixture.key }, ...twice)
    const response = await halfSent
    dead = true
    response.destroy()
    expect((await command).code).not.toBe(0)

    dead = false
    expect(await arrived(await machine(), fixture, proxy.url)).toBe(20)
  })
})
