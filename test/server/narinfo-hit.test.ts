// Promise: a held narinfo that is answered at once is answered no other way than by its ordinary route.

import { describe, expect, test } from 'vitest'

import { createLog, type LogLevel } from '../../src/log.ts'
import { narFileName, narIdentity, narUrl } from '../../src/nix/nar-url.ts'
import { printNarInfo } from '../../src/nix/narinfo.ts'
import { empty, having, serve, testNar, type Reply, type Rig, type TestNar, type TestSubstituter } from './rig.ts'

interface HitRig extends Rig {
  /** Who is asked on the ordinary way. */
  readonly substituter: TestSubstituter
}

interface HeldOptions {
  /** Who knows it without being asked; default: memory. */
  readonly atOnce?: 'memory' | 'catalogue' | 'nobody'
  readonly level?: LogLevel
}

/** Has this path on disk. */
async function serveHeld(nar: TestNar, { atOnce = 'memory', level = 'info' }: HeldOptions = {}): Promise<HitRig> {
  const substituter = having([nar], { stratum: 'store' })
  const { hash } = nar.narinfo.storePath
  const lines: Record<string, unknown>[] = []
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>)
  const rig = await serve({
    substituter,
    held: substituter,
    recall: (wanted) => (atOnce === 'memory' && wanted === hash ? nar.substitute : undefined),
    recite: (hashes) => hashes.map((wanted) => (atOnce === 'catalogue' && wanted === hash ? recited(nar) : undefined)),
    access: createLog({ level, format: 'json', write }),
  })
  return { ...rig, lines, substituter }
}

/** Its narinfo as the catalogue has it. */
function recited({ narinfo }: TestNar) {
  return { text: printNarInfo(narinfo, narinfo.url), file: narFileName(narinfo.storePath.hash, narIdentity(narinfo)) }
}

/** All of an answer but its time. */
function dateless({ status, headers, body, cut }: Reply) {
  const { date, ...others } = headers
  expect(date).toBeDefined()
  return { status, headers: others, body, cut }
}

describe('a narinfo that memory or the catalogue knows', () => {
  const kinds = [
    ['plain', {}],
    ['with other letters than ASCII', { 'X-Note': 'caf\u00e9 \u2713 \u{1f980}' }],
  ] as const

  const ways = kinds.flatMap(([kind, fields]) =>
    (['memory', 'catalogue'] as const).map((by) => [kind, by, fields] as const),
  )

  test.each(ways)(
    'has the same status, headers and bytes as by its route: %s, by %s',
    async (_kind, atOnce, fields) => {
      const nar = testNar({ fields })
      const fast = await serveHeld(nar, { atOnce })
      const ordinary = await serveHeld(nar, { atOnce: 'nobody' })
      const text = Buffer.from(printNarInfo(nar.narinfo, narUrl(nar.narinfo)), 'utf8')

      const [one, other] = [await fast.ask(nar.narinfoPath), await ordinary.ask(nar.narinfoPath)]

      expect(dateless(one)).toEqual(dateless(other))
      for (const reply of [one, other]) {
        expect(reply).toMatchObject({ status: 200, cut: false })
        expect(reply.body).toEqual(text)
        expect(reply.headers['content-length']).toBe(String(text.length))
        expect(reply.headers['cache-status']).toBe('substrata; hit')
      }
      expect(fast.substituter.asked).toHaveLength(0)
      expect(ordinary.substituter.asked).toHaveLength(1)
    },
  )

  test.each(['memory', 'catalogue'] as const)(
    'counts as a hit each time, and nobody is asked: by %s',
    async (atOnce) => {
      const nar = testNar()
      const { ask, counted, substituter } = await serveHeld(nar, { atOnce })
      for (let times = 0; times < 3; times += 1) expect((await ask(nar.narinfoPath)).status).toBe(200)
      expect(await counted('narinfos', 'hit')).toBe(3)
      expect(substituter.asked).toHaveLength(0)
    },
  )

  test.each(['memory', 'catalogue'] as const)('does not keep others from being asked for: by %s', async (atOnce) => {
    const [nar, other] = [testNar(), testNar()]
    const { ask, substituter } = await serveHeld(nar, { atOnce })
    const paths = [nar, other, nar, other, nar].map(({ narinfoPath }) => narinfoPath)
    const replies = await Promise.all(paths.map((path) => ask(path)))
    expect(replies.map(({ status }) => status)).toEqual([200, 404, 200, 404, 200])
    expect(replies[2]?.body).toEqual(Buffer.from(printNarInfo(nar.narinfo, narUrl(nar.narinfo))))
    expect(substituter.asked.map(({ wanted }) => wanted.hash)).toEqual(Array(2).fill(other.narinfo.storePath.hash))
  })

  test('that the catalogue cannot be asked for is asked for elsewhere', async () => {
    const nar = testNar()
    const { ask } = await serve({ substituter: having([nar]), recall: () => undefined, recite: () => [] })
    expect((await ask(nar.narinfoPath)).status).toBe(200)
  })

  test('has its line, with the time that its question took, where every request has one', async () => {
    const nar = testNar()
    const { ask, lines, counted } = await serveHeld(nar, { level: 'debug' })
    const { status, body } = await ask(nar.narinfoPath)
    expect(lines).toContainEqual(
      expect.objectContaining({
        level: 'debug',
        message: `GET ${nar.narinfoPath}`,
        status,
        from: 'store',
        bytes: body.length,
        ms: expect.any(Number) as number,
      }),
    )
    expect(await counted('narinfos', 'hit')).toBe(1)
  })
})

