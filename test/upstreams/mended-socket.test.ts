// Promise: no upstream can end the process by closing its connection while our reader is slow (nodejs/undici#5360). An assertion
// in undici would be an uncaught exception here, which fails the run.

import { once } from 'node:events'
import { createServer, Socket, type AddressInfo, type Server } from 'node:net'

import { afterEach, describe, expect, test } from 'vitest'

import { Client } from '../../src/upstreams/client.ts'
import { mended } from '../../src/upstreams/mended-socket.ts'

const sizes = [1, 1000, 65_536, 200_000, 1_000_000]

const servers: Server[] = []
const clients: Client[] = []

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
})

/** A server that does this to each connection once a request has come. */
async function serverThat(
  answers: (socket: Socket) => void,
): Promise<{ client: Client; url: URL; closed: () => Promise<unknown> }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.once('data', () => answers(socket))
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const limits = { connect: 5000, firstByte: 5000, connections: 4 }
  const client = new Client({ who: 'upstream u', own: url, allowedHosts: [], headers: {}, secretHeaders: {}, limits })
  clients.push(client)
  const closed = () =>
    Promise.all(
      sockets.map((socket) => new Promise((resolve) => (socket.closed ? resolve(0) : socket.once('close', resolve)))),
    )
  return { client, url, closed }
}

/** Reads a body only after its sender has long finished and closed. */
async function readSlowly(body: AsyncIterable<Uint8Array>): Promise<number> {
  let size = 0
  for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
  for await (const chunk of body) {
    size += chunk.length
    await new Promise((resolve) => setImmediate(resolve))
  }
  return size
}

const heads = {
  'a Content-Length and Connection: close': (size: number) =>
    `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`,
  'HTTP/1.0': (size: number) => `HTTP/1.0 200 OK\r\nContent-Length: ${size}\r\n\r\n`,
  'no length at all': () => 'HTTP/1.1 200 OK\r\n\r\n',
  'a chunk and Connection: close': (size: number) =>
    `HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n`,
}

describe.each(Object.entries(heads))('a response with %s', (name, head) => {
  const tail = name.includes('chunk') ? '\r\n0\r\n\r\n' : ''

  test.each(sizes)('of %i bytes comes whole, though its sender has gone before it is read', async (size) => {
    const { client, url, closed } = await serverThat((socket) => {
      socket.end(Buffer.concat([Buffer.from(head(size)), Buffer.alloc(size), Buffer.from(tail)]))
    })
    const { body } = await client.get(url, {}, new AbortController().signal)
    expect(await readSlowly(body)).toBe(size)
    await closed()
  })

  test('can be given up after its sender has gone', async () => {
    const { client, url, closed } = await serverThat((socket) => {
      socket.end(Buffer.concat([Buffer.from(head(500_000)), Buffer.alloc(500_000), Buffer.from(tail)]))
    })
    const { body } = await client.get(url, {}, new AbortController().signal)
    for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
    body.destroy()
    await closed()
    await expect(readSlowly(body)).rejects.toThrow('given up')
  })

  // Not every kernel tells a reset from an end when there were bytes before it, and without a length nothing else tells.
  if (name === 'no length at all') return
  test('that is reset while nobody reads is broken', async () => {
    const { client, url } = await serverThat((socket) => {
      socket.write(Buffer.concat([Buffer.from(head(500_000)), Buffer.alloc(100_000)]), () => socket.resetAndDestroy())
    })
    const { body } = await client.get(url, {}, new AbortController().signal)
    await expect(readSlowly(body)).rejects.toThrow()
  })
})

test('case 67: a body that ends before its Content-Length, or within a chunk, is broken', async () => {
  for (const head of [heads['HTTP/1.0'](1000), heads['a chunk and Connection: close'](1000)]) {
    const { client, url } = await serverThat((socket) =>
      socket.end(Buffer.concat([Buffer.from(head), Buffer.alloc(900)])),
    )
    const { body } = await client.get(url, {}, new AbortController().signal)
    await expect(readSlowly(body)).rejects.toThrow()
  }
})

test('a reset is never taken for the end of a body without length', () => {
  const socket = mended(new Socket())
  const seen: unknown[] = []
  socket.on('error', (error) => seen.push(error))
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
  socket.emit('error', reset)
  expect(seen).toEqual([expect.objectContaining({ code: 'UND_ERR_SOCKET', cause: reset })])
})
