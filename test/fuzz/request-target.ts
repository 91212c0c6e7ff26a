// The target of a request, and its Range: whatever a client asks for, it gets what a cache has, 400, 404, 405 or 416; nothing from
// beside the store is sent, and the upstream is asked for nothing outside its cache.

import assert from 'node:assert/strict'

import { startScriptedUpstream, type SeenRequest } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { entry } from './entries.ts'
import { secret, startFuzzedProxy } from './proxy.ts'
import type { Target } from './target.ts'

const held = entry(1)
const ours = `nar/${held.hash}-${held.narHash}.nar`

export const requestTarget: Target = {
  name: 'request-target',
  samples: [
    '/',
    `/${held.hash}.narinfo`,
    `/${ours}`,
    `/${ours}\nbytes=3-9`,
    `/${ours}\nbytes=-5`,
    '/nar/the.nar',
    '/nix-cache-info',
    '/metrics',
    `/explain/${held.hash}`,
    `/log/${held.hash}-fuzzed.drv`,
    `/${held.hash}.ls`,
    `/realisations/sha256:${'a'.repeat(64)}!out.doi`,
    '/health',
    'http://elsewhere.example/',
    '*',
  ],
  words: [
    '../',
    '..%2f',
    '%2e%2e/',
    '%00',
    '//',
    '?',
    '#',
    '.narinfo',
    '.nar',
    '/nar/',
    '/v1/',
    'catalogue.sqlite',
    '../secret',
    '%',
    '%ff',
    '\n',
    'bytes=',
    '-',
    ',',
    'bytes=999-',
    held.hash,
    held.narHash,
    '/explain/',
    '/log/',
    '!',
    '.doi',
    'x'.repeat(3000),
  ],
  open: async () => {
    const cache = new SyntheticCache()
    cache.put(`/${held.hash}.narinfo`, held.narinfo)
    cache.put('/nar/the.nar', held.nar)
    const upstream = await startScriptedUpstream({ cache, basePath: '/nested/cache/' })
    const proxy = await startFuzzedProxy(upstream.url)
    assert.equal((await proxy.get(`/${held.hash}.narinfo`)).status, 200)
    return {
      check: async (input) => {
        const [target = '', range] = input.toString('latin1').replaceAll('\r', '').split('\n')
        const { status, headers, body } = await proxy.get(target, range === undefined ? '' : `Range: ${range}\r\n`)
        // The header as a whole may be too long: 431.
        const refused = [400, 404, 405, 416, ...(input.length > 12_000 ? [431] : [])]
        assert(status === 200 || status === 206 || refused.includes(status), `status ${status}`)
        assert(!body.includes(secret))
        if (status === 206) {
          const [, start, end] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? []
          assert(body.equals(held.nar.subarray(Number(start), Number(end) + 1)), 'not the bytes of its Content-Range')
        } else if (status === 200 && target.split('?')[0] === `/${ours}`) assert(body.equals(held.nar))
        for (const { path, method } of (upstream.requests as SeenRequest[]).splice(0)) {
          assert(method === 'GET' && !path.startsWith('outside:') && !/\/\.\.?(?:\/|$)|%2e/i.test(path), path)
        }
        assert.deepEqual(proxy.bugs, [])
        return `${status} ${headers.get('content-type')}`
      },
      close: async () => {
        await proxy.close()
        await upstream.close()
      },
    }
  },
}
