import { randomBytes } from 'node:crypto'
import { getEventListeners } from 'node:events'

import { describe, expect, test, vi } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../../src/errors.ts'
import { narIdentity } from '../../src/nix/nar-url.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import type { Asking, Substituter, Wanted } from '../../src/substituter.ts'
import { Trail } from '../../src/trail.ts'
import { Coalesced, type CoalescedOptions } from '../../src/upstreams/coalesced.ts'
import { Stratum } from '../../src/upstreams/stratum.ts'
import { question, ScriptedSubstituter, type Answer } from '../support/scripted-substituter.ts'
import { absentHash, rejection, storeHash, testSubstituter } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const cache = new SyntheticCache()
const hello = cache.add({ content: randomBytes(100_000) })
const world = cache.add()
const broken = storeHash('1'.repeat(32))
const silent = storeHash('2'.repeat(32))

/** Far more than a test may take: what is not about deadlines never meets one. */
const plenty = 60_000

function coalesced(inner: Substituter, options: Partial<CoalescedOptions> = {}): Coalesced {
  return new Coalesced({ inner, deadline: plenty, limit: 100, observe: () => {}, ...options })
}

/** An answer that is given when the test opens it. */
function held(answer: Answer): { readonly script: () => Promise<Answer>; readonly open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { script: () => opened.then(() => answer), open: () => open() }
}

testSubstituter('a coalesced one', async () => {
  const inner = new ScriptedSubstituter('inner')
    .on(hello.hash, hello)
    .on(broken, new ProxyError('bad-status', 'upstream inner: 503'))
    .on(silent, 'never')
  return {
    substituter: coalesced(inner),
    has: { hash: hello.hash, file: hello.file },
    lacks: absentHash,
    cannotAnswer: broken,
    hangs: { hash: silent, asked: () => inner.seen(silent) },
    opened: () => inner.opened,
    cleanup: async () => {},
  }
})

describe('who asks the same thing at the same time', () => {
  test('300 clients cost one lookup, and all get its answer and its trail (case 11)', async () => {
    const { script, open } = held(hello)
    const inner = new ScriptedSubstituter('inner').on(hello.hash, script)
    const observe = vi.fn<(trail: Trail) => void>()
    const one = coalesced(inner, { observe })
    const trails = Array.from({ length: 300 }, () => new Trail())

    const answers = trails.map((trail) => one.find({ hash: hello.hash }, question({ trail })))
    expect(one.lookups).toBe(1)
    open()
    const found = await Promise.all(answers)

    expect(inner.asked).toHaveLength(1)
    expect(new Set(found).size).toBe(1)
    expect(found[0]?.from).toBe('inner')
    expect(observe).toHaveBeenCalledTimes(1)
    for (const { entries } of trails) {
      expect(entries).toMatchObject([{ who: 'inner', outcome: { kind: 'found' } }])
    }
    expect(one.lookups).toBe(0)
  })

  test('all who wait hear of a miss and of a failure as well', async () => {
    const missed = held(undefined)
    const failed = held(new ProxyError('timeout', 'upstream inner: silent'))
    const inner = new ScriptedSubstituter('inner').on(hello.hash, missed.script).on(world.hash, failed.script)
    const one = coalesced(inner)

    const misses = [1, 2].map(() => one.find({ hash: hello.hash }, question()))
    const failures = [1, 2].map(() => rejection(one.find({ hash: world.hash }, question())))
    missed.open()
    failed.open()

    expect(await Promise.all(misses)).toEqual([undefined, undefined])
    expect((await Promise.all(failures)).map(messageOf)).toEqual(['upstream inner: silent', 'upstream inner: silent'])
    expect(inner.asked).toHaveLength(2)
  })

  test('each trail keeps what was in it before, and names the winner', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, hello)
    const one = coalesced(new Stratum({ name: 'near', members: () => [inner] }))
    const trail = new Trail()
    trail.settle(trail.ask('store', 'store'), { kind: 'missed' })

    await one.find({ hash: hello.hash }, question({ trail }))

    expect(trail.entries.map(({ who }) => who)).toEqual(['store', 'inner'])
    expect(trail.winner).toBe('inner')
  })

  test('who comes after the answer asks anew, also after a failure', async () => {
    const answers: Answer[] = [new ProxyError('bad-status', 'upstream inner: 503'), undefined, hello]
    const inner = new ScriptedSubstituter('inner').on(hello.hash, () => answers.shift())
    const one = coalesced(inner)

    expect(codeOf(await rejection(one.find({ hash: hello.hash }, question())))).toBe('bad-status')
    expect(await one.find({ hash: hello.hash }, question())).toBeUndefined()
    expect((await one.find({ hash: hello.hash }, question()))?.from).toBe('inner')
  })

  test('a lookup that has ended is not told to stop', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, hello)

    await coalesced(inner).find({ hash: hello.hash }, question())

    expect(inner.asked[0]?.asking.signal.aborted).toBe(false)
  })

  test('an inner substituter that throws at once fails that lookup only', async () => {
    const inner: Substituter = {
      name: 'inner',
      find: () => {
        throw new ProxyError('store-failed', 'inner: broken')
      },
    }
    const one = coalesced(inner, { limit: 1 })

    expect(codeOf(await rejection(one.find({ hash: hello.hash }, question())))).toBe('store-failed')
    expect(codeOf(await rejection(one.find({ hash: hello.hash }, question())))).toBe('store-failed')
  })
})

