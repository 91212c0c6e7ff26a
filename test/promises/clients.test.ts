// Clients that misbehave: whatever they send, leave out or hang up on, nobody else notices, nothing is left behind, and nobody can
// make the proxy connect to an address that the operator did not allow.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readlink } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { startProxy, type TestProxy } from '../support/test-proxy.ts'

async function serve(cache?: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream(cache ? { cache } : {})
  onTestFinished(() => upstream.close())
  return upstream
}

/** A connection, and all that has come over it. */
interface Wire {
  readonly socket: Socket
  readonly text: () => string
  readonly bytes: () => number
  /** Fulfilled when so many bytes have come. */
  readonly got: (bytes: number) => Promise<void>
  readonly closed: Promise<void>
}

async function wireTo({ url }: TestProxy): Promise<Wire> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  const chunks: Buffer[] = []
  let bytes = 0
  let look = (): void => {}
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    bytes += chunk.length
    look()
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  await once(socket, 'connect')
  const got = (wanted: number): Promise<void> =>
    new Promise((resolve) => {
      look = () => bytes >= wanted && resolve()
      look()
    })
  return { socket, text: () => Buffer.concat(chunks).toString('latin1'), bytes: () => bytes, got, closed }
}

/** What comes back for these bytes, until the other side has closed the connection, or for HTTP/1.1 the first answer has come. */
async function say(proxy: TestProxy, bytes: string | Buffer): Promise<string> {
  const wire = await wireTo(proxy)
  wire.socket.write(bytes)
  await Promise.race([wire.closed, wire.got('HTTP/1.1 400 '.length)])
  return wire.text()
}

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0)

/** Files of the proxy's root that this process has open, the catalogue's aside. */
async function openNars(proxy: TestProxy): Promise<readonly string[]> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  return (await Promise.all(links)).filter((path) => path.startsWith(proxy.root) && /\/(?:nar|incoming)\//.test(path))
}

test('what is no request for a cache reaches nobody and is refused: other people’s hosts, `..`, NUL, 10 kB, two lengths (cases 54, 104, 109, 111)', async () => {
  const cache = new SyntheticCache()
  const [upstream, stranger] = [await serve(cache), await serve()]
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const entry = cache.add()
  await proxy.narinfo(entry.hash)
  const asked = upstream.count()
  const elsewhere = `127.0.0.1:${stranger.port}`
  const get = (target: string, more = ''): string => `GET ${target} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
  const requests = [
    get(`http://${elsewhere}/nix-cache-info`),
    get(`http://${elsewhere}${entry.narinfoPath}`),
    get(`//${elsewhere}/${entry.hash}.narinfo`),
    get(`/http://${elsewhere}/x`),
    get(`/nar/http://${elsewhere}/x.nar`),
    get(`/nar//${elsewhere}/x.nar`),
    `CONNECT ${elsewhere} HTTP/1.1\r\nHost: ${elsewhere}\r\n\r\n`,
    get('/nar/../../../../etc/passwd'),
    get('/nar/%2e%2e/%2e%2e/etc/passwd'),
    get('/nar/..%2f..%2fetc%2fpasswd'),
    get('/nar/..\\..\\etc\\passwd'),
    get('/log/../../etc/passwd'),
    get('/../v1/catalogue.sqlite'),
    get(`/${entry.hash}.narinfo\0`),
    get('/nar/a\0b.nar'),
    get('/nar/a%00b.nar'),
    get(`/nar/${'a'.repeat(10_000)}.nar`),
    get(`/${'a'.repeat(10_000)}.narinfo`),
    get(`/${'a/'.repeat(5000)}`),
    get(`/${'a'.repeat(100_000)}`),
    get('/x', `X: ${'a'.repeat(100_000)}\r\n`),
    get('/x', 'X: a\r\n'.repeat(10_000)),
    get('/x', 'Content-Length: 5\r\nContent-Length: 6\r\n'),
    get('/x', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'),
    get('/x', 'Content-Length: -5\r\n'),
    get('/x', 'Content-Length: 5, 6\r\n'),
    get('/x', 'Transfer-Encoding: chunked, identity\r\n'),
    get('/x', 'X : a\r\n'),
    get('/x', ' folded: a\r\n'),
    'GET /x HTTP/9.9\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    Buffer.alloc(20_000, 0xff),
  ]
  for (const request of requests) {
    const shown = JSON.stringify(request.toString('latin1').slice(0, 60))
    expect([400, 404, 405, 431], shown).toContain(statusOf(await say(proxy, request)))
  }
  expect([upstream.count(), stranger.connectionsEver]).toEqual([asked, 0])
  // The Host header chooses nothing.
  const named = await proxy.get(entry.narinfoPath.slice(1), { host: elsewhere, 'x-forwarded-host': elsewhere })
  expect([named.status, stranger.connectionsEver]).toEqual([200, 0])
})

