// Promise: a narinfo ends in 200 or 404, fast, and says what its giver said.

import { once } from 'node:events'

import { describe, expect, test, vi } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { printNarInfo } from '../../src/nix/narinfo.ts'
import type { Asking } from '../../src/substituter.ts'
import { answering, empty, having, serve, testNar, untilStopped } from './rig.ts'

describe('a narinfo that somebody has', () => {
  test('is sent as it came, with our URL', async () => {
    const nar = testNar({ fields: { Sig: 'other-1:aGVsbG8=', System: 'x86_64-linux' } })
    const { ask } = await serve({ substituter: having([nar]) })
    const { status, headers, body } = await ask(nar.narinfoPath)
    expect(status).toBe(200)
    expect(body.toString()).toBe(printNarInfo(nar.narinfo, nar.path.slice(1)))
    expect(headers['content-type']).toBe('text/x-nix-narinfo')
    expect(headers['content-length']).toBe(String(body.length))
    expect(headers['cache-control']).toBe('public, max-age=300')
  })

  test('has the same status and headers for HEAD, and no body; its NAR is not opened (case 7)', async () => {
    const nar = testNar()
    const { ask } = await serve({ substituter: having([nar]) })
    const [get, head] = [await ask(nar.narinfoPath), await ask(nar.narinfoPath, { method: 'HEAD' })]
    expect(head.status).toBe(200)
    expect({ ...head.headers, date: '' }).toEqual({ ...get.headers, date: '' })
    expect(head.body.length).toBe(0)
    expect(nar.opened).toEqual([])
  })

  test('is 304 to who has it already, and whole to who wants a part (case 15)', async () => {
    const nar = testNar()
    const { ask } = await serve({ substituter: having([nar]) })
    const { headers, body } = await ask(nar.narinfoPath, { headers: { range: 'bytes=0-9' } })
    expect(body.length).toBe(Number(headers['content-length']))
    const again = await ask(nar.narinfoPath, { headers: { 'if-none-match': headers.etag ?? '' } })
    expect(again.status).toBe(304)
    expect(again.body.length).toBe(0)
    expect(again.headers.etag).toBe(headers.etag)
    expect((await ask(nar.narinfoPath, { headers: { 'if-none-match': '"other"' } })).status).toBe(200)
  })

  test('says where it came from', async () => {
    const nar = testNar({ from: 'near "7"\u00e9\\' })
    const far = await serve({ substituter: having([nar]) })
    expect((await far.ask(nar.narinfoPath)).headers['cache-status']).toBe(
      'substrata; fwd=miss; stored; detail="near \\"7\\"?\\\\"',
    )
    expect(await far.counted('narinfos', 'found')).toBe(1)
    const disk = await serve({ substituter: having([nar], { stratum: 'store' }) })
    expect((await disk.ask(nar.narinfoPath)).headers['cache-status']).toBe('substrata; hit')
    expect(await disk.counted('narinfos', 'hit')).toBe(1)
  })

  test('has other bytes and another tag when its signatures have changed', async () => {
    const one = testNar({ hash: '1'.repeat(32), content: 'same' })
    const two = testNar({ hash: '1'.repeat(32), content: 'same', fields: { Sig: 'other-1:aGVsbG8=' } })
    let now = one
    const { ask } = await serve({ substituter: answering((...asked) => having([now]).find(...asked)) })
    const before = await ask(one.narinfoPath)
    now = two
    const after = await ask(one.narinfoPath, { headers: { 'if-none-match': before.headers.etag ?? '' } })
    expect(after.status).toBe(200)
    expect(after.headers.etag).not.toBe(before.headers.etag)
  })
})

describe('a narinfo that nobody has', () => {
  const path = `/${'0'.repeat(32)}.narinfo`

  test('is 404, and nobody in between keeps that', async () => {
    const { ask, counted, lines } = await serve({ substituter: empty })
    for (const method of ['GET', 'HEAD']) {
      const { status, headers } = await ask(path, { method })
      expect(status).toBe(404)
      expect(headers['cache-control']).toBe('no-store')
      expect(headers['cache-status']).toBe('substrata; fwd=miss')
    }
    expect(await counted('narinfos', 'missed')).toBe(2)
    expect(lines).toContainEqual(expect.objectContaining({ level: 'info', message: `GET ${path}`, status: 404 }))
  })

  const failure = new ProxyError('bad-status', 'upstream secret.example: 503 Service Unavailable')
  const failing = answering((_wanted, { trail }) => {
    trail.fail(trail.ask('secret.example', 'far'), failure)
    return Promise.reject(failure)
  })

  test('is 404 all the same when somebody could not answer (case 96)', async () => {
    const { ask, counted, lines } = await serve({ substituter: failing })
    const { status, headers, body } = await ask(path)
    expect(status).toBe(404)
    expect(headers['cache-control']).toBe('no-store')
    expect(headers['cache-status']).toBe('substrata; fwd=miss; detail="bad-status"')
    expect(body.toString()).not.toContain('secret')
    expect(await counted('narinfos', 'unreachable')).toBe(1)
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'info', status: 404, why: failure.message, asked: 'secret.example:failed' }),
    )
  })

  test('is 502, never 503, for those who would rather stop', async () => {
    const { ask } = await serve({ substituter: failing, unreachable: 'error' })
    expect((await ask(path)).status).toBe(502)
    const overloaded = answering(() => Promise.reject(new ProxyError('overloaded', 'x')))
    const full = await serve({ substituter: overloaded, unreachable: 'error' })
    expect((await full.ask(path)).status).toBe(504)
  })

  test('is answered at the deadline, whatever the upstreams do', async () => {
    const never = answering((_wanted, asking) => untilStopped(asking))
    const miss = await serve({ substituter: never, deadline: 20 })
    expect((await miss.ask(path)).status).toBe(404)
    const error = await serve({ substituter: never, deadline: 20, unreachable: 'error' })
    expect((await error.ask(path)).status).toBe(504)
    expect(await error.counted('narinfos', 'unreachable')).toBe(1)
  })
})

