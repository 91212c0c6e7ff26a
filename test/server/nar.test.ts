// Promise: a NAR arrives as it is, or is seen not to have arrived; nobody who has gone is served.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'

import { describe, expect, test, vi } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import type { ServerParts } from '../../src/server/parts.ts'
import type { ByteRange } from '../../src/substituter.ts'
import { answering, empty, having, pieces, serve, TestBody, testNar, untilStopped, type Step } from './rig.ts'

const content = randomBytes(10_000)
const lost = new ProxyError('unreachable', 'upstream secret.example: connection reset')

describe('a NAR that is to be had', () => {
  test('is sent whole, chunk after chunk from one buffer', async () => {
    const nar = testNar({ content, compression: 'gzip' })
    const { ask, counted, metrics, lines } = await serve({ substituter: having([nar]) })
    const { status, headers, body } = await ask(nar.path)
    expect(status).toBe(200)
    expect(body.equals(nar.file)).toBe(true)
    expect(headers).toMatchObject({
      'content-type': 'application/x-nix-nar',
      'content-length': String(nar.file.length),
      'accept-ranges': 'bytes',
      etag: `"${nar.narinfo.fileHash}"`,
      'cache-control': 'public, max-age=31536000, immutable',
      'cache-status': 'substrata; fwd=miss; stored; detail="cache.test"',
    })
    expect(await counted('nars', 'fill')).toBe(1)
    expect((await metrics.narBytes.get()).values[0]?.value).toBe(nar.file.length)
    expect(lines).toContainEqual(
      expect.objectContaining({
        level: 'info',
        message: `GET ${nar.path}`,
        from: 'cache.test',
        bytes: nar.file.length,
      }),
    )
  })

  test('comes from disk when it is there', async () => {
    const nar = testNar()
    const { ask, counted } = await serve({ substituter: having([nar], { stratum: 'store' }) })
    expect((await ask(nar.path)).headers['cache-status']).toBe('substrata; hit')
    expect(await counted('nars', 'hit')).toBe(1)
  })

  test('is the one whose bytes the URL names (case 64)', async () => {
    const nar = testNar()
    const { ask } = await serve({ substituter: having([nar]) })
    const others = [
      nar.path.replace(/\.nar$/, '.nar.xz'),
      nar.path.replace(/-(.)/, (_, one) => `-${one === '0' ? 1 : 0}`),
    ]
    for (const path of others) expect((await ask(path)).status).toBe(404)
    expect((await ask(`${nar.path}?x=y`)).status).toBe(200)
  })

  test('is told of by HEAD without being opened (case 89)', async () => {
    const nar = testNar({ content })
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, headers, body } = await ask(nar.path, { method: 'HEAD', headers: { range: 'bytes=0-9' } })
    expect(status).toBe(200)
    expect(headers['content-length']).toBe(String(nar.file.length))
    expect(headers['accept-ranges']).toBe('bytes')
    expect(body.length).toBe(0)
    expect(nar.opened).toEqual([])
    const unknown = testNar({ content, compression: 'gzip', fileHash: false })
    const other = await serve({ substituter: having([unknown]) })
    const reply = await other.ask(unknown.path, { method: 'HEAD' })
    expect(reply.status).toBe(200)
    expect(reply.headers).not.toHaveProperty('content-length')
    const plain = testNar({ content, fileHash: false })
    const third = await serve({ substituter: having([plain]) })
    expect((await third.ask(plain.path, { method: 'HEAD' })).headers['content-length']).toBe(String(plain.file.length))
  })

  test('is 304 to who has it', async () => {
    const nar = testNar()
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, headers, body } = await ask(nar.path, { headers: { 'if-none-match': `"${nar.narinfo.fileHash}"` } })
    expect([status, body.length, headers.etag]).toEqual([304, 0, `"${nar.narinfo.fileHash}"`])
    expect(nar.opened).toEqual([])
  })

  test('has the length that its giver says, not its narinfo (case 32)', async () => {
    const nar = testNar({ content, fields: { FileSize: '77' } })
    const { ask } = await serve({ substituter: having([nar]) })
    const { headers, body, cut } = await ask(nar.path)
    expect([headers['content-length'], body.equals(nar.file), cut]).toEqual([String(nar.file.length), true, false])
  })

  test('is sent in chunks when nobody knows its length (case 82)', async () => {
    const nar = testNar({ content, size: 'unknown' })
    const { ask, raw } = await serve({ substituter: having([nar]) })
    const { headers, body, cut } = await ask(nar.path)
    expect(headers['transfer-encoding']).toBe('chunked')
    expect([body.equals(nar.file), cut]).toEqual([true, false])
    const old = await raw(`GET ${nar.path} HTTP/1.0\r\n\r\n`)
    expect(old.slice(old.indexOf('\r\n\r\n') + 4)).toBe(nar.file.toString('latin1'))
  })

  test('may be empty (case 88)', async () => {
    const nar = testNar({ size: 0, steps: () => [] })
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, headers, body, cut } = await ask(nar.path)
    expect([status, headers['content-length'], body.length, cut]).toEqual([200, '0', 0, false])
  })

  test('may come with empty chunks between the others', async () => {
    for (const size of [undefined, 'unknown'] as const) {
      const steps = (part: Buffer) => [Buffer.alloc(0), part.subarray(0, 5), Buffer.alloc(0), part.subarray(5)]
      const nar = testNar({ content, steps, ...(size ? { size } : {}) })
      const { ask } = await serve({ substituter: having([nar]) })
      expect((await ask(nar.path)).body.equals(nar.file)).toBe(true)
    }
  })
})