test('a request hidden behind another one’s body is not answered as a request', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const hidden = `GET /${cache.add().hash}.narinfo HTTP/1.1\r\nHost: x\r\n\r\n`
  for (const framing of [
    `Content-Length: ${hidden.length}\r\n`,
    `Content-Length: 0\r\nContent-Length: ${hidden.length}\r\n`,
    `Content-Length: ${hidden.length}\r\nTransfer-Encoding: chunked\r\n`,
  ]) {
    const wire = await wireTo(proxy)
    wire.socket.write(`GET /nix-cache-info HTTP/1.1\r\nHost: x\r\n${framing}\r\n${hidden}`)
    await wire.closed
    expect(wire.text().match(/HTTP\/1\.1 \d+/g), framing).toHaveLength(1)
  }
  expect(upstream.count(/narinfo$/)).toBe(0)
})

test('hundreds who never finish their headers, and hundreds who say nothing, keep nobody waiting (case 109)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const entry = cache.add({ content: randomBytes(500_000) })
  const slow = await Promise.all(Array.from({ length: 600 }, () => wireTo(proxy)))
  const drip = (at: number): void => {
    for (const { socket } of slow.slice(300)) socket.write(at === 0 ? 'GET /nix-cache-info HTTP/1.1\r\n' : 'X')
  }
  for (let at = 0; at < 10; at += 1) {
    drip(at)
    expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  }
  expect(slow.filter(({ bytes }) => bytes() > 0)).toEqual([])
})

test('who hangs up, at whatever point, leaves nothing behind, on a fill as on a hit (case 84)', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const size = 600_000
  const held = cache.add({ content: randomBytes(size) })
  await proxy.nar(held.hash)
  const request = (path: string): string => `GET /${path} HTTP/1.1\r\nHost: x\r\n\r\n`
  // How much of the request is sent, and how much of the answer is awaited.
  const points: readonly (readonly [sent: number, awaited: number])[] = [
    [0, 0],
    [5, 0],
    [-3, 0],
    [Infinity, 0],
    [Infinity, 1],
    [Infinity, size / 2],
    [Infinity, size - 1],
  ]
  for (const ending of ['destroy', 'resetAndDestroy', 'end'] as const) {
    for (const [sent, awaited] of points) {
      const fresh = cache.add({ content: randomBytes(size) })
      for (const path of [await proxy.narUrl(held.hash), await proxy.narUrl(fresh.hash)]) {
        const wire = await wireTo(proxy)
        const text = request(path)
        wire.socket.write(text.slice(0, sent))
        await wire.got(awaited)
        wire.socket[ending]()
        await wire.closed
      }
      expect((await proxy.nar(fresh.hash)).body.equals(fresh.file)).toBe(true)
    }
  }
  // And between two requests on one connection, with the second sent already.
  const wire = await wireTo(proxy)
  wire.socket.write(request(await proxy.narUrl(held.hash)).repeat(3))
  await wire.got(size + 1000)
  wire.socket.resetAndDestroy()
  await proxy.quiet()
  await upstream.idle()
  await expect.poll(() => openNars(proxy)).toEqual([])
  expect((await proxy.nar(held.hash)).body.equals(held.file)).toBe(true)
})

