import { randomBytes } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../../src/errors.ts'
import { Trail } from '../../src/trail.ts'
import { Stratum } from '../../src/upstreams/stratum.ts'
import { question, ScriptedSubstituter } from '../support/scripted-substituter.ts'
import { absentHash, rejection, storeHash, testSubstituter } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const cache = new SyntheticCache()
const hello = cache.add({ content: randomBytes(100_000) })
const broken = storeHash('1'.repeat(32))
const silent = storeHash('2'.repeat(32))

testSubstituter('a stratum', async () => {
  const empty = new ScriptedSubstituter('empty')
  const good = new ScriptedSubstituter('good')
    .on(hello.hash, hello)
    .on(broken, new ProxyError('bad-status', 'upstream good: 503'))
    .on(silent, 'never')
  return {
    substituter: new Stratum({ name: 'near', members: () => [empty, good] }),
    has: { hash: hello.hash, file: hello.file },
    lacks: absentHash,
    cannotAnswer: broken,
    hangs: { hash: silent, asked: () => good.seen(silent) },
    opened: () => good.opened,
    cleanup: async () => {},
  }
})

describe('a stratum', () => {
  test('asks all its members at once', async () => {
    const members = ['a', 'b', 'c'].map((name) => new ScriptedSubstituter(name).on(silent, 'never'))
    const controller = new AbortController()
    const stratum = new Stratum({ name: 'near', members: () => members })

    const answer = rejection(stratum.find({ hash: silent }, question({ signal: controller.signal })))

    await Promise.all(members.map((member) => member.seen(silent)))
    controller.abort()
    expect(codeOf(await answer)).toBe('aborted')
  })

  test('takes the first who has it, tells the others to stop, and writes down who won', async () => {
    const silentOne = new ScriptedSubstituter('silent').on(hello.hash, 'never')
    const broken = new ScriptedSubstituter('broken').on(
      hello.hash,
      new ProxyError('unreachable', 'upstream broken: refused'),
    )
    const good = new ScriptedSubstituter('good').on(hello.hash, hello)
    const stratum = new Stratum({ name: 'near', members: () => [silentOne, broken, good] })
    const trail = new Trail()

    const found = await stratum.find({ hash: hello.hash }, question({ trail }))

    expect(found?.from).toBe('good')
    expect(trail.winner).toBe('good')
    await silentOne.stopped(hello.hash)
    const outcomes = Object.fromEntries(trail.entries.map(({ who, outcome }) => [who, outcome.kind]))
    expect(outcomes).toEqual({ silent: 'pending', broken: 'failed', good: 'found' })
  })

  test('waits for a slower one when the faster has nothing that it may give (case 52)', async () => {
    const untrusted = new ScriptedSubstituter('untrusted')
    const slower = new ScriptedSubstituter('slower').on(hello.hash, async () => {
      await untrusted.seen(hello.hash)
      return hello
    })
    const stratum = new Stratum({ name: 'near', members: () => [untrusted, slower] })

    expect((await stratum.find({ hash: hello.hash }, question()))?.from).toBe('slower')
  })

  test('names itself and those who failed when nobody had it and somebody could not answer (case 97)', async () => {
    const absent = new ScriptedSubstituter('absent')
    const broken = new ScriptedSubstituter('broken').on(
      hello.hash,
      new ProxyError('timeout', 'upstream broken: silent'),
    )
    const stratum = new Stratum({ name: 'near', members: () => [absent, broken] })

    const error = await rejection(stratum.find({ hash: hello.hash }, question()))

    expect(messageOf(error)).toMatch(/^stratum near: .*upstream broken: silent$/)
  })

  test('asks whoever is in it now', async () => {
    const members: ScriptedSubstituter[] = []
    const stratum = new Stratum({ name: 'near', members: () => members })

    expect(await stratum.find({ hash: hello.hash }, question())).toBeUndefined()
    members.push(new ScriptedSubstituter('newcomer').on(hello.hash, hello))
    expect((await stratum.find({ hash: hello.hash }, question()))?.from).toBe('newcomer')
  })

  test('passes over whom the question says, and takes another', async () => {
    const members = ['a', 'b'].map((name) => new ScriptedSubstituter(name).on(hello.hash, hello))
    const stratum = new Stratum({ name: 'near', members: () => members })

    const found = await stratum.find({ hash: hello.hash }, question({ avoid: new Set(['a']) }))

    expect(found?.from).toBe('b')
    expect(members[0]!.asked).toEqual([])
  })

  test('hands on through which proxies the question came', async () => {
    const member = new ScriptedSubstituter('a')
    const stratum = new Stratum({ name: 'near', members: () => [member] })

    await stratum.find({ hash: hello.hash }, question({ loop: ['one', 'two'] }))

    expect(member.asked[0]?.asking.loop).toEqual(['one', 'two'])
  })
})
