// Promise: what else a cache has is passed on as it is, and as nothing that a browser would run.

import { once } from 'node:events'

import { describe, expect, test, vi } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import type { ServerParts } from '../../src/server/parts.ts'
import { serve, TestBody, untilStopped, type Step } from './rig.ts'

const hash = '0'.repeat(32)
const paths = {
  log: `/log/${hash}-hello.drv`,
  listing: `/${hash}.ls`,
  realisation: `/realisations/sha256:${'a'.repeat(64)}!out.doi`,
  trace: `/build-trace-v2/${hash}-hello.drv/out.doi`,
  debuginfo: `/debuginfo/${'a'.repeat(40)}.debug`,
}

/** Has this text under every path, and writes down what it is asked for. */
function upstream(text: string, size: number | 'unknown' = text.length, steps: Step[] = [Buffer.from(text)]) {
  const asked: { path: string; onlyHeld: boolean; body: TestBody }[] = []
  const resource: ServerParts['resource'] = (path, onlyHeld, { signal }) => {
    const body = new TestBody(steps, signal)
    asked.push({ path, onlyHeld, body })
    return Promise.resolve({
      contentType: 'text/html',
      size: size === 'unknown' ? undefined : size,
      body,
      from: 'cache.test',
    })
  }
  return { asked, resource }
}

describe('logs, listings, realisations, traces and debug information (case 114)', () => {
  test.each([
    ['log', 'text/plain; charset=utf-8'],
    ['listing', 'application/json'],
    ['realisation', 'application/json'],
    ['trace', 'application/json'],
    ['debuginfo', 'application/json'],
  ] as const)('%s', async (kind, contentType) => {
    const { asked, resource } = upstream('<script>')
    const { ask } = await serve({ resource })
    const { status, headers, body } = await ask(paths[kind])
    expect([status, body.toString()]).toEqual([200, '<script>'])
    expect(headers).toMatchObject({
      'content-type': contentType,
      'content-length': '8',
      'x-content-type-options': 'nosniff',
      'cache-control': 'public, max-age=60',
      'cache-status': 'substrata; fwd=miss; detail="cache.test"',
    })
    expect(asked[0]?.path).toBe(paths[kind].slice(1))
    expect(asked[0]?.onlyHeld).toBe(false)
  })

  test('are asked for by their names, however these are escaped', async () => {
    const { asked, resource } = upstream('x')
    const { ask } = await serve({ resource })
    await ask(paths.realisation.replace('!', '%21').replace(':', '%3A'))
    expect(asked[0]?.path).toBe(paths.realisation.slice(1))
    expect((await ask(paths.log.replace('hello', 'hel%252flo'))).status).toBe(404)
    expect((await ask(`${paths.log}?x=y`)).status).toBe(404)
    expect(asked).toHaveLength(1)
  })

  test('are let go of after HEAD', async () => {
    const { asked, resource } = upstream('hello', 5, ['wait'])
    const { ask } = await serve({ resource })
    const { status, headers } = await ask(paths.log, { method: 'HEAD' })
    expect([status, headers['content-length']]).toEqual([200, '5'])
    await vi.waitFor(() => expect(asked[0]?.body.finished).toBe(true))
  })

  test('are 404 when nobody has them, and may be there the next time', async () => {
    const { ask } = await serve()
    const { status, headers } = await ask(paths.realisation)
    expect([status, headers['cache-control']]).toEqual([404, 'no-store'])
  })

  test('are 502 or 504 when nobody can tell, and the reason is for the log', async () => {
    const { ask, lines } = await serve({
      resource: () => Promise.reject(new ProxyError('bad-status', 'upstream secret: 500')),
    })
    const { status, body } = await ask(paths.log)
    expect(status).toBe(502)
    expect(body.toString()).not.toContain('secret')
    expect(lines).toContainEqual(expect.objectContaining({ level: 'info', why: 'upstream secret: 500' }))
    const late = await serve({ resource: (_path, _held, asking) => untilStopped(asking), deadline: 20 })
    expect((await late.ask(paths.log)).status).toBe(504)
  })

  test('are cut when they break', async () => {
    const steps = [Buffer.from('abc'), new ProxyError('unreachable', 'x')]
    for (const size of [10, 'unknown'] as const) {
      const { ask } = await serve({ resource: upstream('', size, steps).resource })
      expect(await ask(paths.log)).toMatchObject({ status: 200, cut: true })
    }
  })

  test('are let go of when the client hangs up', async () => {
    const { asked, resource } = upstream('', 'unknown', [Buffer.from('abc'), 'wait'])
    const { open, lines } = await serve({ resource })
    const socket = await open()
    socket.write(`GET ${paths.log} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await once(socket, 'data')
    socket.destroy()
    await vi.waitFor(() => expect(asked[0]?.body.finished).toBe(true))
    expect(lines).toEqual([])
  })

  test('are not fetched on behalf of a peer, nor in circles', async () => {
    const asked: boolean[] = []
    const { ask } = await serve({
      resource: (_path, onlyHeld) => {
        asked.push(onlyHeld)
        return Promise.resolve(undefined)
      },
    })
    expect((await ask(paths.log, { headers: { 'cache-control': 'only-if-cached' } })).status).toBe(504)
    expect((await ask(paths.log, { headers: { 'cdn-loop': 'us' } })).status).toBe(404)
    expect(asked).toEqual([true])
  })
})
