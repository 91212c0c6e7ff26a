import { randomBytes } from 'node:crypto'
import { getEventListeners } from 'node:events'

import { afterEach, describe, expect, test } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../../src/errors.ts'
import type { Asking, ByteRange } from '../../src/substituter.ts'
import { Trail } from '../../src/trail.ts'
import { Resources, type Resource, type ResourceSource } from '../../src/upstreams/resources.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { upstreamTo } from '../support/real-upstream.ts'
import { question } from '../support/scripted-substituter.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { bytesOf, rejection } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

type Reply = 'missed' | 'never' | ProxyError | readonly string[]

/** Somebody with one thing, or without it; tells when the body it gave is over, and how. */
class Source implements ResourceSource {
  readonly name: string
  readonly asked: { readonly path: string; readonly asking: Asking; readonly range: ByteRange | undefined }[] = []
  /** How its body ended: read to the end, or stopped by its signal. */
  readonly over: Promise<'read' | 'stopped'>
  readonly #reply: Reply
  readonly #before: Promise<unknown>
  #end: (how: 'read' | 'stopped') => void = () => {}

  constructor(name: string, reply: Reply, before: Promise<unknown> = Promise.resolve()) {
    this.name = name
    this.#reply = reply
    this.#before = before
    this.over = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  async get(path: string, asking: Asking, range?: ByteRange): Promise<Resource | undefined> {
    this.asked.push({ path, asking, range })
    const { signal } = asking
    signal.addEventListener('abort', () => this.#end('stopped'))
    await this.#before
    if (this.#reply === 'never') {
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new ProxyError('aborted', `${this.name}: told to stop`)))
      })
    }
    if (this.#reply instanceof ProxyError) throw this.#reply
    if (this.#reply === 'missed' || this.#reply === 'never') return undefined
    return { contentType: 'text/plain', size: 10, body: this.#body(this.#reply, signal), from: this.name }
  }

  async *#body(texts: readonly string[], signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (const text of texts) {
      if (signal.aborted) throw new ProxyError('aborted', `${this.name}: told to stop`)
      if (text === 'broken') throw new ProxyError('damaged', `${this.name}: cut`)
      yield Buffer.from(text)
    }
    this.#end('read')
  }
}

/** One stratum for each list of sources, with its hedge in ms. */
function resources(...layers: readonly (readonly [hedge: number, ...members: ResourceSource[]])[]): Resources {
  return new Resources({ strata: layers.map(([hedge, ...members]) => ({ members: () => members, hedge })) })
}

describe('who is asked', () => {
  test('all of a stratum at once, with the range and the loop; the first who has it gives it', async () => {
    const one = new Source('one', 'missed')
    const two = new Source('two', ['hello'])
    const trail = new Trail()

    const found = await resources([Infinity, one, two]).find('nar/abc.nar?hash=x', question({ trail, loop: ['a'] }), {
      start: 5,
    })

    expect(found).toMatchObject({ contentType: 'text/plain', size: 10, from: 'two' })
    expect((await bytesOf(found!)).toString()).toBe('hello')
    expect(trail.winner).toBe('two')
    for (const { asked } of [one, two]) {
      expect(asked).toMatchObject([{ path: 'nar/abc.nar?hash=x', range: { start: 5 }, asking: { loop: ['a'] } }])
    }
  })

  test('the next stratum, when all in the nearer have said no or failed', async () => {
    const near = [new Source('one', 'missed'), new Source('two', new ProxyError('timeout', 'upstream two: silent'))]
    const far = new Source('far', ['hello'])

    const found = await resources([Infinity, ...near], [Infinity], [Infinity, far]).find('log/x.drv', question())

    expect(found?.from).toBe('far')
    await bytesOf(found!)
  })

  test('the next stratum too, when the nearer is silent for its hedge', async () => {
    const near = new Source('near', 'never')
    const far = new Source('far', ['hello'])

    const found = await resources([5, near], [Infinity, far]).find('log/x.drv', question())

    expect(found?.from).toBe('far')
    expect(await near.over).toBe('stopped')
    await bytesOf(found!)
  })

  test('nobody has it: undefined; nobody has it and somebody failed: who, and why', async () => {
    const no = new Source('no', 'missed')
    const broken = new Source('broken', new ProxyError('bad-status', 'upstream broken: 503'))

    expect(await resources([1, no], [1]).find('log/x.drv', question())).toBeUndefined()
    const error = await rejection(resources([1, no], [1, broken]).find('log/x.drv', question()))

    expect(codeOf(error)).toBe('unreachable')
    expect(messageOf(error)).toMatch(/^resource log\/x\.drv: .*upstream broken: 503$/)
  })

  test('who leaves while it is being looked for is told so, and nobody goes on', async () => {
    const silent = new Source('silent', 'never')
    const controller = new AbortController()
    const error = rejection(resources([Infinity, silent]).find('log/x.drv', question({ signal: controller.signal })))

    controller.abort()

    expect(codeOf(await error)).toBe('aborted')
    expect(await silent.over).toBe('stopped')
  })
})