describe('a part of a NAR (case 78)', () => {
  test.each([
    ['bytes=0-99', 0, 99],
    ['bytes=5000-', 5000, undefined],
    ['bytes=9000-99999', 9000, undefined],
    ['bytes=-500', -500, undefined],
    ['bytes=-99999', 0, undefined],
  ])('%s is 206', async (range, start, end) => {
    const nar = testNar({ content })
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, headers, body } = await ask(nar.path, { headers: { range } })
    const size = nar.file.length
    const first = start < 0 ? size + start : start
    const last = end ?? size - 1
    expect(status).toBe(206)
    expect(headers).toMatchObject({
      'content-range': `bytes ${first}-${last}/${size}`,
      'content-length': String(last - first + 1),
      'accept-ranges': 'bytes',
      etag: `"${nar.narinfo.fileHash}"`,
    })
    expect(body.equals(nar.file.subarray(first, last + 1))).toBe(true)
  })

  test('that lies behind its end is 416, with its size', async () => {
    const nar = testNar({ content })
    const { ask } = await serve({ substituter: having([nar]) })
    const size = nar.file.length
    for (const range of [`bytes=${size}-`, 'bytes=99999-', 'bytes=-0']) {
      const { status, headers } = await ask(nar.path, { headers: { range } })
      expect([status, headers['content-range'], headers['accept-ranges']]).toEqual([416, `bytes */${size}`, 'bytes'])
    }
    const strict = testNar({ content, failing: new ProxyError('bad-range', 'store: none there') })
    const other = await serve({ substituter: having([strict]) })
    const { status, headers } = await other.ask(strict.path, { headers: { range: 'bytes=99999-' } })
    expect([status, headers['content-range']]).toEqual([416, `bytes */${size}`])
  })

  test.each(['bytes=0-1,5-6', 'bytes=9-3', 'lines=1-2', 'nonsense'])('%s is no range: the whole', async (range) => {
    const nar = testNar({ content })
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, body } = await ask(nar.path, { headers: { range } })
    expect([status, body.length]).toEqual([200, nar.file.length])
  })

  test('is sent only of the bytes that If-Range names', async () => {
    const nar = testNar({ content })
    const { ask } = await serve({ substituter: having([nar]) })
    const part = (ifRange: string) => ask(nar.path, { headers: { range: 'bytes=0-9', 'if-range': ifRange } })
    expect((await part(`"${nar.narinfo.fileHash}"`)).status).toBe(206)
    for (const other of ['"other"', `W/"${nar.narinfo.fileHash}"`, 'Wed, 21 Oct 2015 07:28:00 GMT']) {
      expect((await part(other)).status).toBe(200)
    }
  })

  test('that begins behind 4 GiB is asked for there (case 87)', async () => {
    const nar = testNar({ size: 6e9, steps: () => pieces(content.subarray(0, 1000)) })
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, headers, body } = await ask(nar.path, { headers: { range: 'bytes=5999999000-' } })
    expect([status, headers['content-range'], body.length]).toEqual([
      206,
      'bytes 5999999000-5999999999/6000000000',
      1000,
    ])
    expect(nar.opened.map(({ range }) => range)).toEqual([{ start: 5_999_999_000 }])
  })

  test('has its size from who sends it, also when the narinfo says something else (case 32)', async () => {
    const nar = testNar({ content, fields: { FileSize: '77' } })
    const { ask } = await serve({ substituter: having([nar]) })
    for (const range of ['bytes=5000-', `bytes=-${nar.file.length - 5000}`]) {
      const { status, headers, body } = await ask(nar.path, { headers: { range } })
      const size = nar.file.length
      expect([status, headers['content-range']]).toEqual([206, `bytes 5000-${size - 1}/${size}`])
      expect(body.equals(nar.file.subarray(5000))).toBe(true)
    }
  })

  test.each(['bytes=5000-', 'bytes=0-99', 'bytes=-100', 'bytes=99999-'])(
    '%s waits for the end when nobody knows where that is, and is never a 200 (case 79)',
    async (range) => {
      const nar = testNar({ content, size: 'unknown', compression: 'gzip', fileHash: false })
      const known = testNar({ content })
      const [unsized, sized] = [
        await serve({ substituter: having([nar]) }),
        await serve({ substituter: having([known]) }),
      ]
      const got = await unsized.ask(nar.path, { headers: { range } })
      if (range === 'bytes=99999-') {
        expect([got.status, got.headers['content-range']]).toEqual([416, `bytes */${nar.file.length}`])
        return
      }
      expect(got.status).toBe(206)
      const { first = '', last = '' } =
        /^bytes (?<first>\d+)-(?<last>\d+)\//.exec(got.headers['content-range'] ?? '')?.groups ?? {}
      expect(got.headers['content-range']).toBe(`bytes ${first}-${last}/${nar.file.length}`)
      expect(got.body.equals(nar.file.subarray(Number(first), Number(last) + 1))).toBe(true)
      expect((await sized.ask(known.path, { headers: { range } })).status).toBe(206)
    },
  )
})

