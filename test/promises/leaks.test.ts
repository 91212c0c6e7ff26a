// After everything a client can do, and a stop: no socket, no timer, no file, no worker is left.

import { randomBytes } from 'node:crypto'
import { readdir, readlink } from 'node:fs/promises'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { openAnswer, startProxy } from '../support/test-proxy.ts'

/** The files of this process that lie in a directory. */
async function openFilesIn(directory: string): Promise<readonly string[]> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return links.filter((path) => path.startsWith(directory))
}

function handles(): readonly string[] {
  return process
    .getActiveResourcesInfo()
    .filter((kind) => /TCP|Timeout|MessagePort|Worker/.test(kind))
    .sort()
}

test('hits, misses, failures, hang-ups and a stop leave nothing behind', async () => {
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const before = handles()
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [['http://127.0.0.1:1'], [upstream.url]],
    stratum: 'hedge = "50ms"',
  })
  const [good, broken, left] = [
    cache.add({ compression: 'zstd' }),
    cache.add({ content: randomBytes(200_000) }),
    cache.add({ content: randomBytes(3_000_000) }),
  ]
  upstream.script(broken.narPath, { wrongByte: 100_000 })
  upstream.script(left.narPath, { stallAfter: 1_000_000 })
  await proxy.nar(good.hash)
  await proxy.nar(good.hash, { range: 'bytes=3-9' })
  await expect(proxy.nar(broken.hash)).rejects.toThrow()
  await proxy.narinfo('0'.repeat(32))
  await proxy.get('nar/nothing.nar')
  const hungUp = await openAnswer(`${proxy.url}/${await proxy.narUrl(left.hash)}`)
  hungUp.destroy()

  await proxy.stop()

  await upstream.disconnected()
  expect(await openFilesIn(proxy.root)).toEqual([])
  await expect.poll(handles).toEqual(before)
})