describe('a request that is more than a plain question takes the ordinary way, though memory knows the path', () => {
  test('HEAD: the same headers, and no body', async () => {
    const nar = testNar()
    const { ask, substituter } = await serveHeld(nar)
    const [get, head] = [await ask(nar.narinfoPath), await ask(nar.narinfoPath, { method: 'HEAD' })]
    expect(dateless(head)).toEqual({ ...dateless(get), body: Buffer.alloc(0) })
    expect(substituter.asked).toHaveLength(1)
  })

  test.each(['If-None-Match', 'if-none-match', 'IF-NONE-MATCH'])('%s: 304 to who has it already', async (name) => {
    const nar = testNar()
    const { ask, counted } = await serveHeld(nar)
    const { headers } = await ask(nar.narinfoPath)
    const again = await ask(nar.narinfoPath, { headers: { [name]: headers.etag ?? '' } })
    expect(again).toMatchObject({ status: 304, body: Buffer.alloc(0) })
    expect(again.headers.etag).toBe(headers.etag)
    expect(await counted('narinfos', 'hit')).toBe(2)
  })

  test('Cache-Control: only-if-cached is for the disk alone', async () => {
    const nar = testNar()
    const substituter = having([nar])
    const recall = () => nar.substitute
    const recite = () => [recited(nar)]
    const access = createLog({ level: 'info', format: 'json', write: () => {} })
    const { ask } = await serve({ substituter, held: empty, recall, recite, access })
    expect((await ask(nar.narinfoPath, { headers: { 'Cache-Control': 'only-if-cached' } })).status).toBe(504)
    expect(substituter.asked).toHaveLength(0)
  })

  test('CDN-Loop: a question that came through here before is 404', async () => {
    const nar = testNar()
    const { ask, counted } = await serveHeld(nar)
    expect((await ask(nar.narinfoPath, { headers: { 'CDN-Loop': 'other, us' } })).status).toBe(404)
    expect((await ask(nar.narinfoPath, { headers: { 'CDN-Loop': 'other' } })).status).toBe(200)
    expect(await counted('narinfos', 'missed')).toBe(1)
  })

  test.each([{ 'Content-Length': '4' }, { 'Transfer-Encoding': 'chunked' }])(
    'a body: it is not read, and the connection ends with the answer: %o',
    async (headers) => {
      const nar = testNar()
      const { ask, substituter } = await serveHeld(nar)
      const reply = await ask(nar.narinfoPath, { headers, body: 'body' })
      expect(reply.status).toBe(200)
      expect(reply.headers.connection).toBe('close')
      expect(substituter.asked).toHaveLength(1)
    },
  )
})
