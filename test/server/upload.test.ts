// Promise: uploads are off unless they are on, are refused before their bytes travel, and reach the store whole or not at all.

import { once } from 'node:events'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'

import { describe, expect, test, vi } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { uploadAccess } from '../../src/server/upload-access.ts'
import type { Uploads } from '../../src/server/upload.ts'
import { having, serve, testNar } from './rig.ts'

const hash = '0'.repeat(32)
const authorization = `Basic ${Buffer.from('ann:password').toString('base64')}`
const headers = { authorization }

interface Stored {
  readonly what: string
  readonly text: string
  readonly size?: number | undefined
  readonly contentType?: string | undefined
}

/** Takes everything, and writes it down. */
function taking(more: Partial<Uploads> = {}) {
  const stored: Stored[] = []
  const failures: unknown[] = []
  const read = async (body: AsyncIterable<Uint8Array>): Promise<string> => {
    const chunks: Uint8Array[] = []
    try {
      for await (const chunk of body) chunks.push(Buffer.from(chunk))
    } catch (error) {
      failures.push(error)
      throw error
    }
    return Buffer.concat(chunks).toString()
  }
  const uploads: Uploads = {
    allowed: uploadAccess({ credentials: ['ann:password'], addresses: [] }),
    narSize: () => Promise.resolve(undefined),
    putNar: async (path, body, size) => void stored.push({ what: path, text: await read(body), size }),
    putNarInfo: (hash, text) => Promise.resolve(void stored.push({ what: hash, text })),
    putResource: async (path, contentType, body) =>
      void stored.push({ what: path, text: await read(body), contentType }),
    ...more,
  }
  return { uploads, stored, failures }
}

describe('uploads that are off', () => {
  test.each([`/${hash}.narinfo`, '/nar/x.nar.xz', `/log/${hash}-a.drv`, '/nix-cache-info', '/'])(
    '%s is 405',
    async (path) => {
      const { ask } = await serve()
      const reply = await ask(path, { method: 'PUT', headers, body: 'x' })
      expect([reply.status, reply.headers.allow]).toEqual([405, 'GET, HEAD'])
    },
  )

  test('are not even sent by a client that waits for leave', async () => {
    const { raw } = await serve()
    const reply = await raw(
      'PUT /nar/x.nar HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n',
    )
    expect(reply).toMatch(/^HTTP\/1\.1 405 /)
    expect(reply).toMatch(/connection: close/i)
  })
})

