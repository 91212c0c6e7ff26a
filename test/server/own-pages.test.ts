// Promise: the proxy tells how it is, to people and programs, and nothing a stranger is called becomes markup.

import { describe, expect, test } from 'vitest'

import { html } from '../../src/server/html.ts'
import { page } from '../../src/server/page.ts'
import { troubles, type Status, type SubstituterState } from '../../src/server/status.ts'
import { serve, status as quiet } from './rig.ts'

const evil = `"'><script>alert(1)</script>&`

/** Every text that may come from elsewhere is an attack. */
const hostile: Status = {
  ...quiet,
  hostname: `host${evil}`,
  version: `version${evil}`,
  instanceId: `id${evil}`,
  strata: [
    {
      name: `stratum${evil}`,
      hedge: 150,
      substituters: [
        {
          name: `peer${evil}`,
          url: `http://url${evil}`,
          peer: true,
          state: 'failing',
          latencyMs: undefined,
          lastFailure: `failure${evil}`,
        },
        {
          name: 'cache.nixos.org',
          url: 'https://cache.nixos.org',
          peer: false,
          state: 'well',
          latencyMs: 41.4,
          lastFailure: undefined,
        },
      ],
    },
    { name: 'nobody', hedge: 0, substituters: [] },
  ],
  store: { state: 'ok', bytes: 5 * 2 ** 30, nars: 12345, narinfos: 1, free: 2 ** 30, maxSize: 20 * 2 ** 30 },
  fills: [
    { name: `fill${evil}`, received: 2 ** 20, size: 4 * 2 ** 20, readers: 2, from: `from${evil}` },
    { name: 'unsized', received: 5, size: undefined, readers: 0, from: 'x' },
  ],
  keys: [`key${evil}`],
}

const withStates = (...states: SubstituterState[]): Status => ({
  ...quiet,
  strata: states.map((state, index) => ({
    name: `s${index}`,
    hedge: 0,
    substituters: [{ name: 'u', url: 'http://u', peer: false, state, latencyMs: undefined, lastFailure: 'why' }],
  })),
})

describe('the page', () => {
  test('shows everything, and as text', () => {
    const text = page(hostile, true)
    for (const what of ['host', 'version', 'id', 'stratum', 'peer', 'url', 'failure', 'fill', 'from', 'key']) {
      expect(text).toContain(`${what}&#34;&#39;&#62;&#60;script&#62;alert(1)&#60;/script&#62;&#38;`)
    }
    expect(text).not.toMatch(/<script/i)
    for (const what of [
      '41 ms',
      '5.00 GiB',
      'of 20.0 GiB',
      '1 narinfo',
      '1.00 MiB',
      'of 4.00 MiB',
      '2 clients reading',
      'width:25.0%',
    ]) {
      expect(text).toContain(what)
    }
  })

  test('has its tags in order', () => {
    const open: string[] = []
    for (const [, slash, name = '', empty] of page(hostile, true).matchAll(/<(\/?)([a-z]\w*)[^>]*?(\/?)>/g)) {
      if (empty === '/' || ['meta', 'link', 'br'].includes(name)) continue
      if (slash === '') open.push(name)
      else expect(name).toBe(open.pop())
    }
    expect(open).toEqual([])
  })

  test('warns when nothing is verified (case 143)', () => {
    expect(page({ ...quiet, keys: [] }, false)).toContain('No trusted keys')
    expect(page(quiet, false)).not.toContain('No trusted keys')
  })

  test('says what is wrong with the store', () => {
    expect(page({ ...quiet, store: { ...quiet.store, state: 'full' } }, false)).toContain('The store is full')
    expect(page({ ...quiet, store: { ...quiet.store, state: 'failed' } }, false)).toContain('The store fails')
  })

  test('has no link that a path in front of it would break (case 116)', () => {
    expect([...page(hostile, true).matchAll(/(?:href|src|action)="([^"]*)"/g)].map(([, link]) => link)).toEqual([
      'explain',
      'metrics',
      'health',
    ])
  })

  test('is sent so that no script could run in it', async () => {
    const { ask } = await serve({ status: () => hostile })
    const { status, headers, body } = await ask('/', { headers: { accept: 'text/html,application/json;q=0.9' } })
    expect(status).toBe(200)
    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(headers['content-security-policy']).toContain("default-src 'none'")
    expect(headers.vary).toBe('Accept')
    expect(body.toString()).toBe(page(hostile, false))
  })

  test('leads to the page that says why, for those whom that one answers', async () => {
    const explain = (): never => {
      throw new Error('nobody has asked')
    }
    for (const allowed of [true, false]) {
      const { ask } = await serve({ explanations: { allowed: () => allowed, explain } })
      const { body } = await ask('/', { headers: { accept: 'text/html' } })
      expect(body.toString().includes('<form action="explain">')).toBe(allowed)
    }
  })

  test('is JSON for programs, with the hostname', async () => {
    const { ask } = await serve({ status: () => hostile })
    const { headers, body } = await ask('/', { headers: { accept: 'application/json' } })
    expect(headers['content-type']).toBe('application/json')
    expect(JSON.parse(body.toString())).toEqual(JSON.parse(JSON.stringify(hostile)))
    expect(JSON.parse(body.toString())).toHaveProperty('hostname', hostile.hostname)
  })

  test('is there for HEAD, without a body', async () => {
    const { ask } = await serve()
    const { status, headers, body } = await ask('/', { method: 'HEAD' })
    expect([status, Number(headers['content-length']) > 1000, body.length]).toEqual([200, true, 0])
  })
})