describe('what is not the same question', () => {
  const { digest } = narIdentity(parseNarInfo(hello.narinfo, '/nix/store'))
  const base: [Wanted, Partial<Asking>] = [{ hash: hello.hash }, {}]
  const cases: readonly [string, Wanted, Partial<Asking>][] = [
    ['another path', { hash: world.hash }, {}],
    ['certain bytes', { hash: hello.hash, nar: { digest, compression: 'none' } }, {}],
    ['other bytes', { hash: hello.hash, nar: { ...narIdentity(parseNarInfo(world.narinfo, '/nix/store')) } }, {}],
    ['the same, compressed otherwise', { hash: hello.hash, nar: { digest, compression: 'xz' } }, {}],
    ['through another proxy', { hash: hello.hash }, { loop: ['a'] }],
    ['through two others', { hash: hello.hash }, { loop: ['a', 'b'] }],
    ['without somebody', { hash: hello.hash }, { avoid: new Set(['a']) }],
    ['without two', { hash: hello.hash }, { avoid: new Set(['a', 'b']) }],
    ['through one whose name looks like two', { hash: hello.hash }, { loop: ['a,b'] }],
  ]

  test('each is a lookup of its own', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, 'never').on(world.hash, 'never')
    const one = coalesced(inner)
    const { signal, stop } = leaving()

    const answers = [base, ...cases.map(([, wanted, parts]): [Wanted, Partial<Asking>] => [wanted, parts])].map(
      ([wanted, parts]) => rejection(one.find(wanted, question({ ...parts, signal }))),
    )

    expect(one.lookups).toBe(cases.length + 1)
    stop()
    await Promise.all(answers)
  })

  test.each(cases)('%s: a second one joins it, and the inner one is told all of it', async (_what, wanted, parts) => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, 'never').on(world.hash, 'never')
    const one = coalesced(inner)
    const { signal, stop } = leaving()

    const answers = [1, 2].map(() => rejection(one.find(wanted, question({ ...parts, signal }))))
    await inner.seen(wanted.hash)

    expect(inner.asked).toHaveLength(1)
    expect(inner.asked[0]?.wanted).toEqual(wanted)
    expect(inner.asked[0]?.asking.loop).toEqual(parts.loop ?? [])
    expect(inner.asked[0]?.asking.avoid).toEqual(parts.avoid)
    stop()
    await Promise.all(answers)
  })

  test('the order in which those to be avoided are named makes no difference', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, 'never')
    const one = coalesced(inner)
    const { signal, stop } = leaving()

    const answers = [new Set(['a', 'b']), new Set(['b', 'a'])].map((avoid) =>
      rejection(one.find({ hash: hello.hash }, question({ avoid, signal }))),
    )

    expect(one.lookups).toBe(1)
    stop()
    await Promise.all(answers)
  })

  test('two proxies that ask each other for one path at once both get an answer (cases 107, 140)', async () => {
    const bothAsked = held(undefined)
    let arrived = 0
    /** A proxy whose one upstream is another, reached when both have been asked by their own client. */
    function proxy(id: string, other: () => Substituter): Coalesced {
      return coalesced({
        name: id,
        find: async (wanted, asking) => {
          // Its own id in the loop: the question has come back to it, and it has not got the path.
          if (asking.loop.includes(id)) return undefined
          arrived += 1
          if (arrived === 2) bothAsked.open()
          if (asking.loop.length === 0) await bothAsked.script()
          return other().find(wanted, { ...asking, loop: [...asking.loop, id] })
        },
      })
    }
    const here: Coalesced = proxy('here', () => there)
    const there: Coalesced = proxy('there', () => here)

    const answers = [here, there].map((one) => one.find({ hash: hello.hash }, question()))

    expect(await Promise.all(answers)).toEqual([undefined, undefined])
    expect([here.lookups, there.lookups]).toEqual([0, 0])
  })
})

