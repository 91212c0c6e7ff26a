// Promise: it listens where it is told to or says why not, and stops without cutting what is under way.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { request, type RequestListener } from 'node:http'
import { connect, type ListenOptions, type NetConnectOpts, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, expect, onTestFinished, test, vi } from 'vitest'

import { listen, type Listener, type ListenerOptions } from '../../src/server/listen.ts'

const hello: RequestListener = (_incoming, outgoing) => void outgoing.end('hello')

async function started(options: Partial<ListenerOptions> & Pick<ListenerOptions, 'addresses'>): Promise<Listener> {
  const listener = await listen({ handler: hello, ...options })
  onTestFinished(() => listener.stop(0))
  return listener
}

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'substrata-listen-'))
  onTestFinished(() => rm(path, { recursive: true }))
  return path
}

function portOf({ addresses }: Listener): number {
  return Number(addresses[0]?.split(':').at(-1))
}

function get(where: { port: number; host?: string } | { socketPath: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...where, agent: false }, (reply) => {
      let text = ''
      reply.on('data', (chunk: Buffer) => (text += chunk.toString()))
      reply.on('end', () => resolve(text))
      reply.on('error', reject)
    })
    asked.on('error', reject)
    asked.end()
  })
}

async function connected(where: NetConnectOpts): Promise<Socket> {
  const socket = connect(where)
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

describe('it listens', () => {
  test('on TCP, and tells the port it got', async () => {
    const listener = await started({ addresses: ['127.0.0.1:0', '[::1]:0', 'localhost:0'] })
    expect(listener.addresses[0]).toMatch(/^127\.0\.0\.1:[1-9]\d+$/)
    expect(listener.addresses[1]).toMatch(/^\[::1\]:[1-9]\d+$/)
    expect(await get({ host: '127.0.0.1', port: portOf(listener) })).toBe('hello')
    expect(await get({ host: '::1', port: Number(listener.addresses[1]?.split(':').at(-1)) })).toBe('hello')
  })

  test('on a Unix socket that everybody may use, and removes it at the end', async () => {
    const path = join(await directory(), 's.sock')
    const listener = await started({ addresses: [`unix:${path}`] })
    expect(listener.addresses).toEqual([`unix:${path}`])
    // Execution means nothing for a socket, and Node sets it or not by its version.
    expect((await stat(path)).mode & 0o666).toBe(0o666)
    expect(await get({ socketPath: path })).toBe('hello')
    await listener.stop(0)
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('on a Unix socket that a dead process has left behind', async () => {
    const path = join(await directory(), 's.sock')
    // Killed, so that nobody removes its socket.
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
    await new Promise<void>((resolve) => execFile(process.execPath, ['-e', script], () => resolve()))
    expect((await stat(path)).isSocket()).toBe(true)
    await started({ addresses: [`unix:${path}`] })
    expect(await get({ socketPath: path })).toBe('hello')
  })

  test('on sockets that it was given, and on nothing else', async () => {
    const path = join(await directory(), 's.sock')
    const [tcp, unix] = await listeningElsewhere({ host: '127.0.0.1', port: 0 }, { path })
    const listener = await started({ addresses: ['127.0.0.1:0'], fds: [tcp, unix] })
    expect(listener.addresses).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/), `fd ${unix}`])
    expect(await get({ host: '127.0.0.1', port: portOf(listener) })).toBe('hello')
    expect(await get({ socketPath: path })).toBe('hello')
    await listener.stop(0)
    // It is not ours to remove: who passed it passes it to the next one too.
    expect((await stat(path)).isSocket()).toBe(true)
  })
})

/** Descriptors of sockets that another process has bound and this one does not watch yet, as systemd passes them. */
async function listeningElsewhere(...where: readonly ListenOptions[]): Promise<[number, number]> {
  const script = `
    const places = ${JSON.stringify(where)}
    const next = () => {
      const place = places.shift()
      if (!place) return
      const server = require('net').createServer().listen(place, () => process.send({}, server._handle, next))
    }
    next()
    process.on('message', () => {})`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const fds: number[] = []
  for (const _ of where) {
    const [, handle] = (await once(child, 'message')) as [unknown, { fd: number }]
    fds.push(handle.fd)
  }
  // It would accept connections as well; killed, it leaves its Unix socket behind.
  child.kill('SIGKILL')
  await once(child, 'exit')
  return fds as [number, number]
}

describe('where it cannot listen it says so, and then nowhere', () => {
  test('an address that is taken', async () => {
    const first = await started({ addresses: ['127.0.0.1:0'] })
    const [taken = ''] = first.addresses
    const path = join(await directory(), 's.sock')
    await expect(listen({ handler: hello, addresses: [`unix:${path}`, taken] })).rejects.toMatchObject({
      code: 'bad-config',
      message: `listen ${taken}: the address is in use already`,
    })
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a Unix socket that somebody answers on stays theirs', async () => {
    const path = join(await directory(), 's.sock')
    await started({ addresses: [`unix:${path}`] })
    await expect(listen({ handler: hello, addresses: [`unix:${path}`] })).rejects.toThrow(
      `listen unix:${path}: the address is in use already`,
    )
    expect(await get({ socketPath: path })).toBe('hello')
  })

  test('a file that is no socket stays as it is', async () => {
    const path = join(await directory(), 'precious')
    await writeFile(path, 'text')
    await expect(listen({ handler: hello, addresses: [`unix:${path}`] })).rejects.toThrow(`listen unix:${path}: `)
    expect((await stat(path)).size).toBe(4)
  })

  test.each(['192.0.2.1:0', 'unix:/nonexistent/s.sock'])('%s', async (address) => {
    await expect(listen({ handler: hello, addresses: [address] })).rejects.toMatchObject({
      code: 'bad-config',
      message: expect.stringMatching(
        /^listen .+: (?:this machine does not have the address|not allowed there, or there is no such directory)$/,
      ),
    })
  })

  test.each(['8501', '127.0.0.1', '::1:8501', '127.0.0.1:65536', 'unix:relative', ''])(
    '%j is no address',
    async (address) => {
      await expect(listen({ handler: hello, addresses: [address] })).rejects.toMatchObject({ code: 'bad-config' })
    },
  )
})