test('a template escapes values, and joins what is HTML already', () => {
  const rows = ['<', '&'].map((text) => html`<b>${text}</b>`)
  expect(html`<i title="${'"'}">${rows}${undefined}${1}</i>`.text).toBe(
    '<i title="&#34;"><b>&#60;</b><b>&#38;</b>1</i>',
  )
})

describe('health (case 115)', () => {
  test.each([
    ['all is well', withStates('well'), 200],
    ['nobody has been asked yet', withStates('untried'), 200],
    ['one is left', withStates('resting', 'excluded', 'failing'), 200],
    ['there are no upstreams at all', quiet, 200],
    ['the disk is full', { ...quiet, store: { ...quiet.store, state: 'full' } }, 200],
    ['nobody is left', withStates('resting', 'excluded'), 503],
    ['the disk fails', { ...quiet, store: { ...quiet.store, state: 'failed' } }, 503],
  ] as const)('when %s', async (_when, now, expected) => {
    const { ask } = await serve({ status: () => now })
    const { status, body } = await ask('/health')
    expect(status).toBe(expected)
    expect(JSON.parse(body.toString())).toMatchObject({
      ok: expected === 200,
      store: now.store.state,
      troubles: [...troubles(now)],
    })
  })
})

test('it is ready until it stops', async () => {
  let ready = true
  const { ask } = await serve({ ready: () => ready })
  expect((await ask('/ready')).status).toBe(200)
  ready = false
  expect((await ask('/ready')).status).toBe(503)
})

test('metrics are given in the text format, without a path or hash among the labels', async () => {
  const { ask } = await serve()
  await ask(`/${'0'.repeat(32)}.narinfo`)
  const { headers, body } = await ask('/metrics')
  expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/)
  expect(body.toString()).toContain('substrata_narinfo_requests_total{outcome="missed"} 1')
  expect(body.toString()).not.toContain('0'.repeat(32))
})

test('browsers and robots get what they always ask for', async () => {
  const { ask } = await serve()
  expect((await ask('/favicon.ico')).headers['content-type']).toBe('image/svg+xml')
  expect((await ask('/robots.txt')).body.toString()).toBe('User-agent: *\nDisallow: /\n')
})
