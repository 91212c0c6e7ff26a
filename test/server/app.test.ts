// Promise: what no cache is asked for costs nothing, and every request is answered.

import { once } from 'node:events'

import { describe, expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { answering, empty, having, serve, testNar } from './rig.ts'

const hash = '0'.repeat(32)
const failing = answering(() => Promise.reject(new ProxyError('unreachable', 'x')))

describe('nix-cache-info', () => {
  const text = 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n'

  test('is our own, whatever is the matter with everybody else (case 1)', async () => {
    const { ask } = await serve({ substituter: failing, held: failing })
    const { status, headers, body } = await ask('/nix-cache-info')
    expect(status).toBe(200)
    expect(body.toString()).toBe(text)
    expect(headers['content-type']).toBe('text/x-nix-cache-info')
  })

  test('has the same headers for HEAD, and no body (case 5)', async () => {
    const { ask } = await serve()
    const [get, head] = [await ask('/nix-cache-info'), await ask('/nix-cache-info', { method: 'HEAD' })]
    expect(head.status).toBe(200)
    expect({ ...head.headers, date: '' }).toEqual({ ...get.headers, date: '' })
    expect(head.headers['content-length']).toBe(String(text.length))
    expect(head.body.length).toBe(0)
  })

  test('cannot be replaced (case 6)', async () => {
    const { ask } = await serve()
    const { status, headers } = await ask('/nix-cache-info', { method: 'PUT', body: text })
    expect(status).toBe(405)
    expect(headers.allow).toBe('GET, HEAD')
  })
})

describe('rubbish is a 404 that asks nobody (cases 8, 9, 10, 54, 65)', () => {
  test.each([
    `/${'0'.repeat(31)}.narinfo`,
    `/${'0'.repeat(33)}.narinfo`,
    `/${'A'.repeat(32)}.narinfo`,
    `/${'e'.repeat(32)}.narinfo`,
    `/${'0'.repeat(30)}..narinfo`,
    `/%30${'0'.repeat(31)}.narinfo`,
    `/${'0'.repeat(31)}%00.narinfo`,
    `/${'x'.repeat(10_000)}.narinfo`,
    `//${hash}.narinfo`,
    `/${hash}.narinfo/`,
    `/${hash}.narinfo?x=y`,
    `/./${hash}.narinfox`,
    `/${hash}-hello.narinfo`,
    `/nar/${hash}.narinfo`,
    '/nar',
    '/nar/',
    '/nar/sub/',
    '/nar//x.nar',
    '/nar/.hidden',
    '/nar/..%2f..%2fetc/passwd',
    '/nar/%2e%2e/etc/passwd',
    '/nar/sub/../x.nar',
    '/nar/a%00.nar',
    `/nar/${'x'.repeat(4000)}`,
    '/etc/passwd',
    '/log/',
    '/log/..%2f..%2fsecret.drv',
    '/realisations/x',
    '/%',
  ])('%s', async (path) => {
    const asked: string[] = []
    const note = (path: string) => {
      asked.push(path)
      return Promise.resolve(undefined)
    }
    const substituter = answering(() => Promise.resolve(undefined))
    const { raw } = await serve({ substituter, held: substituter, resource: note, foreignNar: note })
    // Not by an HTTP client, which would tidy the path up.
    const reply = await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    expect(reply).toMatch(/^HTTP\/1\.1 404 /)
    expect(reply).toMatch(/cache-control: no-store/i)
    expect(asked).toEqual([])
    expect(substituter.asked).toEqual([])
  })

  test.each(['/nar/a b', '/\u00ff', '/a\u0000b'])('%j is not even HTTP', async (path) => {
    const { raw } = await serve()
    expect(await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)).toMatch(/^HTTP\/1\.1 400 /)
  })

  test('and is counted as such', async () => {
    const { ask, counted } = await serve()
    await ask('/nothing.narinfo')
    expect(await counted('narinfos', 'bad-request')).toBe(1)
  })
})

