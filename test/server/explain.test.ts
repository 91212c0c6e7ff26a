// Promise: who may see it is told why a path comes from where it comes, in the form that suits it; others are not, and nobody can
// make us ask the world without end.

import type { IncomingMessage } from 'node:http'

import { describe, expect, test } from 'vitest'

import type { Explanation } from '../../src/explanation.ts'
import { explainPage } from '../../src/server/explain-page.ts'
import { explainAccess, type Explanations } from '../../src/server/explain.ts'
import { serve } from './rig.ts'

const hash = 'sp69qifh9883ihs597ic0b4l257lv18n' as Explanation['hash']
const evil = `"'><script>alert(1)</script>&`
const answer = { peer: true, askedAt: 0, ms: 1.2, signedBy: undefined, signatures: [`sig${evil}`], wins: true }

/** Every text that may come from elsewhere is an attack. */
const explanation: Explanation = {
  hash,
  storePath: `/nix/store/${hash}-demo-2`,
  askedAt: 1_700_000_000_000,
  took: 12,
  keys: [`key${evil}`],
  verdict: {
    kind: 'found',
    why: `why${evil}`,
    from: `from${evil}`,
    signedBy: `signer${evil}`,
    signatures: [],
    nar: { place: `place${evil}`, compression: 'xz', fileSize: 1, narSize: 2, narHash: 'sha256:x' },
  },
  held: [
    {
      file: `file${evil}`,
      size: 1,
      since: 1_700_000_000_000,
      from: `giver${evil}`,
      checked: 'nar',
      pinned: false,
      uploaded: false,
      trusted: true,
      signedBy: undefined,
      signatures: [],
    },
  ],
  strata: [
    {
      name: `stratum${evil}`,
      hedge: 150,
      turn: 0,
      answers: [
        { ...answer, who: `who${evil}`, url: `http://url${evil}`, outcome: 'found', why: undefined },
        { ...answer, who: 'b', url: undefined, outcome: 'failed', why: `failure${evil}` },
      ],
    },
    { name: 'nobody', hedge: 0, turn: undefined, answers: [] },
  ],
}

const open: Explanations = { allowed: () => true, explain: () => Promise.resolve(explanation) }

describe('the page', () => {
  test('shows everything, and as text', () => {
    const text = explainPage(explanation)
    for (const what of [
      'sig',
      'key',
      'why',
      'from',
      'signer',
      'place',
      'file',
      'giver',
      'stratum',
      'who',
      'url',
      'failure',
    ]) {
      if (what === 'key') continue
      expect(text).toContain(`${what}&#34;&#39;&#62;&#60;script&#62;alert(1)&#60;/script&#62;&#38;`)
    }
    expect(text).not.toMatch(/<script/i)
    expect(text).toContain('<h1>demo-2</h1>')
  })

  test('has its tags in order', () => {
    const open: string[] = []
    for (const [, slash, name = '', empty] of explainPage(explanation).matchAll(/<(\/?)([a-z]\w*)[^>]*?(\/?)>/g)) {
      if (empty === '/' || ['meta', 'link', 'br'].includes(name)) continue
      if (slash === '') open.push(name)
      else expect(name).toBe(open.pop())
    }
    expect(open).toEqual([])
  })
})

