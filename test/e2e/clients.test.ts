// Many clients, slow clients and a NAR of more than 4 GiB against the built program: its memory and descriptors stay bounded, and
// everybody else is served.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'

import { expect, onTestFinished, test } from 'vitest'

import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { answerOf, openAnswer } from '../support/test-proxy.ts'
import { Proxy } from './support/proxy.ts'

const mebibyte = 1024 * 1024
/** A half more than is measured; a program that held NARs, or megabytes for each client, would be above it. */
const mostMemory = 400 * mebibyte

/** Peak of a process's resident memory, in bytes. */
async function peakMemory({ pid }: Proxy): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}

const descriptors = async ({ pid }: Proxy): Promise<number> => (await readdir(`/proc/${pid}/fd`)).length

async function expectModest(proxy: Proxy, what: string): Promise<void> {
  const peak = await peakMemory(proxy)
  process.stdout.write(`${what}: ${Math.round(peak / mebibyte)} MiB at most\n`)
  expect(peak).toBeLessThan(mostMemory)
}

/** A NAR of one file, made as it is asked for: every MiB of it begins with its number. */
class LargeNar {
  readonly size: number
  readonly #blocks: number
  readonly #head: Buffer
  readonly #tail: Buffer

  constructor(blocks: number) {
    this.#blocks = blocks
    this.#head = words('nix-archive-1', '(', 'type', 'regular', 'contents')
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(blocks) * BigInt(mebibyte))
    this.#head = Buffer.concat([this.#head, length])
    this.#tail = words(')')
    this.size = this.#head.length + blocks * mebibyte + this.#tail.length
  }

  /** The bytes from `start` to before `end`, in chunks that are valid until the next one. */
  *bytes(start = 0, end = this.size): Generator<Buffer, void, void> {
    const block = Buffer.alloc(mebibyte)
    const first = Math.max(0, Math.floor((start - this.#head.length) / mebibyte))
    let at = start < this.#head.length ? 0 : this.#head.length + first * mebibyte
    const cut = (piece: Buffer): Buffer => {
      const part = piece.subarray(Math.max(0, start - at), Math.max(0, end - at))
      at += piece.length
      return part
    }
    if (at === 0) yield cut(this.#head)
    for (let number = first; number < this.#blocks; number += 1) {
      if (at >= end) return
      block.writeUInt32LE(number)
      yield cut(block)
    }
    if (at < end) yield cut(this.#tail)
  }

  sha256(): string {
    const hash = createHash('sha256')
    for (const chunk of this.bytes()) hash.update(chunk)
    return nix32(hash.digest())
  }
}

function words(...texts: readonly string[]): Buffer {
  const parts = texts.map((text) => {
    const word = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8)
    word.writeUInt32LE(text.length)
    word.write(text, 8)
    return word
  })
  return Buffer.concat(parts)
}

/** A cache with one path, whose NAR is made on the way. */
async function largeCache(blocks: number) {
  const cache = new SyntheticCache()
  const nar = new LargeNar(blocks)
  const hash = nar.sha256()
  const { hash: storeHash, storePath, narinfoPath } = cache.add()
  const narinfo = [
    `StorePath: ${storePath}`,
    'URL: nar/large.nar',
    'Compression: none',
    `FileHash: sha256:${hash}`,
    `FileSize: ${nar.size}`,
    `NarHash: sha256:${hash}`,
    `NarSize: ${nar.size}`,
    'References: ',
    `Sig: ${cache.sign(cache.fingerprint(storePath, hash, nar.size, []))}`,
    '',
  ].join('\n')
  cache.put(narinfoPath, narinfo)
  const sent = { bytes: 0, requests: 0 }
  const server = createServer((request, response) => {
    void answer(request, response)
  })
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.url !== '/nar/large.nar') {
      const file = cache.files.get(request.url ?? '')
      response.writeHead(file ? 200 : 404).end(file?.body)
      return
    }
    sent.requests += 1
    response.writeHead(200, { 'content-length': nar.size })
    for (const chunk of nar.bytes()) {
      await new Promise((resolve) => {
        response.once('close', resolve)
        response.write(chunk, () => {
          response.off('close', resolve)
          resolve(undefined)
        })
      })
      if (response.destroyed) return
      sent.bytes += chunk.length
    }
    response.end()
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const proxy = await Proxy.start({
    upstreams: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`],
    keys: [cache.publicKey],
  })
  const answered = await answerOf(`${proxy.url}/${storeHash}.narinfo`)
  const url = `${proxy.url}/${/^URL: (.*)$/m.exec(answered.body.toString())?.[1]}`
  return { proxy, nar, url, sent }
}

/** Reads a body to its end, holding each chunk against what it should be. */
async function expectBytes(response: IncomingMessage, expected: Iterable<Buffer>): Promise<void> {
  const right = expected[Symbol.iterator]()
  let left = Buffer.alloc(0)
  for await (const chunk of response as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length;) {
      while (left.length === 0) left = right.next().value ?? expect.unreachable('more bytes than there should be')
      const part = chunk.subarray(at, at + left.length)
      if (!part.equals(left.subarray(0, part.length))) expect.unreachable('other bytes than there should be')
      left = left.subarray(part.length)
      at += part.length
    }
  }
  expect([left.length, right.next().done]).toEqual([0, true])
}

/** So many connections, opened some at a time. */
async function connections(count: number, { url }: Proxy): Promise<readonly Socket[]> {
  const { hostname, port } = new URL(url)
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  while (sockets.length < count) {
    const some = Array.from({ length: Math.min(200, count - sockets.length) }, () => connect(Number(port), hostname))
    sockets.push(...some)
    await Promise.all(some.map((socket) => once(socket, 'connect')))
  }
  return sockets
}

test('ten thousand idle connections cost neither the others their answers nor much memory, and are let go of (case 109)', async () => {
  const cache = await largeCache(4)
  const { proxy, nar, url } = cache
  const limit = Number(/^Max open files\s+(\d+)/m.exec(await readFile('/proc/self/limits', 'utf8'))?.[1] ?? 0)
  // Both ends are bound by the same limit, each in its own process.
  const count = Math.min(10_000, limit - 500)
  const before = await descriptors(proxy)
  const idle = await connections(count, proxy)
  await expect.poll(() => descriptors(proxy), { timeout: 30_000 }).toBeGreaterThanOrEqual(before + count)
  for (let n = 0; n < 5; n += 1) await expectBytes(await openAnswer(url), nar.bytes())
  expect((await answerOf(`${proxy.url}/nix-cache-info`)).status).toBe(200)
  await expectModest(proxy, `${count} idle connections`)
  for (const socket of idle) socket.destroy()
  await expect.poll(() => descriptors(proxy), { timeout: 30_000 }).toBeLessThan(before + 100)
})

test('two hundred readers of one NAR, half of whom read next to nothing, are one fetch, and no NAR is held in memory for them (case 83)', async () => {
  const { proxy, nar, url, sent } = await largeCache(64)
  const open = (): Promise<IncomingMessage> => openAnswer(url)
  /** It takes some bytes, and then no more: the rest fills the buffers between us. */
  const slow = async (): Promise<IncomingMessage> => {
    const response = await open()
    response.once('data', () => response.pause())
    return response
  }
  const [stuck, ...good] = await Promise.all([
    Promise.all(Array.from({ length: 100 }, slow)),
    ...Array.from({ length: 20 }, async () => expectBytes(await open(), nar.bytes())),
  ])
  expect(good).toHaveLength(20)
  expect(sent).toEqual({ bytes: nar.size, requests: 1 })
  // The same from disk.
  const held = await Promise.all(Array.from({ length: 100 }, slow))
  await Promise.all(Array.from({ length: 20 }, async () => expectBytes(await open(), nar.bytes())))
  await expectModest(proxy, `${stuck.length + held.length} stuck readers of a NAR of 64 MiB`)
  for (const response of [...stuck, ...held]) response.destroy()
  expect(sent.requests).toBe(1)
  await proxy.stop()
})

test('a NAR of more than 4 GiB is fetched, kept and served in parts behind 4 GiB, in little memory (case 87)', async () => {
  const { proxy, nar, url, sent } = await largeCache(4200)
  const four = 2 ** 32
  const part = async (range: string, start: number, end: number): Promise<void> => {
    const response = await openAnswer(url, { range })
    expect([response.statusCode, response.headers['content-range']]).toEqual([
      206,
      `bytes ${start}-${end - 1}/${nar.size}`,
    ])
    await expectBytes(response, nar.bytes(start, end))
  }
  const crossing = (): Promise<void> =>
    part(`bytes=${four - 100}-${four + 3 * mebibyte}`, four - 100, four + 3 * mebibyte + 1)
  // While it is on its way, and from disk.
  await Promise.all([crossing(), part(`bytes=${four + 7}-`, four + 7, nar.size)])
  expect(sent).toEqual({ bytes: nar.size, requests: 1 })
  await expect
    .poll(async () => (await answerOf(`${proxy.url}/metrics`)).body.toString(), { timeout: 30_000 })
    .toMatch(/substrata_fills_total\{outcome="committed"\} 1/)
  await crossing()
  await part('bytes=-500', nar.size - 500, nar.size)
  expect((await answerOf(url, {}, 'HEAD')).headers['content-length']).toBe(String(nar.size))
  const slow = await openAnswer(url)
  slow.once('data', () => slow.pause())
  await expectBytes(await openAnswer(url), nar.bytes())
  slow.destroy()
  await expectModest(proxy, `a NAR of ${nar.size} bytes`)
  expect(sent.requests).toBe(1)
}, 300_000)
