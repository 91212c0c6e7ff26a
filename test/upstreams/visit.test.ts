// Promise: a cache is seen as it answers: nothing is followed, credentials go to it alone, and what fails says who and why.

import { expect, onTestFinished, test } from 'vitest'

import { visit } from '../../src/upstreams/visit.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const forever = new AbortController().signal

async function serve(basePath = '/'): Promise<ScriptedUpstream> {
  const server = await startScriptedUpstream({ cache: new SyntheticCache(), basePath })
  onTestFinished(() => server.close())
  return server
}

function look({ url }: Pick<ScriptedUpstream, 'url'>, signal = forever, firstByte = 5000) {
  return visit({ who: 'upstream u', url, headers: { 'x-token': 't' }, connect: 1000, firstByte }, signal)
}

test('text, headers and time are those of its answer, below its base', async () => {
  const server = await serve('/nested/')
  const before = Date.now()
  const seen = await look(server)
  expect(seen).toMatchObject({ status: 200, text: expect.stringContaining('StoreDir: /nix/store') })
  expect(Date.parse(seen.headers.date ?? '')).toBeGreaterThan(before - 2000)
  expect(seen.at).toBeGreaterThanOrEqual(before)
  expect(server.requests).toMatchObject([{ path: '/nix-cache-info', headers: { 'x-token': 't' } }])
  await server.disconnected()
})

test('a redirect is an answer', async () => {
  const [server, portal] = [await serve(), await serve()]
  server.script('/nix-cache-info', { redirect: portal.url.href })
  expect(await look(server)).toMatchObject({ status: 302, headers: { location: portal.url.href } })
  expect(portal.count()).toBe(0)
})

test('what is no short text is none', async () => {
  const server = await serve()
  server.script('/nix-cache-info', { endless: true })
  expect(await look(server)).toMatchObject({ status: 200, text: '' })
  await server.disconnected()
})

test('who does not answer has not', async () => {
  const server = await serve()
  server.script('/nix-cache-info', { never: true })
  await expect(look(server, forever, 50)).rejects.toMatchObject({
    code: 'timeout',
    message: 'upstream u: no first byte within 50 ms',
  })
  await server.down()
  await expect(look(server)).rejects.toMatchObject({ message: 'upstream u: connection refused' })
})

test('it ends when it is no longer wanted', async () => {
  const server = await serve()
  server.script('/nix-cache-info', { stallAfter: 3 })
  const stopping = new AbortController()
  const looking = look(server, stopping.signal)
  await server.seen('/nix-cache-info')
  stopping.abort()
  await expect(looking).rejects.toMatchObject({ code: 'aborted' })
  await server.disconnected()
})