describe('methods', () => {
  test.each(['POST', 'DELETE', 'PATCH', 'TRACE', 'OPTIONS', 'PROPFIND'])(
    '%s is 405 with Allow (case 110)',
    async (method) => {
      const substituter = answering(() => Promise.resolve(undefined))
      const { ask } = await serve({ substituter })
      for (const path of ['/', `/${hash}.narinfo`, '/nar/x.nar']) {
        const { status, headers } = await ask(path, { method })
        expect(status).toBe(405)
        expect(headers.allow).toBe('GET, HEAD')
      }
      expect(substituter.asked).toEqual([])
    },
  )

  test('CONNECT is 405: this is no tunnel (cases 110, 111)', async () => {
    const { raw } = await serve()
    expect(await raw('CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 405 [^]*Allow: GET/,
    )
  })

  test.each(['http://evil.example/nix-cache-info', 'https://127.0.0.1/', 'evil.example/x', '*'])(
    'a target like %s is refused (case 111)',
    async (target) => {
      const { raw } = await serve()
      expect(await raw(`GET ${target} HTTP/1.1\r\nHost: evil.example\r\n\r\n`)).toMatch(/^HTTP\/1\.1 400 /)
    },
  )
})

describe('a Host header means nothing (case 112)', () => {
  test.each(['x', 'CACHE.local.:8501', '127.1:80', '[fd00:0:0::1]:8501', '[fe80::1]', 'a_b', '<b>', ''])(
    '%j',
    async (host) => {
      const nar = testNar()
      const { raw } = await serve({ substituter: having([nar]) })
      for (const path of ['/nix-cache-info', nar.narinfoPath, nar.path]) {
        expect(await raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).toMatch(
          /^HTTP\/1\.1 200 /,
        )
      }
    },
  )

  test('HTTP/1.0 has none at all', async () => {
    const nar = testNar({ content: 'hello' })
    const { raw } = await serve({ substituter: having([nar]) })
    expect(await raw('GET /nix-cache-info HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 [^]*StoreDir/)
    const reply = await raw(`GET ${nar.path} HTTP/1.0\r\n\r\n`)
    expect(reply.slice(reply.indexOf('\r\n\r\n') + 4)).toBe(nar.file.toString('latin1'))
  })
})

test('nothing is ever sent with a Content-Encoding (case 113)', async () => {
  const nar = testNar({ content: 'x'.repeat(10_000) })
  const { ask } = await serve({ substituter: having([nar]) })
  for (const path of ['/', '/nix-cache-info', nar.narinfoPath, nar.path]) {
    const { status, headers } = await ask(path, { headers: { 'accept-encoding': 'zstd, br, gzip, deflate' } })
    expect(status).toBe(200)
    expect(headers).not.toHaveProperty('content-encoding')
  }
})

test('the body of a GET is not read, and ends the connection (case 109)', async () => {
  const { raw } = await serve()
  const reply = await raw('GET /nix-cache-info HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc')
  expect(reply).toMatch(/^HTTP\/1\.1 200 /)
  expect(reply).toMatch(/connection: close/i)
})

test('pipelined requests are answered in their order, the cheap ones after the dear ones too (case 14)', async () => {
  const slow = testNar({ content: 'slow', name: 'slow' })
  const fast = testNar({ content: 'fast', name: 'fast' })
  let goOn = (): void => {}
  const wait = new Promise<void>((resolve) => (goOn = resolve))
  const both = having([slow, fast])
  const substituter = answering(async (wanted, asking) => {
    if (wanted.hash === slow.narinfo.storePath.hash) await wait
    return both.find(wanted, asking)
  })
  const { raw } = await serve({ substituter })
  const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
  const replies = raw(
    get(slow.narinfoPath) + get(fast.path) + get('/nix-cache-info') + get(fast.narinfoPath, 'Connection: close\r\n'),
  )
  goOn()
  const text = await replies
  const found = [slow.narinfo.storePath.path, fast.file.toString('latin1'), 'StoreDir:', fast.narinfo.storePath.path]
  const places = found.map((part) => text.indexOf(part))
  expect(places).not.toContain(-1)
  expect(places).toEqual(places.toSorted((a, b) => a - b))
})

test('an idle connection outlives those of the clients, which close theirs after 90 s (case 14)', async () => {
  const { ask } = await serve()
  const { headers } = await ask('/nix-cache-info')
  expect(headers.connection).toBe('keep-alive')
  expect(headers['keep-alive']).toBe('timeout=120')
})

test('headers that never end are given up (case 109)', async () => {
  const { open } = await serve({}, { headers: 50 })
  const socket = await open()
  socket.write('GET / HTTP/1.1\r\nX-Slow: ')
  const [text] = (await once(socket, 'data')) as [Buffer]
  expect(text.toString()).toMatch(/^HTTP\/1\.1 408 /)
  await once(socket, 'close')
})

test('headers without end are refused', async () => {
  const { raw } = await serve()
  expect(await raw(`GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /)
})

describe('a mistake of ours', () => {
  const broken = { name: 'broken', find: () => Promise.reject(new TypeError('x is not a function')) }

  test('is a miss to who asks for a narinfo, and an error in the log', async () => {
    const { ask, lines } = await serve({ substituter: broken })
    const { status, body } = await ask(`/${hash}.narinfo`)
    expect(status).toBe(404)
    expect(body.toString()).not.toContain('function')
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'error', stack: expect.stringContaining('app.test') }),
    )
  })

  test('is a 500 elsewhere, and the connection goes on', async () => {
    const status = () => {
      throw new TypeError('x is not a function')
    }
    const { ask, lines } = await serve({ substituter: empty, status })
    const reply = await ask('/')
    expect(reply.status).toBe(500)
    expect(reply.body.toString()).not.toContain('function')
    expect((await ask('/nix-cache-info')).status).toBe(200)
    expect(lines).toContainEqual(expect.objectContaining({ level: 'error' }))
  })
})

test('no control character of a stranger reaches the terminal', async () => {
  const nar = testNar({ from: 'evil\u001b[31m\nfake' })
  let text = ''
  const access = createLog({ level: 'info', format: 'text', write: (line) => (text += line) })
  const { ask } = await serve({ substituter: having([nar]), access })
  await ask(nar.path)
  expect(text).toContain('evil')
  expect(text.trimEnd()).not.toMatch(/\p{Cc}/u)
})