describe('a stop (case 118)', () => {
  /** Answers in two halves, the second when it is told to. */
  function halves() {
    const waiting: (() => void)[] = []
    const handler: RequestListener = (_incoming, outgoing) => {
      outgoing.writeHead(200, { 'Content-Length': 10 })
      outgoing.write('first')
      waiting.push(() => outgoing.end('other'))
    }
    return { handler, waiting }
  }

  test('lets what is under way finish, and takes nothing new', async () => {
    const { handler, waiting } = halves()
    const listener = await started({ handler, addresses: ['127.0.0.1:0'] })
    const port = portOf(listener)
    const running = get({ host: '127.0.0.1', port })
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    const stopped = listener.stop(60_000)
    await expect(get({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    waiting[0]?.()
    expect(await running).toBe('firstother')
    await stopped
  })

  test('closes connections that nobody uses, at once and as they fall idle', async () => {
    const { handler, waiting } = halves()
    const listener = await started({ handler, addresses: ['127.0.0.1:0'] })
    const where = { host: '127.0.0.1', port: portOf(listener) }
    const [fresh, busy] = [await connected(where), await connected(where)]
    busy.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    let text = ''
    busy.on('data', (chunk: Buffer) => (text += chunk.toString()))
    const closed = [once(fresh.resume(), 'close'), once(busy, 'close')]
    const stopped = listener.stop(60_000)
    await closed[0]
    waiting[0]?.()
    await closed[1]
    expect(text).toMatch(/firstother$/)
    await stopped
  })

  test('waits for the last bytes of an answer that a slow client has not taken yet', async () => {
    const size = 64 * 1024 * 1024
    const handler: RequestListener = (_incoming, outgoing) => {
      outgoing.writeHead(200, { 'Content-Length': size })
      outgoing.end(Buffer.alloc(size))
    }
    const listener = await started({ handler, addresses: ['127.0.0.1:0'] })
    const slow = await connected({ host: '127.0.0.1', port: portOf(listener) })
    slow.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(slow, 'readable')
    const stopped = listener.stop(60_000)
    let got = 0
    slow.on('data', (chunk: Buffer) => (got += chunk.length))
    await once(slow, 'close')
    expect(got).toBeGreaterThan(size)
    await stopped
  })

  test('cuts what takes longer than the limit', async () => {
    const { handler, waiting } = halves()
    const listener = await started({ handler, addresses: ['127.0.0.1:0'] })
    const running = get({ host: '127.0.0.1', port: portOf(listener) })
    const cut = expect(running).rejects.toMatchObject({ code: 'ECONNRESET' })
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    await listener.stop(10)
    await cut
  })

  test('may be told twice, and is hurried by the second', async () => {
    const { handler, waiting } = halves()
    const listener = await started({ handler, addresses: ['127.0.0.1:0'] })
    const running = get({ host: '127.0.0.1', port: portOf(listener) }).catch(() => 'cut')
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    await Promise.all([listener.stop(60_000), listener.stop(10)])
    expect(await running).toBe('cut')
    await listener.stop(10)
  })
})

describe('connections', () => {
  test('are limited in all, and the next one is taken when one has gone', async () => {
    const listener = await started({ addresses: ['127.0.0.1:0'], limits: { connections: 2 } })
    const where = { host: '127.0.0.1', port: portOf(listener) }
    const [first, second] = [await connected(where), await connected(where)]
    const third = await connected(where)
    await once(third.resume(), 'close')
    first.destroy()
    await vi.waitFor(async () => expect(await get(where)).toBe('hello'))
    second.destroy()
  })

  test('of one address are limited, but not those of this machine itself (cases 90, 109)', async () => {
    const listener = await started({ addresses: ['127.0.0.1:0'], limits: { connectionsPerAddress: 1 } })
    const where = { host: '127.0.0.1', port: portOf(listener) }
    const sockets = [await connected(where), await connected(where), await connected(where)]
    for (const socket of sockets) {
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      const [text] = (await once(socket, 'data')) as [Buffer]
      expect(text.toString()).toMatch(/^HTTP\/1\.1 200 /)
    }
  })

  test('on which nothing moves are given up', async () => {
    const handler: RequestListener = (_incoming, outgoing) => void outgoing.writeHead(200).write('x')
    const listener = await started({ handler, addresses: ['127.0.0.1:0'], limits: { idle: 50 } })
    const socket = await connected({ host: '127.0.0.1', port: portOf(listener) })
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    const ended = once(socket, 'end')
    socket.resume()
    expect(await ended).toEqual([])
  })
})
