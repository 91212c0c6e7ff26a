// Promise: who takes no connection is known for dead, though nobody ever waits for it long enough to find out.

import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'

import { expect, onTestFinished, test, vi } from 'vitest'

import { Client } from '../../src/upstreams/client.ts'
import { deafAt } from '../support/faults.ts'
import { upstreamTo } from '../support/real-upstream.ts'
import { question } from '../support/scripted-substituter.ts'
import { absentHash } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const patience = { timeout: 20_000, interval: 20 }

/** Where connections are neither accepted nor refused. */
async function deafUrl(): Promise<URL> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const deaf = await deafAt(port)
  onTestFinished(() => deaf.close())
  return new URL(`http://127.0.0.1:${port}/`)
}

/** Begins something that somebody else is faster with: it is told to stop as soon as it has begun. */
async function outrun(begin: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const asker = new AbortController()
  const asked = begin(asker.signal).catch((error: unknown) => error)
  await turn()
  await turn()
  asker.abort()
  expect(await asked).toMatchObject({ code: 'aborted' })
}

test('an upstream that takes no connection and is always outrun ends up with its circuit open', async () => {
  const url = await deafUrl()
  const upstream = upstreamTo(url, new SyntheticCache(), { limits: { connect: 50 } })
  onTestFinished(() => upstream.stop())

  await vi.waitFor(async () => {
    if (upstream.health.state === 'ok') {
      await outrun((signal) => upstream.find({ hash: absentHash }, question({ signal })))
    }
    expect(upstream.health.state).toBe('open')
  }, patience)
  expect(upstream.health.lastFailure).toMatchObject({ code: 'timeout' })
  expect(upstream.health.lastFailure?.message).toContain('no connection within 50 ms')
}, 30_000)

test('a connection that could not be made is told of once nobody waits for it, but not one of before a renewal', async () => {
  const own = await deafUrl()
  const noConnection = vi.fn<(error: Error) => void>()
  const client = new Client({
    who: 'upstream u',
    own,
    allowedHosts: [],
    headers: {},
    secretHeaders: {},
    limits: { connect: 50, firstByte: 5000, connections: 4 },
    noConnection,
  })
  onTestFinished(() => client.close())

  await outrun((signal) => client.get(own, {}, signal))
  client.renew()
  // Begun later, so it fails later: when it has, the other one has as well.
  await outrun((signal) => client.get(own, {}, signal))
  await vi.waitFor(() => expect(noConnection).toHaveBeenCalled(), patience)
  expect(noConnection).toHaveBeenCalledTimes(1)
}, 30_000)
