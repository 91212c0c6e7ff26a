// Without an uplink, or behind a captive portal: one event, not one trouble per upstream; what is held is served, what is not is
// answered by policy, nothing of it is kept, and all is well again when the link is.

import { randomBytes } from 'node:crypto'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type Behaviour, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { startProxy, type TestProxy } from '../support/test-proxy.ts'

async function origins(cache: SyntheticCache, count: number): Promise<readonly ScriptedUpstream[]> {
  const upstreams = await Promise.all(Array.from({ length: count }, () => startScriptedUpstream({ cache })))
  onTestFinished(async () => {
    await Promise.all(upstreams.map((upstream) => upstream.close()))
  })
  return upstreams
}

const anyHash = (): string => nix32(randomBytes(20))

interface Told {
  readonly uplink: string
  readonly strata: readonly { readonly substituters: readonly { readonly state: string }[] }[]
}

async function told(proxy: TestProxy): Promise<Told> {
  return JSON.parse((await proxy.get('', { accept: 'application/json' })).body.toString())
}

/** Asks for paths that nobody holds until the proxy says that its uplink is in this state. */
async function until(proxy: TestProxy, state: string): Promise<void> {
  while ((await told(proxy)).uplink !== state) expect((await proxy.narinfo(anyHash())).status).not.toBe(200)
}

/** Fulfilled when every upstream is asked again; nobody asks for anything meanwhile. */
async function recovered(proxy: TestProxy): Promise<void> {
  const resting = async (): Promise<number> =>
    (await told(proxy)).strata.flatMap(({ substituters }) => substituters).filter(({ state }) => state === 'resting')
      .length
  await expect.poll(resting, { timeout: 15_000 }).toBe(0)
}

const about = ({ lines }: TestProxy, what: string | RegExp): readonly string[] =>
  lines.filter((line) => line.match(what))

test('a cut uplink is one event: one line, a metric, the page and /health; then back by itself, with a probe for each', async () => {
  const cache = new SyntheticCache()
  const upstreams = await origins(cache, 4)
  const [a, b, c, d] = upstreams.map(({ url }) => url)
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [
      [a!, b!],
      [c!, d!],
    ],
    stratum: 'hedge = "50ms"',
  })
  const [held, later] = [cache.add({ content: randomBytes(300_000) }), cache.add()]
  await proxy.nar(held.hash)
  await proxy.quiet()
  expect(await proxy.metric('substrata_uplink', 'state="ok"')).toBe(1)
  for (const upstream of upstreams) await upstream.down()

  await until(proxy, 'offline')

  expect(about(proxy, 'uplink:')).toEqual([
    expect.stringMatching(/warn +uplink: offline, none of 4 upstreams does answer/),
  ])
  expect(about(proxy, 'not asked until')).toEqual([])
  expect(await proxy.metric('substrata_uplink', 'state="offline"')).toBe(1)
  expect(await proxy.metric('substrata_uplink', 'state="ok"')).toBe(0)
  expect((await proxy.get('')).body.toString()).toContain('<b>Offline.</b>')
  const health = await proxy.get('health')
  expect([health.status, JSON.parse(health.body.toString())]).toMatchObject([503, { uplink: 'offline' }])
  const seen = upstreams.map((upstream) => upstream.requests.length)
  for (let n = 0; n < 20; n += 1) expect((await proxy.nar(held.hash)).body.equals(held.file)).toBe(true)
  // Nobody waits for a connection that cannot be: hundreds of questions are answered, and none is left over for later.
  const missing = Array.from({ length: 300 }, () => proxy.narinfo(anyHash()))
  for (const { status } of await Promise.all(missing)) expect(status).toBe(404)
  expect((await proxy.narinfo(later.hash)).status).toBe(404)

  for (const upstream of upstreams) await upstream.up()
  await recovered(proxy)

  const came = upstreams.map((upstream, at) => upstream.requests.slice(seen[at]).map(({ path }) => path))
  for (const paths of came) {
    expect(new Set(paths)).toEqual(new Set(['/nix-cache-info']))
    expect(paths.length).toBeLessThanOrEqual(2)
  }
  expect(about(proxy, 'uplink:').slice(1)).toEqual([expect.stringMatching(/info +uplink: is back after=/)])
  expect(about(proxy, /not asked until|upstream .*: is back/)).toEqual([])
  expect((await told(proxy)).uplink).toBe('ok')
  // What could not be found out was not remembered as missing.
  expect((await proxy.nar(later.hash)).body.equals(later.file)).toBe(true)
})

const portals: [string, Behaviour][] = [
  ['a web page', { html: true }],
  ['a web page with status 511', { html: true, status: 511 }],
  ['a redirect to a login', { redirect: 'http://login.invalid/?from=here' }],
]