describe('GET /explain/<hash>', () => {
  test('is a page for browsers, JSON for programs, and text for everybody else', async () => {
    const { ask } = await serve({ explanations: open })
    const as = (accept: string) => ask(`/explain/${hash}`, { headers: accept === '' ? {} : { accept } })
    const [page, json, text] = await Promise.all(['text/html,*/*;q=0.8', 'application/json', ''].map(as))
    expect(page?.headers['content-type']).toBe('text/html; charset=utf-8')
    expect(page?.headers['content-security-policy']).toContain("default-src 'none'")
    expect(page?.body.toString()).toBe(explainPage(explanation))
    expect(json?.headers['content-type']).toBe('application/json')
    expect(JSON.parse(json!.body.toString())).toEqual(JSON.parse(JSON.stringify(explanation)))
    expect(text?.headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(text?.body.toString()).toContain(`/nix/store/${hash}-demo-2\n\nA client gets it from`)
    for (const reply of [page, json, text]) {
      expect(reply).toMatchObject({
        status: 200,
        headers: { 'cache-control': 'no-store', 'substrata-verdict': 'found' },
      })
    }
  })

  test('takes a base name as it is copied from elsewhere, and nothing that is no store hash', async () => {
    const asked: string[] = []
    const explain: Explanations['explain'] = (hash) => {
      asked.push(hash)
      return Promise.resolve(explanation)
    }
    const { ask } = await serve({ explanations: { allowed: () => true, explain } })
    for (const path of [hash, `${hash}-demo-2.drv`, `${hash}?x=1`])
      expect((await ask(`/explain/${path}`)).status).toBe(200)
    for (const path of ['', 'x', `${hash}x`, hash.toUpperCase(), `${hash}/x`, `x/${hash}`, `${hash.slice(0, 31)}e`]) {
      expect((await ask(`/explain/${path}`)).status).toBe(404)
    }
    expect(asked).toEqual([hash, hash, hash])
  })

  test('is where the form of the start page leads, with a path as it is copied from elsewhere', async () => {
    const { ask } = await serve({ explanations: open })
    for (const path of [
      hash,
      ` ${hash}-demo-2 `,
      `/nix/store/${hash}-demo-2/bin/demo`,
      `https://cache.example/${hash}.narinfo`,
    ]) {
      const { status, headers } = await ask(`/explain?path=${encodeURIComponent(path)}`)
      expect([status, headers.location]).toEqual([303, `explain/${hash}`])
    }
    for (const nothing of ['', '?', '?path=', '?path=demo', `?path=${hash}x`, `?other=${hash}`]) {
      expect((await ask(`/explain${nothing}`)).status).toBe(404)
    }
  })

  test('is refused to those who may not see it, without asking anybody', async () => {
    let asked = 0
    const explain: Explanations['explain'] = () => {
      asked += 1
      return Promise.resolve(explanation)
    }
    const { ask, lines } = await serve({ explanations: { allowed: () => false, explain } })
    expect((await ask(`/explain/${hash}`)).status).toBe(403)
    expect(asked).toBe(0)
    expect(lines).toMatchObject([{ message: `GET /explain/${hash}`, status: 403, why: 'not allowed' }])
  })

  test('is answered for four at a time; the next are told to come again, and are welcome then', async () => {
    const waiting: (() => void)[] = []
    const explain: Explanations['explain'] = () =>
      new Promise((resolve) => {
        waiting.push(() => resolve(explanation))
        if (waiting.length === 4) begun()
      })
    let begun = (): void => {}
    const four = new Promise<void>((resolve) => {
      begun = resolve
    })
    const { ask } = await serve({ explanations: { allowed: () => true, explain } })
    const all = [1, 2, 3, 4].map(() => ask(`/explain/${hash}`))
    await four
    const fifth = await ask(`/explain/${hash}`)
    expect([fifth.status, fifth.headers['retry-after']]).toEqual([504, '1'])
    for (const go of waiting) go()
    expect((await Promise.all(all)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
    const later = ask(`/explain/${hash}`)
    await expect.poll(() => waiting.length).toBe(5)
    waiting[4]?.()
    expect((await later).status).toBe(200)
  })

  test('tells what it knows when the deadline passes', async () => {
    const explain: Explanations['explain'] = (_, { signal }) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(explanation)))
    const { ask } = await serve({ explanations: { allowed: () => true, explain }, deadline: 5 })
    expect((await ask(`/explain/${hash}`)).status).toBe(200)
  })

  test('is nothing where nobody is told why', async () => {
    const { ask } = await serve()
    expect((await ask(`/explain/${hash}`)).status).toBe(404)
  })
})

describe('who may ask why', () => {
  const from = (remoteAddress: string | undefined, headers: IncomingMessage['headers'] = {}) =>
    ({ headers, socket: { remoteAddress } }) as IncomingMessage

  test('those on this machine, and those at addresses of the list', () => {
    const allowed = explainAccess(['10.0.0.0/8', '2001:db8::/32'])
    for (const near of ['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1', undefined, '10.1.2.3', '2001:db8::7']) {
      expect(allowed(from(near))).toBe(true)
    }
    for (const far of ['192.0.2.1', '2001:db9::1', '']) expect(allowed(from(far))).toBe(false)
  })

  test('nobody for whom a reverse proxy on this machine only passes it on', () => {
    const allowed = explainAccess([])
    for (const header of ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via']) {
      expect(allowed(from('127.0.0.1', { [header]: '203.0.113.9' }))).toBe(false)
      expect(allowed(from(undefined, { [header]: '203.0.113.9' }))).toBe(false)
    }
  })

  test('what is no block is a mistake of the configuration', () => {
    expect(() => explainAccess(['10.0.0.0'])).toThrow(expect.objectContaining({ code: 'bad-config' }))
  })
})