describe('who leaves', () => {
  test('one of two is told at once; the lookup goes on for the other', async () => {
    const { script, open } = held(hello)
    const inner = new ScriptedSubstituter('inner').on(hello.hash, script)
    const one = coalesced(inner)
    const { signal, stop } = leaving()
    const leaver = rejection(one.find({ hash: hello.hash }, question({ signal })))
    const stayer = one.find({ hash: hello.hash }, question())

    stop()

    expect(codeOf(await leaver)).toBe('aborted')
    expect(inner.asked[0]?.asking.signal.aborted).toBe(false)
    open()
    expect((await stayer)?.from).toBe('inner')
  })

  test('with the last one the lookup is stopped, and counted once (case 13)', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, 'never')
    const observe = vi.fn<(trail: Trail) => void>()
    const one = coalesced(inner, { observe })
    const { signal, stop } = leaving()
    const trail = new Trail()
    const leavers = [
      rejection(one.find({ hash: hello.hash }, question({ signal, trail }))),
      rejection(one.find({ hash: hello.hash }, question({ signal }))),
    ]
    await inner.seen(hello.hash)

    stop()

    expect((await Promise.all(leavers)).map(codeOf)).toEqual(['aborted', 'aborted'])
    await inner.stopped(hello.hash)
    expect(one.lookups).toBe(0)
    await vi.waitFor(() => expect(observe).toHaveBeenCalledTimes(1))
    expect(trail.entries).toMatchObject([{ who: 'inner', outcome: { kind: 'pending' } }])
  })

  test('nobody is asked for one who has gone before', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, hello)
    const one = coalesced(inner)

    await rejection(one.find({ hash: hello.hash }, question({ signal: AbortSignal.abort() })))

    expect(inner.asked).toEqual([])
    expect(one.lookups).toBe(0)
  })

  test('who comes just then is not taken into the lookup that is being stopped', async () => {
    const answers: Answer[] = ['never', hello]
    const inner = new ScriptedSubstituter('inner').on(hello.hash, () => answers.shift())
    const one = coalesced(inner)
    const { signal, stop } = leaving()
    const leaver = rejection(one.find({ hash: hello.hash }, question({ signal })))
    await inner.seen(hello.hash)

    stop()
    await leaver
    const found = await one.find({ hash: hello.hash }, question())

    expect(found?.from).toBe('inner')
  })

  test('a signal is let go of when its question is over', async () => {
    const inner = new ScriptedSubstituter('inner').on(hello.hash, hello)
    const one = coalesced(inner)
    const { signal } = new AbortController()

    await one.find({ hash: hello.hash }, question({ signal }))
    await one.find({ hash: absentHash }, question({ signal }))

    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('the deadline', () => {
  test('ends a lookup for all who wait, as a timeout, and blames those who were silent', async () => {
    const inner = new ScriptedSubstituter('inner').on(silent, 'never')
    const observe = vi.fn<(trail: Trail) => void>()
    const one = coalesced(inner, { deadline: 5, observe })
    const trail = new Trail()

    const errors = await Promise.all([
      rejection(one.find({ hash: silent }, question({ trail }))),
      rejection(one.find({ hash: silent }, question())),
    ])

    expect(errors.map(codeOf)).toEqual(['timeout', 'timeout'])
    expect(messageOf(errors[0])).toMatch(/^inner: no answer about 2+ within 5 ms$/)
    await inner.stopped(silent)
    expect(trail.entries).toMatchObject([{ who: 'inner', outcome: { kind: 'failed', code: 'timeout' } }])
    expect(observe).toHaveBeenCalledTimes(1)
    expect(one.lookups).toBe(0)
  })

  test('holds also for an inner substituter that does not listen to its signal', async () => {
    const deaf: Substituter = { name: 'deaf', find: () => new Promise(() => {}) }
    const one = coalesced(deaf, { deadline: 5, limit: 1 })

    expect(codeOf(await rejection(one.find({ hash: hello.hash }, question())))).toBe('timeout')
    expect(codeOf(await rejection(one.find({ hash: world.hash }, question())))).toBe('timeout')
  })

  test('counts the wait for a turn', async () => {
    vi.useFakeTimers()
    try {
      const inner = new ScriptedSubstituter('inner').on(hello.hash, 'never').on(world.hash, 'never')
      const one = coalesced(inner, { deadline: 50, limit: 1 })
      const ended: unknown[] = []
      const ask = (hash: typeof silent): void => {
        void rejection(one.find({ hash }, question())).then((error) => ended.push(codeOf(error)))
      }

      ask(hello.hash)
      await vi.advanceTimersByTimeAsync(30)
      ask(world.hash)
      await vi.advanceTimersByTimeAsync(20)
      expect(ended).toEqual(['timeout'])
      expect(inner.asked.map(({ wanted }) => wanted.hash)).toEqual([hello.hash, world.hash])
      await vi.advanceTimersByTimeAsync(30)
      expect(ended).toEqual(['timeout', 'timeout'])
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  test('leaves no timer behind when the answer comes before it', async () => {
    vi.useFakeTimers()
    try {
      const inner = new ScriptedSubstituter('inner').on(hello.hash, hello)

      await coalesced(inner).find({ hash: hello.hash }, question())

      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('a burst of different questions (case 12)', () => {
  const [first, second, third, fourth, fifth] = [
    storeHash('3'.repeat(32)),
    storeHash('4'.repeat(32)),
    storeHash('5'.repeat(32)),
    storeHash('6'.repeat(32)),
    storeHash('7'.repeat(32)),
  ] as const
  const hashes = [first, second, third, fourth, fifth]

  test('only so many are looked up at a time, the others in the order of their coming', async () => {
    const gates = hashes.map(() => held(undefined))
    const inner = new ScriptedSubstituter('inner')
    for (const [index, hash] of hashes.entries()) inner.on(hash, gates[index]!.script)
    const one = coalesced(inner, { limit: 2 })
    const answers = hashes.map((hash) => one.find({ hash }, question()))
    await inner.seen(second)
    expect(inner.asked.map(({ wanted }) => wanted.hash)).toEqual([first, second])

    gates[1]!.open()
    await inner.seen(third)
    expect(inner.asked.map(({ wanted }) => wanted.hash)).toEqual([first, second, third])

    for (const { open } of gates) open()
    expect(await Promise.all(answers)).toEqual(hashes.map(() => undefined))
    expect(inner.asked.map(({ wanted }) => wanted.hash)).toEqual([first, second, third, fourth, fifth])
  })

  test('past the queue it is overloaded, at once; who asks what is being looked up already is not', async () => {
    const gate = held(undefined)
    const inner = new ScriptedSubstituter('inner')
    for (const hash of hashes) inner.on(hash, gate.script)
    const one = coalesced(inner, { limit: 1, queue: 2 })
    const answers = [first, second, third].map((hash) => one.find({ hash }, question()))

    expect(codeOf(await rejection(one.find({ hash: fourth }, question())))).toBe('overloaded')
    answers.push(one.find({ hash: first }, question()), one.find({ hash: third }, question()))
    gate.open()

    expect(await Promise.all(answers)).toEqual(answers.map(() => undefined))
    expect(await one.find({ hash: fourth }, question())).toBeUndefined()
  })

  test('who leaves while waiting is never looked up, and leaves the queue', async () => {
    const gate = held(undefined)
    const inner = new ScriptedSubstituter('inner').on(first, gate.script)
    const observe = vi.fn<(trail: Trail) => void>()
    const one = coalesced(inner, { limit: 1, queue: 1, observe })
    const { signal, stop } = leaving()
    const going = one.find({ hash: first }, question())
    const leaver = rejection(one.find({ hash: second }, question({ signal })))

    stop()
    expect(codeOf(await leaver)).toBe('aborted')
    const next = one.find({ hash: third }, question())
    gate.open()

    expect(await Promise.all([going, next])).toEqual([undefined, undefined])
    expect(inner.asked.map(({ wanted }) => wanted.hash)).toEqual([first, third])
    expect(observe).toHaveBeenCalledTimes(2)
  })
})

/** A client who can leave. */
function leaving(): { readonly signal: AbortSignal; readonly stop: () => void } {
  const controller = new AbortController()
  return { signal: controller.signal, stop: () => controller.abort() }
}