test('who hangs up is waited for no more, and counts as nothing (case 13)', async () => {
  const path = `/${'0'.repeat(32)}.narinfo`
  const asked: Asking[] = []
  const substituter = answering((_wanted, asking) => {
    asked.push(asking)
    return untilStopped(asking)
  })
  const { open, counted, lines, ask } = await serve({ substituter })
  const socket = await open()
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await vi.waitFor(() => expect(asked).toHaveLength(1))
  const stopped = once(asked[0]!.signal, 'abort')
  socket.destroy()
  await stopped
  await ask('/nix-cache-info')
  for (const outcome of ['missed', 'unreachable']) expect(await counted('narinfos', outcome)).toBe(0)
  expect(lines).toEqual([])
})

test('who hangs up while another answer goes first is waited for no more either', async () => {
  const asked: Asking[] = []
  const substituter = answering((_wanted, asking) => {
    asked.push(asking)
    return untilStopped(asking)
  })
  const { open } = await serve({ substituter })
  const socket = await open()
  const get = (hash: string) => `GET /${hash.repeat(32)}.narinfo HTTP/1.1\r\nHost: x\r\n\r\n`
  socket.write(get('0') + get('1') + get('2'))
  await vi.waitFor(() => expect(asked).toHaveLength(3))
  const stopped = Promise.all(asked.map(({ signal }) => once(signal, 'abort')))
  socket.destroy()
  await stopped
})

test('a copy of the question has the same signal', async () => {
  const asked: Asking[] = []
  const substituter = answering((_wanted, asking) => {
    const copy = { ...asking, avoid: new Set(['x']) }
    asked.push(asking, copy)
    return Promise.resolve(undefined)
  })
  const { ask } = await serve({ substituter })
  await ask(`/${'0'.repeat(32)}.narinfo`)
  expect(asked[1]?.signal).toBeInstanceOf(AbortSignal)
  expect(asked[1]?.signal).toBe(asked[0]?.signal)
})

describe('a peer', () => {
  const onlyIfCached = { 'cache-control': 'max-age=0, Only-If-Cached' }

  test('is given what is on disk', async () => {
    const nar = testNar()
    const { ask } = await serve({ held: having([nar], { stratum: 'store' }) })
    expect((await ask(nar.narinfoPath, { headers: onlyIfCached })).status).toBe(200)
  })

  test('gets 504 for what is not: nobody is asked on its behalf (case 140)', async () => {
    const substituter = answering(() => Promise.resolve(undefined))
    const { ask } = await serve({ substituter, held: empty })
    const { status, headers } = await ask(`/${'0'.repeat(32)}.narinfo`, { headers: onlyIfCached })
    expect(substituter.asked).toEqual([])
    expect(status).toBe(504)
    expect(headers['cache-status']).toBe('substrata; detail="not held"')
    const broken = await serve({ held: answering(() => Promise.reject(new ProxyError('store-failed', 'x'))) })
    expect((await broken.ask(`/${'0'.repeat(32)}.narinfo`, { headers: onlyIfCached })).status).toBe(504)
  })
})

describe('a question that goes in circles (case 107)', () => {
  const path = `/${'0'.repeat(32)}.narinfo`

  test('ends here', async () => {
    const substituter = answering(() => Promise.resolve(undefined))
    const { ask } = await serve({ substituter, held: substituter })
    for (const loop of ['us', 'them, us', 'us;v=1, them', Array.from({ length: 9 }, (_, i) => `p${i}`).join(',')]) {
      expect((await ask(path, { headers: { 'cdn-loop': loop } })).status).toBe(404)
    }
    expect(substituter.asked).toEqual([])
  })

  test('is told from one that has only come through others', async () => {
    const substituter = answering(() => Promise.resolve(undefined))
    const { ask } = await serve({ substituter })
    await ask(path, { headers: { 'cdn-loop': 'them; v=1,  those , usual' } })
    await ask(path)
    expect(substituter.asked.map(({ asking }) => asking.loop)).toEqual([['them', 'those', 'usual'], []])
  })
})
