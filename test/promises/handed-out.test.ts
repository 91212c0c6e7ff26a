// What a client is handed, and by whom it can be changed: our own URLs only, and no rule of the operator's by anybody else.

import { randomBytes } from 'node:crypto'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { startProxy } from '../support/test-proxy.ts'

async function serve(cache: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

test.each(['peer', 'upstream'] as const)(
  'the absolute NAR URL of a %s is never handed to a client: it gets ours, relative, and nothing else names that host (case 141)',
  async (kind) => {
    const cache = new SyntheticCache()
    const giver = await serve(cache)
    const entry = cache.add({ url: new URL('nar/here.nar', giver.url).href })
    const from = kind === 'peer' ? { peers: [[giver.url]] } : { strata: [[giver.url]] }
    const proxy = await startProxy({ keys: [cache.publicKey], ...from })

    const fresh = await proxy.narinfo(entry.hash)
    const nar = await proxy.nar(entry.hash)
    await proxy.quiet()
    const held = await proxy.narinfo(entry.hash)

    expect(entry.narinfo).toContain(giver.url.host)
    expect(nar.body.equals(entry.file)).toBe(true)
    for (const { status, body } of [fresh, held]) {
      expect(status).toBe(200)
      expect(body.toString()).toMatch(new RegExp(`^URL: nar/${entry.hash}-[0-9a-z]{52}\\.nar$`, 'm'))
      expect(body.toString()).not.toContain(giver.url.host)
    }
    for (const { headers } of [fresh, nar, held]) {
      expect(headers).not.toHaveProperty('location')
      expect(headers).not.toHaveProperty('link')
    }
  },
)

test('a redirect of a giver is followed by us, never passed on to a client (case 141)', async () => {
  const cache = new SyntheticCache()
  const giver = await serve(cache)
  const entry = cache.add()
  giver.script(entry.narPath, { redirect: '/elsewhere' })
  giver.script('/elsewhere', { body: entry.file })
  const proxy = await startProxy({ keys: [cache.publicKey], peers: [[giver.url]] })
  const { status, headers, body } = await proxy.nar(entry.hash)
  expect([status, headers.location, body.equals(entry.file)]).toEqual([200, undefined, true])
})

test('a peer joins the strata for peers and changes nothing else: no key, no stratum, no address of an upstream (case 139)', async () => {
  const [cache, own] = [new SyntheticCache(), new SyntheticCache({ keyName: 'peer-1' })]
  const [origin, peer] = [await serve(cache), await serve(own)]
  const [theirs, ours] = [own.add(), cache.add()]
  // It goes by the name of the upstream, the operator trusts it as himself, and it says that everything is elsewhere now.
  const name = origin.url.host
  peer.script('/nix-cache-info', { redirect: new URL('nix-cache-info', peer.url).href })
  own.put(ours.narinfoPath, own.add({ hash: ours.hash }).narinfo)
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[], [origin.url]],
    peers: [['http://127.0.0.1:1']],
    store: `[[peers]]\nid = ${JSON.stringify(name)}\nurls = [${JSON.stringify(peer.url.href)}]\ntrust = "ultimate"`,
  })

  // Its own key counts for nothing.
  expect((await proxy.narinfo(theirs.hash)).status).toBe(404)
  expect(peer.count(theirs.narinfoPath)).toBe(1)
  // What the upstream has still comes from the upstream, whatever the peer says of it.
  expect((await proxy.nar(ours.hash)).body.equals(ours.file)).toBe(true)
  expect(origin.count(ours.narPath)).toBe(1)
  expect(peer.count(ours.narPath)).toBe(0)
  const { strata } = JSON.parse((await proxy.get('', { accept: 'application/json' })).body.toString())
  const urls = (stratum: { substituters: { url: string; peer: boolean }[] }) =>
    stratum.substituters.filter(({ peer }) => !peer).map(({ url }) => url)
  expect(strata.map(urls)).toEqual([[], [origin.url.href]])
  expect(strata[1].substituters).toHaveLength(1)
})

test('a peer under the name of an upstream, found out, does not have the upstream avoided (case 139)', async () => {
  const cache = new SyntheticCache()
  const [origin, peer] = [await serve(cache), await serve(cache)]
  const entry = cache.add({ content: randomBytes(50_000) })
  peer.script(entry.narPath, { wrongByte: 20_000 })
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[], [origin.url]],
    peers: [['http://127.0.0.1:1']],
    store: `[[peers]]\nid = ${JSON.stringify(origin.url.host)}\nurls = [${JSON.stringify(peer.url.href)}]`,
  })
  await expect(proxy.nar(entry.hash)).rejects.toThrow()
  await proxy.quiet()
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  expect(origin.count(entry.narPath)).toBe(1)
})

test('what a client logs in with, for whoever stands in front of us, is neither asked for nor passed on (case 117)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const entry = cache.add()
  const gone = cache.add()
  upstream.script(gone.narinfoPath, { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const login = { authorization: 'Basic c2VjcmV0', cookie: 'session=secret' }

  expect((await proxy.nar(entry.hash, login)).body.equals(entry.file)).toBe(true)
  for (const path of [
    entry.narinfoPath,
    '/nix-cache-info',
    `/log/${entry.baseName}.drv`,
    '/nar/other.nar.xz',
    gone.narinfoPath,
  ]) {
    const { status, headers } = await proxy.get(path.slice(1), login)
    expect([200, 404, 502]).toContain(status)
    expect(headers).not.toHaveProperty('www-authenticate')
  }
  expect(upstream.count()).toBeGreaterThan(0)
  for (const { headers } of upstream.requests) {
    expect(JSON.stringify(headers)).not.toMatch(/secret|c2VjcmV0/)
  }
})
