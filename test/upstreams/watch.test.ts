import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { createLog } from '../../src/log.ts'
import { Client } from '../../src/upstreams/client.ts'
import { Health } from '../../src/upstreams/health.ts'
import { Watch } from '../../src/upstreams/watch.ts'
import { startScriptedUpstream, type Behaviour, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const info = '/nix-cache-info'

let server: ScriptedUpstream
let stop: () => Promise<void>

beforeEach(async () => {
  server = await startScriptedUpstream({ cache: new SyntheticCache() })
})
afterEach(async () => {
  await stop()
  await server.close()
})

/** A watch over the server. Its health tells when it changes; back-off and intervals are as short as jitter lets them. */
function watchOver({ storeDir = '/nix/store' } = {}) {
  const watchers = new Set<() => void>()
  const lines: string[] = []
  const write = (line: string) => {
    lines.push(line.slice(25).trimEnd())
    for (const look of watchers) look()
  }
  const limits = { connect: 60_000, firstByte: 60_000, connections: 4 }
  const client = new Client({
    who: 'upstream u',
    own: server.url,
    allowedHosts: [],
    headers: {},
    secretHeaders: {},
    limits,
  })
  const log = createLog({ level: 'debug', format: 'text', write })
  const health: Health = new Health({
    who: 'upstream u',
    clock: () => performance.now(),
    // From half a second to nothing: the first back-off is at once.
    random: () => -1,
    log,
    opened: () => watch.wake(),
  })
  const url = new URL('nix-cache-info', server.url)
  const watch: Watch = new Watch({ who: 'upstream u', storeDir, client, health, url, headers: {}, timeout: 60_000 })
  stop = async () => {
    watch.stop()
    await client.close()
  }
  const logged = (text: string): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (lines.some((line) => line.includes(text))) resolve()
      }
      watchers.add(look)
      look()
    })
  return { watch, health, lines, logged }
}

/** Looks once and waits until the answer is there and read. */
async function lookOnce(behaviour: Behaviour | undefined, options: { readonly storeDir?: string } = {}) {
  if (behaviour !== undefined) server.script(info, behaviour)
  const watched = watchOver(options)
  watched.watch.start()
  await server.seen(info)
  await server.idle()
  // The answer has left the server; it is read within some turns.
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  return watched
}

test('an upstream for our store is verified', async () => {
  const { watch, health } = await lookOnce(undefined)
  expect([watch.verified, health.state]).toEqual([true, 'ok'])
})

test('case 2: one for another store is disabled, and that is logged once', async () => {
  const { watch, health, lines } = await lookOnce(undefined, { storeDir: '/other/store' })
  expect([watch.verified, health.state, health.disabledFor]).toEqual([false, 'disabled', 'is for /nix/store'])
  expect(lines).toEqual(['warn  upstream u: is for /nix/store; it is not asked'])
})

test.each<[string, Behaviour]>([
  ['404', { status: 404, body: 'not here' }],
  ['403', { status: 403, body: 'no' }],
  ['HTML', { html: true }],
  ['empty', { body: '' }],
  ['endless', { endless: true }],
  ['binary', { body: Buffer.from([0xff, 0xfe, 0x00]) }],
  ['no gzip, though it says so', { body: 'StoreDir: /nix/store\n', headers: { 'content-encoding': 'gzip' } }],
  ['a Priority that is no number', { body: 'Priority: -1e12\n' }],
])('cases 3, 4: an upstream whose nix-cache-info is %s is usable, but not verified', async (_, behaviour) => {
  const { watch, health, lines } = await lookOnce(behaviour)
  expect([watch.verified, health.state, health.failuresInARow]).toEqual([false, 'ok', 0])
  expect(lines).toEqual([])
})

test('case 92: a nix-cache-info that is 403 is remembered', async () => {
  expect((await lookOnce({ status: 403 })).watch.forbidden).toBe(true)
})

test.each([500, 204, 401, 304])('a nix-cache-info that is %i is a failure', async (status) => {
  const { health } = await lookOnce({ status, body: '' })
  expect(health.failuresInARow).toBe(1)
})

test('starting twice looks once; after the end it does not look at all', async () => {
  const { watch } = await lookOnce(undefined)
  watch.start()
  await new Promise((resolve) => setTimeout(resolve, 20))
  watch.stop()
  watch.start()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(server.count(info)).toBe(1)
})

describe('an open circuit', () => {
  test('case 95: is probed in the background over a new connection until it is answered', async () => {
    server.script(info, { status: 500, times: 2 })
    const { health, logged, watch } = watchOver()
    const failure = Object.assign(new Error('down'), { code: 'unreachable' }) as never
    for (let n = 0; n < 3; n += 1) health.failed(failure)
    expect(health.state).toBe('open')
    await logged('is back')
    expect([health.state, watch.verified]).toEqual(['ok', true])
    expect(server.requests.map(({ connection }) => connection)).toEqual([0, 1, 2])
  })

  test('case 16: a captive portal where a cache used to be is no answer', async () => {
    const { health, logged } = await lookOnce(undefined)
    server.script(info, { html: true, times: 2 })
    const failure = Object.assign(new Error('down'), { code: 'unreachable' }) as never
    for (let n = 0; n < 3; n += 1) health.failed(failure)
    await logged('is back')
    expect(server.count(info)).toBe(4)
  })

  test('is not probed when it is stopped before', async () => {
    const { health, watch } = watchOver()
    const failure = Object.assign(new Error('down'), { code: 'unreachable' }) as never
    for (let n = 0; n < 3; n += 1) health.failed(failure)
    watch.stop()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect([server.count(info), health.state]).toEqual([0, 'open'])
  })

  test('is not probed any more once it is stopped', async () => {
    server.script(info, { never: true })
    const { health, watch } = watchOver()
    const failure = Object.assign(new Error('down'), { code: 'unreachable' }) as never
    for (let n = 0; n < 3; n += 1) health.failed(failure)
    await server.seen(info)
    watch.stop()
    await server.disconnected()
    watch.wake()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect([server.count(info), health.state]).toEqual([1, 'probing'])
  })
})