test.each(portals)(
  'a captive portal that gives %s for everything is one event, and nothing of it is kept',
  async (_, gives) => {
    const cache = new SyntheticCache()
    const upstreams = await origins(cache, 3)
    const log = `log/${anyHash()}-demo.drv`
    const foreign = `nar/${nix32(randomBytes(32))}.nar.xz`
    const [held, asked, narLost] = [cache.add(), cache.add(), cache.add()]
    cache.put(`/${log}`, 'built', 'text/plain')
    cache.put(`/${foreign}`, 'the right bytes')
    const proxy = await startProxy({ keys: [cache.publicKey], strata: [upstreams.map(({ url }) => url)] })
    await proxy.nar(held.hash)
    const narUrl = await proxy.narUrl(narLost.hash)
    await proxy.quiet()

    for (const upstream of upstreams) upstream.script(/./, gives)
    expect((await proxy.get(narUrl).catch(() => ({ status: 0 }))).status).not.toBe(200)
    await until(proxy, 'portal')

    expect(about(proxy, 'uplink:')).toEqual([expect.stringMatching(/warn +uplink: behind a captive portal/)])
    expect(about(proxy, 'not asked until')).toEqual([])
    expect(await proxy.metric('substrata_uplink', 'state="portal"')).toBe(1)
    expect((await proxy.get('')).body.toString()).toContain('A captive portal')
    expect((await proxy.nar(held.hash)).body.equals(held.file)).toBe(true)
    expect((await proxy.narinfo(asked.hash)).status).toBe(404)
    for (const path of [log, foreign]) {
      const answer = await proxy.get(path)
      expect([answer.status, answer.body.includes('log in')]).not.toContain(200)
    }

    for (const upstream of upstreams) upstream.unscript()
    await recovered(proxy)
    expect((await proxy.nar(asked.hash)).body.equals(asked.file)).toBe(true)
    expect((await proxy.get(narUrl)).body.equals(narLost.file)).toBe(true)
    expect((await proxy.get(log)).body.toString()).toBe('built')
    expect((await proxy.get(foreign)).body.toString()).toBe('the right bytes')
    expect(about(proxy, 'uplink:').slice(1)).toEqual([expect.stringContaining('uplink: is back')])
  },
)

test('behind a portal, a log, a listing and a NAR under a foreign URL are no web pages, not even to the first who asks', async () => {
  const cache = new SyntheticCache()
  const [upstream] = await origins(cache, 1)
  upstream!.script(/./, { html: true })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream!.url]] })
  for (const path of [`log/${anyHash()}-demo.drv`, `${anyHash()}.ls`, `nar/${nix32(randomBytes(32))}.nar.xz`]) {
    expect((await proxy.get(path)).status).toBe(404)
  }
})

test('a proxy that starts behind a portal knows it, and does not take the portal for a cache', async () => {
  const cache = new SyntheticCache()
  const upstreams = await origins(cache, 2)
  const entry = cache.add()
  for (const upstream of upstreams) upstream.script(/./, { html: true })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [upstreams.map(({ url }) => url)] })
  await until(proxy, 'portal')
  const probes = upstreams.map((upstream) => upstream.count('/nix-cache-info'))
  // Two more probes each: they are answered with a web page, and mean nothing.
  await Promise.all(upstreams.map((upstream, at) => upstream.seen('/nix-cache-info', probes[at]! + 2)))
  expect((await told(proxy)).uplink).toBe('portal')
  for (const upstream of upstreams) upstream.unscript()
  await recovered(proxy)
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect(about(proxy, 'uplink:')).toHaveLength(2)
})

test('offline, with unreachable = "error", what is missing is a 502 that nobody may keep, and what is held is served', async () => {
  const cache = new SyntheticCache()
  const [upstream] = await origins(cache, 1)
  const held = cache.add()
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[upstream!.url]],
    server: 'unreachable = "error"',
  })
  await proxy.nar(held.hash)
  await proxy.quiet()
  await upstream!.down()
  await until(proxy, 'offline')
  const { status, headers } = await proxy.narinfo(anyHash())
  expect([status, headers['cache-control']]).toEqual([502, 'no-store'])
  expect((await proxy.nar(held.hash)).status).toBe(200)
})

test('with the uplink gone, peers go on serving, and the proxy is healthy', async () => {
  const cache = new SyntheticCache()
  const [origin, peer] = await origins(cache, 2)
  const entry = cache.add()
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[], [origin!.url]], peers: [[peer!.url]] })
  await origin!.down()
  await until(proxy, 'offline')
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect((await proxy.get('health')).status).toBe(200)
})