describe('what becomes of the bodies', () => {
  test('the loser’s is stopped though it had answered already; the winner’s is not', async () => {
    const winner = new Source('winner', ['hello'])
    const loser = new Source('loser', ['hello'])

    const found = await resources([Infinity, winner, loser]).find('log/x.drv', question())

    expect(found?.from).toBe('winner')
    expect(await loser.over).toBe('stopped')
    expect((await bytesOf(found!)).toString()).toBe('hello')
    expect(await winner.over).toBe('read')
  })

  test('that of a whole stratum that was outrun is stopped', async () => {
    const far = new Source('far', ['hello'])
    const near = new Source('near', ['hello'])

    const found = await resources([0, near], [0, far]).find('log/x.drv', question())

    expect(found?.from).toBe('near')
    expect(await far.over).toBe('stopped')
    await bytesOf(found!)
  })

  test('one that came later than the winner is stopped', async () => {
    let come = (): void => {}
    const until = new Promise<void>((resolve) => {
      come = resolve
    })
    const winner = new Source('winner', ['hello'])
    const late = new Source('late', ['hello'], until)

    const found = await resources([Infinity, late, winner]).find('log/x.drv', question())
    come()

    expect(await late.over).toBe('stopped')
    await bytesOf(found!)
  })

  test('the winner’s is stopped when its reader leaves early', async () => {
    const source = new Source('source', ['hello', 'world'])
    const found = await resources([Infinity, source]).find('log/x.drv', question())

    for await (const _chunk of found!.body) break

    expect(await source.over).toBe('stopped')
  })

  test('the winner’s is stopped when its reader leaves before the first chunk', async () => {
    const source = new Source('source', ['hello', 'world'])
    const found = await resources([Infinity, source]).find('log/x.drv', question())

    await found!.body[Symbol.asyncIterator]().return?.()

    expect(await source.over).toBe('stopped')
  })

  test('the winner’s is stopped, and throws, when the asker goes', async () => {
    const source = new Source('source', ['hello', 'world'])
    const controller = new AbortController()
    const found = await resources([Infinity, source]).find('log/x.drv', question({ signal: controller.signal }))
    const body = found!.body[Symbol.asyncIterator]()
    await body.next()

    controller.abort()

    expect(await source.over).toBe('stopped')
    expect(codeOf(await rejection(body.next()))).toBe('aborted')
  })

  test('one that breaks says so', async () => {
    const source = new Source('source', ['hello', 'broken'])
    const found = await resources([Infinity, source]).find('log/x.drv', question())

    expect(codeOf(await rejection(bytesOf(found!)))).toBe('damaged')
  })

  test('the asker’s signal is let go of when the body is over, however it ends', async () => {
    const { signal } = new AbortController()
    const ask = (...reply: readonly string[]): Promise<Resource | undefined> =>
      resources([0, new Source('a', reply)], [0, new Source('b', 'missed')]).find('log/x.drv', question({ signal }))

    const read = await ask('hello')
    expect(getEventListeners(signal, 'abort').length).toBeGreaterThan(0)
    await bytesOf(read!)
    await rejection(bytesOf((await ask('broken'))!))
    await (await ask('hello'))!.body[Symbol.asyncIterator]().return?.()
    await resources([0, new Source('a', 'missed')]).find('log/x.drv', question({ signal }))

    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('resources of real servers', () => {
  const cache = new SyntheticCache()
  const log = randomBytes(4_000_000)
  cache.put('/log/x.drv', log, 'text/plain; charset=utf-8')
  const servers: ScriptedUpstream[] = []
  const upstreams: Upstream[] = []

  afterEach(async () => {
    await Promise.all(upstreams.splice(0).map((upstream) => upstream.stop()))
    await Promise.all(servers.splice(0).map((server) => server.close()))
  })

  async function start(): Promise<{ server: ScriptedUpstream; asks: Upstream }> {
    const server = await startScriptedUpstream({ cache })
    servers.push(server)
    const asks = upstreamTo(server.url, cache)
    upstreams.push(asks)
    return { server, asks }
  }

  test('the first body is passed on whole; the others are given up, and their connections closed', async () => {
    const all = await Promise.all([start(), start(), start()])
    const trail = new Trail()

    const found = await resources([Infinity, ...all.map(({ asks }) => asks)]).find('log/x.drv', question({ trail }))

    expect(found).toMatchObject({ contentType: 'text/plain; charset=utf-8', size: log.length })
    const losers = all.filter(({ asks }) => asks.name !== found?.from)
    expect(losers).toHaveLength(2)
    // More than sockets hold: these answers could not have been sent whole.
    await Promise.all(losers.map(({ server }) => server.idle()))
    expect((await bytesOf(found!)).equals(log)).toBe(true)
    expect(trail.winner).toBe(found?.from)
    await Promise.all(all.map(({ server }) => server.idle()))
  })

  test.each([
    ['the reader leaves', async (body: AsyncIterator<Uint8Array>) => body.return?.()],
    ['the asker goes', async (_body: AsyncIterator<Uint8Array>, asker: AbortController) => asker.abort()],
  ])('the winner’s connection is closed when %s', async (_what, leaves) => {
    const { server, asks } = await start()
    const asker = new AbortController()
    const found = await resources([Infinity, asks]).find('log/x.drv', question({ signal: asker.signal }))
    const body = found!.body[Symbol.asyncIterator]()
    await body.next()

    await leaves(body, asker)

    await server.idle()
    expect(server.count('/log/x.drv')).toBe(1)
  })

  test('a body that nobody ever reads is given up when the asker goes', async () => {
    const { server, asks } = await start()
    const asker = new AbortController()
    await resources([Infinity, asks]).find('log/x.drv', question({ signal: asker.signal }))

    asker.abort()

    await server.idle()
    expect(server.count('/log/x.drv')).toBe(1)
  })

  test('a part is taken only from one who gives that part (case 76)', async () => {
    const nar = cache.add({ content: randomBytes(10_000), url: 'nar/other.nar' })
    const [whole, other, right] = await Promise.all([start(), start(), start()])
    whole.server.script(nar.narPath, { ignoreRange: true })
    other.server.script(nar.narPath, { lie206: { contentRange: 'bytes 0-99/10000', start: 0, end: 99 } })
    const others = resources([Infinity, whole.asks, other.asks])
    const all = resources([Infinity, whole.asks, other.asks, right.asks])
    const range = { start: 100, end: 299 }

    expect(codeOf(await rejection(others.find('nar/other.nar', question(), range)))).toBe('unreachable')
    const found = await all.find('nar/other.nar', question(), range)

    expect(found).toMatchObject({ from: right.asks.name, size: nar.file.length })
    expect(await bytesOf(found!)).toEqual(nar.file.subarray(100, 300))
  })
})
