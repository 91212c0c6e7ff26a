// Promise: a configuration is compared with real caches and a real store, and neither is changed by it.

import { readdir } from 'node:fs/promises'

import { expect, onTestFinished, test } from 'vitest'

import { examineAll } from '../src/compose-doctor.ts'
import { parseConfig } from '../src/config.ts'
import type { Finding } from '../src/doctor/finding.ts'
import { silentLog } from '../src/log.ts'
import { startScriptedUpstream, type ScriptedUpstream } from './support/scripted-upstream.ts'
import { SyntheticCache } from './support/synthetic-cache.ts'
import { startProxy } from './support/test-proxy.ts'

async function serve(cache = new SyntheticCache()): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

function examine(toml: string, stateDir: string, signal = new AbortController().signal): Promise<readonly Finding[]> {
  return examineAll(parseConfig(toml, 'test.toml'), { log: silentLog, version: '0', stateDir }, signal)
}

test('every cache is judged by its own answer, and what may be away is no problem', async () => {
  const cache = new SyntheticCache()
  const [well, portal, other, late] = [
    await serve(cache),
    await serve(),
    await serve(new SyntheticCache({ storeDir: '/gnu/store' })),
    await serve(),
  ]
  portal.script(/.*/, { html: true })
  late.script(/.*/, { headers: { date: new Date(Date.now() - 86_400_000).toUTCString() } })
  const findings = await examine(
    `[trust]\nkeys = ["${cache.publicKey}"]
     [[strata]]\nname = "s"\npeers = true
     upstreams = [
       { name = "well", url = "${well.url.href}" },
       { name = "portal", url = "${portal.url.href}" },
       { name = "other", url = "${other.url.href}" },
       { name = "late", url = "${late.url.href}" },
       { name = "gone", url = "http://127.0.0.1:9" },
       { name = "away", url = "http://127.0.0.1:9", presence = "roaming" },
     ]
     [[peers]]\nid = "bob"\nurls = ["http://127.0.0.1:9"]`,
    '/nowhere/at/all',
  )
  const levels = Object.fromEntries(findings.map(({ about, level }) => [about, level]))
  expect(levels).toMatchObject({
    'upstream well': 'ok',
    'upstream portal': 'problem',
    'upstream other': 'problem',
    'upstream late': 'ok',
    'upstream gone': 'problem',
    'upstream away': 'note',
    'peer bob': 'note',
    clock: 'ok',
    keys: 'note',
    disk: expect.any(String),
    store: expect.any(String),
    'file descriptors': expect.any(String),
  })
  expect(findings.find(({ about }) => about === 'upstream gone')).toMatchObject({
    says: 'cannot be reached: connection refused',
  })
  expect(findings.filter(({ level, do: action }) => level === 'problem' && action === undefined)).toEqual([])
})

test('keys are looked for in what the caches have of held paths; the store may be in use', async () => {
  const [cache, unused] = [new SyntheticCache(), new SyntheticCache({ keyName: 'unused-1' })]
  const origin = await serve(cache)
  const hello = cache.add()
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[origin.url]] })
  await proxy.nar(hello.hash)
  await proxy.quiet()
  const before = (await readdir(proxy.root, { recursive: true })).sort()
  const asked = origin.count(/^\/nar\//)
  const findings = await examine(
    `[store]\npath = ${JSON.stringify(proxy.root)}\nmin_free = "1B"\n[trust]\nkeys = ["${cache.publicKey}", "${unused.publicKey}"]
     [[strata]]\nname = "s"\nupstreams = [{ url = "${origin.url.href}" }]`,
    '/nowhere',
  )
  expect(findings).toMatchObject(
    expect.arrayContaining([
      expect.objectContaining({ level: 'ok', about: 'key cache.test-1' }),
      expect.objectContaining({ level: 'warning', about: 'key unused-1' }),
      expect.objectContaining({
        level: 'ok',
        about: 'store',
        says: expect.stringMatching(/^in use by process \d+ on /),
      }),
    ]),
  )
  // Another key under the same name: what the caches have is looked at, though nobody trusts it.
  const impostor = new SyntheticCache()
  const wrong = await examine(
    `[store]\npath = ${JSON.stringify(proxy.root)}\n[trust]\nkeys = ["${impostor.publicKey}"]
     [[strata]]\nname = "s"\nupstreams = [{ url = "${origin.url.href}" }]`,
    '/nowhere',
  )
  expect(wrong).toContainEqual(expect.objectContaining({ level: 'problem', about: 'key cache.test-1' }))
  expect(origin.count(/^\/nar\//)).toBe(asked)
  expect((await readdir(proxy.root, { recursive: true })).sort()).toEqual(before)
})

test('who stops it does not wait for a cache that says nothing', async () => {
  const mute = await serve()
  mute.script(/.*/, { never: true })
  const stopping = new AbortController()
  const examined = examine(
    `[[strata]]\nname = "s"\nupstreams = [{ url = "${mute.url.href}" }]`,
    '/nowhere',
    stopping.signal,
  )
  await mute.seen('/nix-cache-info')
  stopping.abort(new Error('stopped'))
  await expect(examined).rejects.toThrow('stopped')
  await mute.disconnected()
})
