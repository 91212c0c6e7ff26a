import { randomBytes } from 'node:crypto'

import { Agent } from 'undici'
import { afterEach, beforeEach, expect, test } from 'vitest'

import { discard, exchange, type Exchange } from '../../src/upstreams/exchange.ts'
import { startScriptedUpstream, type Behaviour, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { bytesOf } from '../support/substituter-conformance.ts'

let server: ScriptedUpstream
let dispatcher: Agent

beforeEach(async () => {
  server = await startScriptedUpstream()
  dispatcher = new Agent({ connections: 1 })
})
afterEach(async () => {
  await dispatcher.destroy()
  await server.close()
})

function ask(behaviour: Behaviour, signal = new AbortController().signal, firstByte = 10_000): Promise<Exchange> {
  server.script('/x', { times: 1, ...behaviour })
  return exchange({ dispatcher, url: new URL('/x?y', server.url), headers: { 'x-test': 'yes' }, firstByte, signal })
}

test('a response has its status, its headers and its bytes', async () => {
  const body = randomBytes(500_000)
  const response = await ask({ status: 203, headers: { 'x-answer': 'a' }, body })
  expect([response.status, response.headers['x-answer']]).toEqual([203, 'a'])
  expect(Buffer.compare(await bytesOf(response), body)).toBe(0)
  expect(server.requests).toMatchObject([{ method: 'GET', url: '/x?y', headers: { 'x-test': 'yes' } }])
})

test('case 104: 1xx answers before the real one are passed over', async () => {
  const raw = 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
  const response = await ask({ raw })
  expect([response.status, String(await bytesOf(response))]).toEqual([200, 'ok'])
})

test('case 85: who says nothing is given up, and its connection closed', async () => {
  await expect(ask({ never: true }, undefined, 20)).rejects.toMatchObject({ code: 'timeout' })
  await server.disconnected()
})

test('case 85: the wait for the first byte counts from the request, not from the wait for a connection', async () => {
  // One connection, taken by the first: were the second's clock running, it would be over long before.
  let go: (value: unknown) => void = () => {}
  const first = ask({ until: new Promise((resolve) => (go = resolve)), body: 'first' }, undefined, 60_000)
  await server.seen('/x')
  const second = ask({ body: 'second' }, undefined, 500)
  let over = false
  void second.then(() => (over = true)).catch(() => (over = true))
  await new Promise((resolve) => setTimeout(resolve, 600))
  expect(over).toBe(false)
  go(undefined)
  discard((await first).body)
  expect(String(await bytesOf(await second))).toBe('second')
})

test.each(['before the answer', 'within the body'])('an abort %s frees the socket', async (when) => {
  const controller = new AbortController()
  const reason = new Error('no longer wanted')
  if (when === 'before the answer') {
    const answer = ask({ never: true }, controller.signal)
    await server.seen('/x')
    controller.abort(reason)
    await expect(answer).rejects.toBe(reason)
  } else {
    const response = await ask({ body: 'beginning', stallAfter: 3 }, controller.signal)
    const reading = bytesOf(response)
    controller.abort(reason)
    await expect(reading).rejects.toBe(reason)
  }
  await server.disconnected()
})

test('an abort is heard at once, also by who waits for a connection, and then nothing is asked', async () => {
  let go: (value: unknown) => void = () => {}
  const first = ask({ until: new Promise((resolve) => (go = resolve)), body: 'first' })
  await server.seen('/x')
  const controller = new AbortController()
  const waiting = ask({ body: 'second' }, controller.signal)
  controller.abort(new Error('no longer wanted'))
  await expect(waiting).rejects.toThrow('no longer wanted')
  server.unscript()
  const third = ask({ body: 'third' })
  go(undefined)
  expect(String(await bytesOf(await first))).toBe('first')
  expect(String(await bytesOf(await third))).toBe('third')
  expect(server.count()).toBe(2)
})

test('an abort is also heard by who has not read yet what has come', async () => {
  const controller = new AbortController()
  const response = await ask({ body: 'short' }, controller.signal)
  await server.idle()
  controller.abort(new Error('no longer wanted'))
  await expect(bytesOf(response)).rejects.toThrow('no longer wanted')
})

test('who has gone before asks nothing', async () => {
  await expect(ask({}, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
  expect(server.connectionsEver).toBe(0)
})

test('case 83: a slow reader holds the sender back, and memory does not grow', async () => {
  const response = await ask({ endless: true })
  // Whatever the sockets between us take, the reader's own buffer is bounded.
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(response.body.length).toBeLessThanOrEqual(512 * 1024)
  response.body.destroy()
  await server.disconnected()
})

test('a short body that nobody wants leaves the connection for the next', async () => {
  discard((await ask({ status: 404, body: 'not here' })).body)
  await server.idle()
  discard((await ask({ status: 404, body: 'not here' })).body)
  expect(server.connectionsEver).toBe(1)
})

test('a long body that nobody wants is not read to its end', async () => {
  const { body } = await ask({ status: 500, endless: true })
  discard(body)
  await server.disconnected()
  expect(body.over).toBe(true)
})

test('a body that nobody wants and that never ends is not waited for', async () => {
  const { body } = await ask({ status: 500, body: 'not here', stallAfter: 3 })
  discard(body)
  await server.disconnected()
  expect(body.over).toBe(true)
})

test.each([
  ['both lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello'],
  ['no status line', '<html>log in</html>'],
  ['endless headers', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`],
  ['another protocol', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
])('case 104: malformed HTTP fails: %s', async (_, raw) => {
  await expect(ask({ raw }).then(bytesOf)).rejects.toThrow()
})