describe('an upload', () => {
  test('reaches the store', async () => {
    const { uploads, stored } = taking()
    const { ask, counted } = await serve({ uploads })
    const put = async (path: string, body: string, more = {}) =>
      (await ask(path, { method: 'PUT', headers: { ...headers, ...more }, body })).status
    expect(await put('/nar/1b0l.nar.xz', 'nar')).toBe(201)
    expect(await put(`/${hash}.ls`, '{}', { 'content-type': 'application/json' })).toBe(201)
    expect(await put(`/log/${hash}-a.drv`, 'log')).toBe(201)
    expect(await put(`/realisations/sha256:${'a'.repeat(64)}!out.doi`, '{}')).toBe(201)
    expect(await counted('uploads', 'committed')).toBe(0)
    expect(await put(`/${hash}.narinfo`, 'StorePath: é')).toBe(201)
    expect(await counted('uploads', 'committed')).toBe(1)
    expect(stored).toEqual([
      { what: 'nar/1b0l.nar.xz', text: 'nar', size: 3 },
      { what: `${hash}.ls`, text: '{}', contentType: 'application/json' },
      { what: `log/${hash}-a.drv`, text: 'log', contentType: undefined },
      { what: `realisations/sha256:${'a'.repeat(64)}!out.doi`, text: '{}', contentType: undefined },
      { what: hash, text: 'StorePath: é' },
    ])
  })

  test('may come in chunks, its size unknown', async () => {
    const { uploads, stored } = taking()
    const { ask } = await serve({ uploads })
    const chunked = { ...headers, 'transfer-encoding': 'chunked' }
    expect((await ask('/nar/x.nar', { method: 'PUT', headers: chunked, body: 'abc' })).status).toBe(201)
    expect(stored).toEqual([{ what: 'nar/x.nar', text: 'abc', size: undefined }])
  })

  test('is sent after 100 Continue, by those who wait for it (case 110)', async () => {
    const { uploads, stored } = taking()
    const { open } = await serve({ uploads })
    const socket = await open()
    socket.write(
      `PUT /nar/x.nar HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n`,
    )
    const [first] = (await once(socket, 'data')) as [Buffer]
    expect(first.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    expect(stored).toEqual([])
    socket.write('abc')
    const [second] = (await once(socket, 'data')) as [Buffer]
    expect(second.toString()).toMatch(/^HTTP\/1\.1 201 /)
    expect(stored).toHaveLength(1)
  })

  test.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
    ['identity', (text: string) => Buffer.from(text)],
  ] as const)('of metadata may be encoded: %s', async (coding, encode) => {
    const { uploads, stored } = taking()
    const { ask } = await serve({ uploads })
    const encoded = { ...headers, 'content-encoding': coding }
    for (const path of [`/${hash}.narinfo`, `/${hash}.ls`]) {
      expect((await ask(path, { method: 'PUT', headers: encoded, body: encode('plain text') })).status).toBe(201)
    }
    expect(stored.map(({ text }) => text)).toEqual(['plain text', 'plain text'])
  })

  test('of a NAR may not be encoded, nor anything in a way that we do not know', async () => {
    const { uploads, stored } = taking()
    const { ask } = await serve({ uploads })
    const put = async (path: string, coding: string, body: Uint8Array) =>
      (await ask(path, { method: 'PUT', headers: { ...headers, 'content-encoding': coding }, body })).status
    expect(await put('/nar/x.nar', 'gzip', gzipSync('x'))).toBe(400)
    expect(await put(`/${hash}.narinfo`, 'xz', Buffer.from('x'))).toBe(400)
    expect(await put(`/${hash}.narinfo`, 'gzip', Buffer.from('not gzip'))).toBe(400)
    expect(await put(`/${hash}.narinfo`, 'gzip', gzipSync('half').subarray(0, -4))).toBe(400)
    expect(stored).toEqual([])
  })

  test('of a narinfo has an end, before and after decoding', async () => {
    const { uploads, stored } = taking()
    const { ask, raw } = await serve({ uploads })
    const large = 'x'.repeat(1024 * 1024 + 1)
    expect((await ask(`/${hash}.narinfo`, { method: 'PUT', headers, body: large })).status).toBe(400)
    const bomb = { ...headers, 'content-encoding': 'gzip' }
    expect((await ask(`/${hash}.narinfo`, { method: 'PUT', headers: bomb, body: gzipSync(large) })).status).toBe(400)
    expect(stored).toEqual([])
    // One that says so itself is not even sent.
    const reply = await raw(
      `PUT /${hash}.narinfo HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n`,
    )
    expect(reply).toMatch(/^HTTP\/1\.1 400 /)
  })

  test('that breaks off is an `aborted` for the store', async () => {
    const { uploads, failures } = taking()
    const { open, ask } = await serve({ uploads })
    const socket = await open()
    socket.write(
      `PUT /nar/x.nar HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: 10\r\n\r\nabc`,
    )
    // Until the three bytes have been taken in.
    await ask('/nix-cache-info')
    socket.destroy()
    await vi.waitFor(() => expect(failures).toEqual([expect.objectContaining({ code: 'aborted' })]))
  })

  test('that the store gives up half-way is answered all the same', async () => {
    const { uploads } = taking({
      putNar: async (_path, body) => {
        for await (const _ of body) throw new ProxyError('store-full', 'store: no room')
      },
    })
    const { open, counted, lines } = await serve({ uploads })
    const socket = await open()
    socket.write(
      `PUT /nar/x.nar HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: 1000000\r\n\r\nabc`,
    )
    const [reply] = (await once(socket, 'data')) as [Buffer]
    expect(reply.toString()).toMatch(/^HTTP\/1\.1 507 /)
    await once(socket, 'close')
    expect(await counted('uploads', 'refused:store-full')).toBe(1)
    expect(lines).toEqual([expect.objectContaining({ level: 'info', status: 507, why: 'store: no room' })])
  })

  test.each([
    ['damaged', 422],
    ['untrusted', 403],
    ['bad-narinfo', 400],
    ['gone', 409],
  ] as const)('that is %s is %d, and says why', async (code, status) => {
    const { uploads } = taking({ putNarInfo: () => Promise.reject(new ProxyError(code, 'upload: the reason')) })
    const { ask, counted } = await serve({ uploads })
    const reply = await ask(`/${hash}.narinfo`, { method: 'PUT', headers, body: 'x' })
    expect(reply.status).toBe(status)
    expect(reply.body.toString()).toContain('upload: the reason')
    expect(await counted('uploads', `refused:${code}`)).toBe(1)
  })

  test('without credentials is refused, and its bytes are not sent', async () => {
    const { uploads, stored } = taking()
    const { ask, raw, counted } = await serve({ uploads })
    const reply = await ask('/nar/x.nar', { method: 'PUT', body: 'x' })
    expect([reply.status, reply.headers['www-authenticate']]).toEqual([401, 'Basic realm="substrata", charset="UTF-8"'])
    const waiting = await raw(
      'PUT /nar/x.nar HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n',
    )
    expect(waiting).toMatch(/^HTTP\/1\.1 401 /)
    expect(stored).toEqual([])
    expect(await counted('uploads', 'refused:forbidden')).toBe(2)
  })

  test.each([
    '/',
    '/nix-cache-info',
    '/nar/',
    '/nar/../x.nar',
    '/nar/%2e%2e/x',
    '/nar/.x',
    '/nar/x.nar?y',
    '/nar/x.narinfo',
    '/x.narinfo',
    '/log/x',
    '/../x',
  ])('to %s is 405 (cases 6, 54)', async (path) => {
    const { uploads, stored } = taking()
    const { raw } = await serve({ uploads })
    const reply = await raw(
      `PUT ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx`,
    )
    expect(reply).toMatch(/^HTTP\/1\.1 405 /)
    expect(stored).toEqual([])
  })

  test('lets the connection go on, refused or not', async () => {
    const { uploads } = taking()
    const { raw } = await serve({ uploads })
    const put = (more: string) => `PUT /nar/x.nar HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n${more}\r\nabc`
    const reply = await raw(
      `${put('')}${put(`Authorization: ${authorization}\r\n`)}GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    )
    expect(reply.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 201', 'HTTP/1.1 200'])
  })
})

test('other methods are told of PUT when uploads are on (case 110)', async () => {
  const { ask } = await serve({ uploads: taking().uploads })
  const { status, headers } = await ask('/nar/x.nar', { method: 'DELETE' })
  expect([status, headers.allow]).toEqual([405, 'GET, HEAD, PUT'])
})

describe('HEAD of a NAR', () => {
  const sizes = { narSize: (path: string) => Promise.resolve(path === 'nar/there.nar' ? 1234 : undefined) }

  test('tells who may upload what need not be uploaded', async () => {
    const { ask } = await serve({
      uploads: taking(sizes).uploads,
      foreignNar: () => Promise.reject(new TypeError('asked for')),
    })
    const there = await ask('/nar/there.nar', { method: 'HEAD', headers })
    expect([there.status, there.headers['content-length']]).toEqual([200, '1234'])
    expect((await ask('/nar/elsewhere.nar', { method: 'HEAD', headers })).status).toBe(404)
  })

  test('tells others what there is', async () => {
    const nar = testNar()
    const foreignNar = () => Promise.resolve({ substitute: nar.substitute })
    const { ask } = await serve({ uploads: taking(sizes).uploads, foreignNar, substituter: having([nar]) })
    expect((await ask('/nar/elsewhere.nar', { method: 'HEAD' })).status).toBe(200)
    expect((await ask(nar.path, { method: 'HEAD', headers })).status).toBe(200)
  })
})