describe('a NAR that breaks on the way is never ended well', () => {
  const half = (part: Buffer): Step[] => [part.subarray(0, 5000), lost]

  test('with a length', async () => {
    const nar = testNar({ content, steps: half })
    const { ask, counted, lines } = await serve({ substituter: having([nar]) })
    const { status, body, cut } = await ask(nar.path)
    expect([status, body.length, cut]).toEqual([200, 5000, true])
    await vi.waitFor(async () => expect(await counted('nars', 'failed')).toBe(1))
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'info', bytes: 5000, why: `cut after 5000 bytes: ${lost.message}` }),
    )
  })

  test('in chunks', async () => {
    const nar = testNar({ content, size: 'unknown', steps: half })
    const { ask, raw } = await serve({ substituter: having([nar]) })
    expect((await ask(nar.path)).cut).toBe(true)
    expect(await raw(`GET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)).not.toMatch(/\r\n0\r\n\r\n$/)
  })

  test('without either: the connection is reset', async () => {
    let goOn = (): void => {}
    const seen = new Promise<void>((resolve) => (goOn = resolve))
    const nar = testNar({ content, size: 'unknown', steps: (part) => [part.subarray(0, 5000), seen, lost] })
    const { open } = await serve({ substituter: having([nar]) })
    const socket = await open()
    const broken = new Promise((resolve) => {
      socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
      socket.once('end', () => resolve('ended well'))
    })
    socket.write(`GET ${nar.path} HTTP/1.0\r\n\r\n`)
    // A reset that comes together with data is lost on Node's own sockets: first the data, then the reset.
    await once(socket, 'data')
    goOn()
    expect(await broken).toBe('ECONNRESET')
  })

  test('when it is shorter than it said (case 67)', async () => {
    const nar = testNar({ content, steps: (part) => [part.subarray(0, -1)] })
    const { ask } = await serve({ substituter: having([nar]) })
    expect(await ask(nar.path)).toMatchObject({ status: 200, cut: true })
  })

  test('when it is longer than it said (case 68)', async () => {
    const nar = testNar({ content, size: 6000 })
    const { ask, counted } = await serve({ substituter: having([nar]) })
    const { body } = await ask(nar.path)
    expect(body.length).toBeLessThanOrEqual(6000)
    await vi.waitFor(async () => expect(await counted('nars', 'failed')).toBe(1))
  })
})

describe('who hangs up', () => {
  test('while the next chunk is awaited frees everything at once', async () => {
    const nar = testNar({ content, steps: (part) => [part.subarray(0, 1000), 'wait'] })
    const { open, counted, lines } = await serve({ substituter: having([nar]) })
    const socket = await open()
    socket.write(`GET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await once(socket, 'data')
    socket.destroy()
    await vi.waitFor(() => expect(nar.opened[0]?.body.finished).toBe(true))
    await vi.waitFor(async () => expect(await counted('nars', 'hung-up')).toBe(1))
    expect(await counted('nars', 'failed')).toBe(0)
    expect(lines.filter(({ level }) => level !== 'debug')).toEqual([])
  })

  test('while a chunk waits for it to read frees everything', async () => {
    const nar = testNar({ size: 1e9, steps: () => endless() })
    const { open, counted } = await serve({ substituter: having([nar]) })
    const socket = await open()
    socket.pause()
    socket.write(`GET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await stalled(await vi.waitFor(() => nar.opened[0]!.body))
    socket.destroy()
    await vi.waitFor(() => expect(nar.opened[0]?.body.finished).toBe(true))
    await vi.waitFor(async () => expect(await counted('nars', 'hung-up')).toBe(1))
  })

  test('while its answer waits behind another on the same connection frees everything', async () => {
    const nar = testNar({ content })
    const slow = testNar({ name: 'slow' })
    const both = having([nar, slow])
    const substituter = answering((wanted, asking) =>
      wanted.hash === slow.narinfo.storePath.hash ? untilStopped(asking) : both.find(wanted, asking),
    )
    const { open, counted } = await serve({ substituter })
    const socket = await open()
    socket.write(`GET ${slow.narinfoPath} HTTP/1.1\r\nHost: x\r\n\r\nGET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await vi.waitFor(() => expect(nar.opened).toHaveLength(1))
    socket.destroy()
    await vi.waitFor(() => expect(nar.opened[0]?.body.finished).toBe(true))
    await vi.waitFor(async () => expect(await counted('nars', 'hung-up')).toBe(1))
  })

  test('while it is looked for is looked for no more', async () => {
    const nar = testNar()
    const substituter = answering((_wanted, asking) => untilStopped(asking))
    const { open, counted } = await serve({ substituter })
    const socket = await open()
    socket.write(`GET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await vi.waitFor(() => expect(substituter.asked).toHaveLength(1))
    socket.destroy()
    await vi.waitFor(async () => expect(await counted('nars', 'hung-up')).toBe(1))
  })
})

test('a client that does not read is not read ahead for (case 83)', async () => {
  const nar = testNar({ size: 1e9, steps: () => endless() })
  const { open } = await serve({ substituter: having([nar]) })
  const socket = await open()
  socket.pause()
  socket.write(`GET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  const body = await vi.waitFor(() => nar.opened[0]!.body)
  const asked = await stalled(body)
  // What the kernel's buffers on the loopback take, and not a chunk more.
  expect(asked).toBeLessThan(200)
})

describe('a NAR that cannot be had', () => {
  test('is 404 when nobody has it, and may be asked for again (case 81)', async () => {
    const nar = testNar()
    const { ask, counted } = await serve({ substituter: empty })
    for (const method of ['GET', 'HEAD']) {
      const { status, headers } = await ask(nar.path, { method, headers: { range: 'bytes=5-' } })
      expect([status, headers['accept-ranges'], headers['cache-control']]).toEqual([404, 'bytes', 'no-store'])
    }
    expect(await counted('nars', 'missed')).toBe(1)
  })

  test.each([
    ['gone', 404, 'missed'],
    ['unreachable', 502, 'failed'],
    ['timeout', 504, 'failed'],
    ['store-full', 502, 'failed'],
  ] as const)('because it is %s: %d', async (code, expected, outcome) => {
    const failing = new ProxyError(code, 'upstream secret.example: x')
    const nar = testNar({ failing })
    for (const substituter of [having([nar]), answering(() => Promise.reject(failing))]) {
      const { ask, counted } = await serve({ substituter })
      const { status, headers, body } = await ask(nar.path, { headers: { range: 'bytes=5-' } })
      expect([status, headers['accept-ranges'], headers['cache-control']]).toEqual([expected, 'bytes', 'no-store'])
      expect(body.toString()).not.toContain('secret')
      expect(await counted('nars', outcome)).toBe(1)
    }
  })

  test('by the deadline is 504; a transfer may last', async () => {
    const nar = testNar({ content, steps: (part) => [part.subarray(0, 100), 'wait'] })
    const never = await serve({ substituter: answering((_wanted, asking) => untilStopped(asking)), deadline: 20 })
    expect((await never.ask(nar.path)).status).toBe(504)
    const { open } = await serve({ substituter: having([nar]), deadline: 20 })
    const socket = await open()
    socket.write(`GET ${nar.path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await once(socket, 'data')
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(nar.opened[0]?.signal.aborted).toBe(false)
  })

  test('on behalf of a peer is 504, on a way in circles 404', async () => {
    const nar = testNar()
    const substituter = having([nar])
    const { ask } = await serve({ substituter })
    expect((await ask(nar.path, { headers: { 'cache-control': 'only-if-cached' } })).status).toBe(504)
    expect((await ask(nar.path, { headers: { 'cdn-loop': 'us' } })).status).toBe(404)
    expect(substituter.asked).toEqual([])
    const holder = await serve({ held: having([nar], { stratum: 'store' }) })
    expect((await holder.ask(nar.path, { headers: { 'cache-control': 'only-if-cached' } })).status).toBe(200)
  })
})

describe('a NAR under a URL of other software (case 62)', () => {
  const path = '/nar/0f54-abc.nar.xz?hash=x&X-Amz-Signature=a%2Fb'
  const body = Buffer.from('opaque bytes')

  /** Serves `body`, and writes down how it was asked. */
  const upstream = (size: number | undefined = body.length, steps?: (part: Buffer) => Step[]) => {
    const asked: {
      path: string
      range: ByteRange | undefined
      onlyHeld: boolean
      signal: AbortSignal
      body: TestBody
    }[] = []
    const foreignNar: ServerParts['foreignNar'] = (path, { range, onlyHeld }, { signal }) => {
      const part = body.subarray(range?.start ?? 0, (range?.end ?? body.length - 1) + 1)
      const sent = new TestBody(steps ? steps(part) : [part], signal)
      asked.push({ path, range, onlyHeld, signal, body: sent })
      return Promise.resolve({ contentType: 'text/html', size, body: sent, from: 'old.example' })
    }
    return { asked, foreignNar }
  }

  test('is looked for under that very path, and passed on', async () => {
    const { asked, foreignNar } = upstream()
    const { ask, counted, lines } = await serve({ foreignNar })
    const { status, headers, body: got } = await ask(path)
    expect([status, got.toString()]).toEqual([200, body.toString()])
    expect(headers).toMatchObject({
      'content-type': 'application/x-nix-nar',
      'content-length': String(body.length),
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=300',
      'cache-status': 'substrata; fwd=miss; detail="old.example"',
    })
    expect(headers).not.toHaveProperty('etag')
    expect(asked.map(({ path, range, onlyHeld }) => ({ path, range, onlyHeld }))).toEqual([
      { path: path.slice(1), range: undefined, onlyHeld: false },
    ])
    expect(await counted('nars', 'passed')).toBe(1)
    // Somebody's signature for a private bucket is not for the log.
    expect(JSON.stringify(lines)).not.toContain('Amz')
  })

  test('may lie deeper, have any name, and need not end in .nar (case 59)', async () => {
    const { asked, foreignNar } = upstream()
    const { ask } = await serve({ foreignNar })
    const uuid = '/nar/upstream/6ba7b810-9dad-11d1-80b4-00c04fd430c8'
    for (const one of [uuid, '/nar/x', '/nar/a.nar.lzip', `/nar/${'0'.repeat(64)}.nar`]) {
      expect((await ask(one)).status).toBe(200)
    }
    expect(asked[0]?.path).toBe(uuid.slice(1))
  })

  test('is served as a verified one where its narinfo is known', async () => {
    const nar = testNar({ content })
    const { ask } = await serve({ foreignNar: () => Promise.resolve({ substitute: nar.substitute }) })
    const { status, headers, body } = await ask(path, { headers: { range: 'bytes=10-' } })
    expect([status, headers.etag, headers['cache-control']]).toEqual([
      206,
      `"${nar.narinfo.fileHash}"`,
      'public, max-age=31536000, immutable',
    ])
    expect(body.equals(nar.file.subarray(10))).toBe(true)
  })

  test('is passed on in part', async () => {
    const { asked, foreignNar } = upstream()
    const { ask } = await serve({ foreignNar })
    const { status, headers, body: got } = await ask(path, { headers: { range: 'bytes=7-' } })
    expect([status, headers['content-range'], got.toString()]).toEqual([206, 'bytes 7-11/12', 'bytes'])
    expect(asked[0]?.range).toEqual({ start: 7 })
    expect((await ask(path, { headers: { range: 'bytes=2-3' } })).body.toString()).toBe('aq')
    // Nobody vouches that these are still the bytes that the client has.
    expect((await ask(path, { headers: { range: 'bytes=7-', 'if-range': '"x"' } })).status).toBe(200)
    expect((await ask(path, { headers: { range: 'bytes=-5' } })).status).toBe(200)
    expect((await ask(path, { headers: { range: 'bytes=12-' } })).status).toBe(416)
    const unsized = await serve({
      foreignNar: (...asked) => foreignNar(...asked).then((one) => ({ ...one!, size: undefined }) as never),
    })
    expect((await unsized.ask(path, { headers: { range: 'bytes=7-' } })).status).toBe(502)
    // A body that has not begun does not hear that nobody will read it.
    expect(asked.at(-1)?.signal.aborted).toBe(true)
    expect((await unsized.ask(path)).body.toString()).toBe(body.toString())
  })

  test('is let go of after HEAD', async () => {
    const { asked, foreignNar } = upstream(body.length, () => ['wait'])
    const { ask } = await serve({ foreignNar })
    const { status, headers } = await ask(path, { method: 'HEAD' })
    expect([status, headers['content-length']]).toEqual([200, String(body.length)])
    await vi.waitFor(() => expect(asked[0]?.body.finished).toBe(true))
  })

  test('is cut when it breaks, 404 when nobody has it, 502 when nobody can tell', async () => {
    const { foreignNar } = upstream(body.length, (part) => [part.subarray(0, 3), lost])
    expect(await (await serve({ foreignNar })).ask(path)).toMatchObject({ status: 200, cut: true })
    expect((await (await serve()).ask(path)).status).toBe(404)
    expect((await (await serve({ foreignNar: () => Promise.reject(lost) })).ask(path)).status).toBe(502)
  })

  test('is not fetched on behalf of a peer', async () => {
    const asked: boolean[] = []
    const { ask } = await serve({
      foreignNar: (_path, { onlyHeld }) => {
        asked.push(onlyHeld)
        return Promise.resolve(undefined)
      },
    })
    expect((await ask(path, { headers: { 'cache-control': 'only-if-cached' } })).status).toBe(504)
    expect(asked).toEqual([true])
  })
})

function* endless(): Generator<Buffer, void, void> {
  for (;;) yield Buffer.alloc(64 * 1024)
}

/** Chunks asked for by when no more are for a while. */
async function stalled(body: TestBody): Promise<number> {
  for (;;) {
    const before = body.asked
    await new Promise((resolve) => setTimeout(resolve, 100))
    if (body.asked === before) return before
  }
}
