// Promise: what is read into one buffer again and again comes as it was sent, to undici and to anybody else.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

import { afterEach, expect, test } from 'vitest'

import { Client } from '../../src/upstreams/client.ts'
import { connectPlainly } from '../../src/upstreams/plain-socket.ts'

const servers: Server[] = []
const clients: Client[] = []
const sockets: Socket[] = []

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
  for (const socket of sockets.splice(0)) socket.destroy()
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
})

async function serverThat(does: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    does(socket)
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

function clientOf(port: number) {
  const own = new URL(`http://127.0.0.1:${port}/`)
  const limits = { connect: 5000, firstByte: 5000, connections: 1 }
  const client = new Client({ who: 'upstream u', own, allowedHosts: [], headers: {}, secretHeaders: {}, limits })
  clients.push(client)
  return { client, url: own }
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const sizes = [1, 32_767, 32_768, 300_000, 20_000_000]

test.each(sizes.flatMap((size) => ['quick', 'slow'].map((reader) => [size, reader] as const)))(
  'a body of %i bytes comes whole to a %s reader, again and again over one connection',
  async (size, reader) => {
    const body = randomBytes(size)
    let connections = 0
    const port = await serverThat((socket) => {
      connections++
      const head = `HTTP/1.1 200 OK\r\nX-Long: ${'y'.repeat(8000)}\r\nContent-Length: ${size}\r\n\r\n`
      socket.on('data', () => {
        socket.write(head)
        socket.write(body)
      })
    })
    const { client, url } = clientOf(port)
    for (let times = 0; times < 3; times++) {
      const response = await client.get(url, {}, new AbortController().signal)
      const hash = createHash('sha256')
      for await (const chunk of response.body) {
        if (reader === 'slow' && times === 1) await turn()
        hash.update(chunk)
      }
      expect(hash.digest('hex')).toBe(digestOf(body))
      expect(response.headers['x-long']).toHaveLength(8000)
    }
    expect(connections).toBe(1)
  },
)

test('headers that come in many pieces, with much after them, are whole', async () => {
  const body = Buffer.alloc(400_000, 'b')
  const names = Array.from({ length: 40 }, (_, index) => `X-Part-${index}: ${String(index).repeat(20)}\r\n`)
  const port = await serverThat((socket) => {
    socket.once('data', () => {
      void (async () => {
        socket.write('HTTP/1.1 200 OK\r\n')
        for (const name of names) {
          for (const piece of [name.slice(0, 5), name.slice(5)]) {
            socket.write(piece)
            await turn()
          }
        }
        socket.write(Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]))
      })()
    })
  })
  const { client, url } = clientOf(port)
  const { headers, body: coming } = await client.get(url, {}, new AbortController().signal)
  let size = 0
  for await (const chunk of coming) size += chunk.length
  expect(size).toBe(body.length)
  for (const index of names.keys()) expect(headers[`x-part-${index}`]).toBe(String(index).repeat(20))
})

test('chunks of a body without length come whole', async () => {
  const pieces = Array.from({ length: 50 }, (_, index) => randomBytes(1 + index * 3000))
  const port = await serverThat((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      for (const piece of pieces) {
        socket.write(`${piece.length.toString(16)}\r\n`)
        socket.write(piece)
        socket.write('\r\n')
      }
      socket.write('0\r\nX-Trailer: yes\r\n\r\n')
    })
  })
  const { client, url } = clientOf(port)
  const response = await client.get(url, {}, new AbortController().signal)
  const hash = createHash('sha256')
  for await (const chunk of response.body) hash.update(chunk)
  expect(hash.digest('hex')).toBe(digestOf(Buffer.concat(pieces)))
})

test('what comes before anybody listens, and to whoever keeps what he was given, stays as it was', async () => {
  const bytes = randomBytes(3_000_000)
  const port = await serverThat((socket) => socket.end(bytes))
  const socket = connectPlainly({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  for (let turns = 0; turns < 20; turns++) await turn()
  const kept: Buffer[] = []
  for await (const chunk of socket) kept.push(chunk as Buffer)
  expect(digestOf(Buffer.concat(kept))).toBe(digestOf(bytes))
})