test('two hundred who want one NAR are one fetch, those who come late and those who read nothing included', async () => {
  const cache = new SyntheticCache()
  const upstream = await serve(cache)
  const entry = cache.add({ content: randomBytes(700_000) })
  let go = (): void => {}
  upstream.script(entry.narPath, { until: new Promise<void>((resolve) => (go = resolve)) })
  const proxy = await startProxy({ keys: [cache.publicKey], strata: [[upstream.url]] })
  const path = await proxy.narUrl(entry.hash)
  const early = Array.from({ length: 100 }, () => proxy.get(path))
  const stuck = await Promise.all(Array.from({ length: 20 }, () => wireTo(proxy)))
  for (const { socket } of stuck) socket.pause().write(`GET /${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await upstream.seen(entry.narPath)
  go()
  const late = Array.from({ length: 100 }, () => proxy.get(path))
  const digest = createHash('sha256').update(entry.file).digest('hex')
  for (const { status, body } of await Promise.all([...early, ...late])) {
    expect([status, createHash('sha256').update(body).digest('hex')]).toEqual([200, digest])
  }
  expect(upstream.count(entry.narPath)).toBe(1)
  expect(await proxy.metric('substrata_filled_bytes_total')).toBe(entry.file.length)
  for (const { socket } of stuck) socket.destroy()
})

test('uploads that lie of their length or hash, or stop half-way, leave nothing, and the honest one after them is taken (case 110)', async () => {
  const cache = new SyntheticCache()
  const entry = cache.add({ content: randomBytes(300_000) })
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [['http://127.0.0.1:1']],
    server: '[server.uploads]\naddresses = ["127.0.0.1/32"]',
  })
  const put = (path: string, headers: string): string => `PUT ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`
  const upload = async (path: string, body: Uint8Array | string): Promise<number> => {
    const head = put(path, `Content-Length: ${Buffer.byteLength(body)}\r\n`)
    return statusOf(await say(proxy, Buffer.concat([Buffer.from(head), Buffer.from(body)])))
  }
  const half = entry.file.subarray(0, 150_000)

  // Stops half-way, with a length and in chunks.
  for (const [headers, body] of [
    [`Content-Length: ${entry.file.length}\r\n`, half],
    ['Transfer-Encoding: chunked\r\n', Buffer.concat([Buffer.from('FFFFF\r\n'), half])],
  ] as const) {
    const wire = await wireTo(proxy)
    wire.socket.write(put(entry.narPath, headers))
    await new Promise((resolve) => wire.socket.write(body, resolve))
    wire.socket.resetAndDestroy()
    await wire.closed
  }
  // Says too little: the rest is not another request's business.
  const short = await say(
    proxy,
    Buffer.concat([Buffer.from(put(entry.narPath, 'Content-Length: 100\r\n')), entry.file.subarray(0, 1000)]),
  )
  expect([201, 400]).toContain(statusOf(short))
  expect(await upload(entry.narinfoPath, entry.narinfo)).toBe(409)
  // Says two things.
  const two = put(entry.narPath, `Content-Length: 10\r\nContent-Length: ${entry.file.length}\r\n`)
  expect(statusOf(await say(proxy, two))).toBe(400)
  // More than the world has.
  const much = put(entry.narPath, `Content-Length: ${10 ** 15}\r\n`)
  expect([400, 413, 507]).toContain(statusOf(await say(proxy, much)))
  // Other bytes of the same length.
  expect(await upload(entry.narPath, randomBytes(entry.file.length))).toBe(201)
  expect(await upload(entry.narinfoPath, entry.narinfo)).toBe(422)
  // Signed by nobody we know.
  const stranger = new SyntheticCache({ keyName: 'stranger-1' })
  const strange = stranger.add({ hash: entry.hash })
  expect(await upload(strange.narPath, strange.file)).toBe(201)
  expect([403, 422]).toContain(await upload(strange.narinfoPath, strange.narinfo))

  expect((await proxy.status()).store.nars).toBe(0)
  expect((await proxy.narinfo(entry.hash)).status).toBe(404)
  expect(await upload(entry.narPath, entry.file)).toBe(201)
  expect(await upload(entry.narinfoPath, entry.narinfo)).toBe(201)
  expect((await proxy.nar(entry.hash)).body.equals(entry.file)).toBe(true)
  await expect.poll(() => openNars(proxy)).toEqual([])
})

/** Ways to write the address of a server on this machine, at its port. */
function waysTo(port: number): readonly string[] {
  return [
    `http://127.0.0.1:${port}`,
    `http://localhost:${port}`,
    `http://2130706433:${port}`,
    `http://0x7f.1:${port}`,
    `http://0:${port}`,
    `http://[::1]:${port}`,
    `http://[::ffff:127.0.0.1]:${port}`,
    `http://cache@127.0.0.1:${port}`,
    `//127.0.0.1:${port}`,
    `/\\127.0.0.1:${port}`,
    `https://127.0.0.1:${port}`,
    `ftp://127.0.0.1:${port}`,
    `file://127.0.0.1:${port}`,
  ]
}

test.each(['upstream', 'peer'])(
  'no %s can lead us to an address that nobody allowed, by URL or redirect, at any hop (case 56)',
  async (kind) => {
    const cache = new SyntheticCache()
    const [liar, inner] = [await serve(cache), await serve(cache)]
    const proxy = await startProxy({
      keys: [cache.publicKey],
      ...(kind === 'peer' ? { peers: [[liar.url]] } : { strata: [[liar.url]] }),
    })
    const drv = `${nix32(randomBytes(20))}-a.drv`
    for (const place of waysTo(inner.port)) {
      // The URL of a narinfo that is signed by a key we trust: it is not signed over.
      const named = cache.add({ fields: { URL: `${place}/nar/secret.nar` } })
      const moved = cache.add()
      const nar = cache.add()
      liar.script(moved.narinfoPath, { redirect: `${place}${moved.narinfoPath}` })
      liar.script(nar.narPath, { redirect: '/hop' })
      liar.script('/hop', { redirect: `${place}${nar.narPath}` })
      liar.script(`/log/${drv}`, { redirect: `${place}/log/${drv}` })
      liar.script('/nar/foreign.nar', { redirect: `${place}/nar/foreign.nar` })
      expect((await proxy.narinfo(named.hash)).status, place).toBe(404)
      expect((await proxy.narinfo(moved.hash)).status, place).toBe(404)
      const found = await proxy.narinfo(nar.hash)
      if (found.status === 200) expect((await proxy.nar(nar.hash)).status, place).toBeGreaterThanOrEqual(400)
      expect((await proxy.get(`log/${drv}`)).status, place).toBeGreaterThanOrEqual(400)
      expect((await proxy.get('nar/foreign.nar')).status, place).toBeGreaterThanOrEqual(400)
      // What it did made us ask it no more; it starts afresh with a good answer.
      liar.unscript()
      await expect.poll(async () => (await proxy.narinfo(cache.add().hash)).status, { timeout: 15_000 }).toBe(200)
    }
    expect(inner.connectionsEver).toBe(0)
  },
)

test('a host that the operator allowed by name is not connected to where DNS has it in our own network (case 56)', async () => {
  const cache = new SyntheticCache()
  const [liar, inner] = [await serve(cache), await serve(cache)]
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata: [[liar.url]],
    upstream: `allowed_hosts = ["localhost:${inner.port}"]`,
  })
  const named = cache.add({ fields: { URL: `http://localhost:${inner.port}/nar/x.nar` } })
  const moved = cache.add()
  liar.script(moved.narPath, { redirect: `http://localhost:${inner.port}${moved.narPath}` })
  for (const { hash } of [named, moved]) expect((await proxy.nar(hash)).status).toBe(502)
  expect(inner.connectionsEver).toBe(0)
})
