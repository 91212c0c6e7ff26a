// Promise: everybody is heard out, though another was faster; who says nothing is silent, and no NAR is ever opened.

import { expect, onTestFinished, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import { survey } from '../../src/upstreams/survey.ts'
import { Upstream } from '../../src/upstreams/upstream.ts'
import { ScriptedSubstituter } from '../support/scripted-substituter.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const cache = new SyntheticCache()
const hello = cache.add()
const forever = new AbortController().signal

test('the slower ones are not told to stop', async () => {
  const gate = deferred()
  const slow = new ScriptedSubstituter('slow').on(hello.hash, async () => {
    await gate.promise
    return hello
  })
  const [fast, lacking] = [new ScriptedSubstituter('fast').on(hello.hash, hello), new ScriptedSubstituter('lacking')]
  const failing = new ScriptedSubstituter('failing').on(hello.hash, new ProxyError('timeout', 'too slow'))
  const asked = survey(
    { hash: hello.hash },
    [
      { name: 'near', hedge: 5, members: () => [fast, slow] },
      { name: 'far', hedge: 7, members: () => [lacking, failing] },
    ],
    { signal: forever, loop: ['them'] },
  )
  // All are asked, whatever the hedges, and the last answer is waited for.
  await Promise.all([fast, slow, lacking, failing].map((one) => one.seen(hello.hash)))
  gate.resolve()
  const [near, far] = await asked
  expect(near).toMatchObject({ name: 'near', hedge: 5 })
  expect(near?.members.map(({ name, substitute, failed }) => [name, substitute?.from, failed])).toEqual([
    ['fast', 'fast', false],
    ['slow', 'slow', false],
  ])
  expect(far?.members.map(({ name, substitute, failed }) => [name, substitute, failed])).toEqual([
    ['lacking', undefined, false],
    ['failing', undefined, true],
  ])
  expect(fast.asked[0]?.asking.loop).toEqual(['them'])
  expect(fast.opened + slow.opened).toBe(0)
})

test('who has not answered when the time is over is silent, and is told to stop', async () => {
  const over = new AbortController()
  const mute = new ScriptedSubstituter('mute').on(hello.hash, 'never')
  const asked = survey({ hash: hello.hash }, [{ name: 's', hedge: 0, members: () => [mute] }], {
    signal: over.signal,
    loop: [],
  })
  await mute.seen(hello.hash)
  over.abort()
  const [stratum] = await asked
  expect(stratum?.members).toMatchObject([{ name: 'mute', ms: undefined, failed: true, substitute: undefined }])
})

test('a real cache is asked for a narinfo once, and for nothing else', async () => {
  const server = await startScriptedUpstream({ cache })
  onTestFinished(() => server.close())
  const upstream = new Upstream({
    name: 'u',
    url: server.url,
    stratum: 's',
    storeDir: '/nix/store',
    keys: [parsePublicKey(cache.publicKey)],
    peer: false,
    presence: 'stationary',
    instanceId: 'us',
  })
  onTestFinished(() => upstream.stop())
  const [stratum] = await survey({ hash: hello.hash }, [{ name: 's', hedge: 0, members: () => [upstream] }], {
    signal: forever,
    loop: [],
  })
  const [member] = stratum?.members ?? []
  expect(member?.trail.entries).toMatchObject([
    { who: 'u', stratum: 's', outcome: { kind: 'found', signedBy: 'cache.test-1' } },
  ])
  expect(member?.ms).toBeGreaterThan(0)
  expect([server.count(hello.narinfoPath), server.count(/^\/nar\//)]).toEqual([1, 0])
})

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
