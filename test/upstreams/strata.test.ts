import { randomBytes } from 'node:crypto'

import { afterEach, describe, expect, test } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../../src/errors.ts'
import { Trail } from '../../src/trail.ts'
import { Strata } from '../../src/upstreams/strata.ts'
import { Stratum } from '../../src/upstreams/stratum.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { upstreamTo } from '../support/real-upstream.ts'
import { question, ScriptedSubstituter } from '../support/scripted-substituter.ts'
import { startScriptedUpstream, type Behaviour, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { absentHash, rejection, storeHash, testSubstituter } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const cache = new SyntheticCache()
const hello = cache.add({ content: randomBytes(100_000) })
const broken = storeHash('1'.repeat(32))
const silent = storeHash('2'.repeat(32))

/** One stratum for each list of members, with its hedge in ms. */
function strataOf(...layers: readonly (readonly [hedge: number, ...members: ScriptedSubstituter[]])[]): Strata {
  return new Strata({
    strata: layers.map(([hedge, ...members], index) => ({
      substituter: new Stratum({ name: String(index), members: () => members }),
      hedge,
    })),
  })
}

testSubstituter('all strata', async () => {
  const near = new ScriptedSubstituter('near').on(silent, 'never')
  const far = new ScriptedSubstituter('far')
    .on(hello.hash, hello)
    .on(broken, new ProxyError('bad-status', 'upstream far: 503'))
    .on(silent, 'never')
  return {
    substituter: strataOf([Infinity], [1, near], [1, far]),
    has: { hash: hello.hash, file: hello.file },
    lacks: absentHash,
    cannotAnswer: broken,
    hangs: { hash: silent, asked: () => far.seen(silent) },
    opened: () => far.opened,
    cleanup: async () => {},
  }
})

describe('strata', () => {
  test('the next is not asked when the nearer has it', async () => {
    const near = new ScriptedSubstituter('near').on(hello.hash, hello)
    const far = new ScriptedSubstituter('far').on(hello.hash, hello)

    const found = await strataOf([Infinity, near], [Infinity, far]).find({ hash: hello.hash }, question())

    expect(found?.from).toBe('near')
    expect(far.asked).toEqual([])
  })

  test('the next is asked at once when all in the nearer have said no or failed', async () => {
    const absent = new ScriptedSubstituter('absent')
    const broken = new ScriptedSubstituter('broken').on(
      hello.hash,
      new ProxyError('unreachable', 'upstream broken: refused'),
    )
    const far = new ScriptedSubstituter('far').on(hello.hash, hello)

    const found = await strataOf([Infinity, absent, broken], [Infinity, far]).find({ hash: hello.hash }, question())

    expect(found?.from).toBe('far')
  })

  test('an empty stratum costs nothing', async () => {
    const far = new ScriptedSubstituter('far').on(hello.hash, hello)

    const found = await strataOf([Infinity], [Infinity], [Infinity, far]).find({ hash: hello.hash }, question())

    expect(found?.from).toBe('far')
  })

  test('one who is silent costs the hedge, and is told to stop (case 85)', async () => {
    const near = new ScriptedSubstituter('near').on(hello.hash, 'never')
    const far = new ScriptedSubstituter('far').on(hello.hash, hello)

    const found = await strataOf([5, near], [Infinity, far]).find({ hash: hello.hash }, question())

    expect(found?.from).toBe('far')
    await near.stopped(hello.hash)
  })

  test('a nearer one who answers while the next is being asked still wins', async () => {
    const far = new ScriptedSubstituter('far').on(hello.hash, 'never')
    const near = new ScriptedSubstituter('near').on(hello.hash, async () => {
      await far.seen(hello.hash)
      return hello
    })

    const found = await strataOf([5, near], [Infinity, far]).find({ hash: hello.hash }, question())

    expect(found?.from).toBe('near')
    await far.stopped(hello.hash)
  })

  test.each(Array.from({ length: 20 }, (_, steps) => steps))(
    'the trail names the winner that was taken, though another found it %d steps later',
    async (steps) => {
      const trail = new Trail()
      const near = new ScriptedSubstituter('near').on(hello.hash, hello)
      const far = new ScriptedSubstituter('far').on(hello.hash, async () => {
        for (let step = 0; step < steps; step += 1) await Promise.resolve()
        return hello
      })

      const found = await strataOf([0, near], [0, far]).find({ hash: hello.hash }, question({ trail }))
      // Whoever lost may still have steps to do.
      await new Promise((resolve) => {
        setImmediate(resolve)
      })

      expect(trail.winner).toBe(found?.from)
    },
  )

  test('when nobody had it, all who failed are named, whatever their stratum (case 96)', async () => {
    const near = new ScriptedSubstituter('near').on(hello.hash, new ProxyError('timeout', 'upstream near: silent'))
    const far = new ScriptedSubstituter('far').on(hello.hash, new ProxyError('bad-status', 'upstream far: 503'))

    const error = await rejection(strataOf([1, near], [1, far]).find({ hash: hello.hash }, question()))

    expect(codeOf(error)).toBe('unreachable')
    expect(messageOf(error)).toMatch(/upstream near: silent; upstream far: 503$/)
  })

  test('it is a timeout when everybody who failed was silent', async () => {
    const near = new ScriptedSubstituter('near').on(hello.hash, new ProxyError('timeout', 'upstream near: silent'))
    const far = new ScriptedSubstituter('far').on(hello.hash, new ProxyError('timeout', 'upstream far: silent'))

    const error = await rejection(strataOf([1, near], [1, far]).find({ hash: hello.hash }, question()))

    expect(codeOf(error)).toBe('timeout')
  })
})

describe('strata of real servers', () => {
  const servers: ScriptedUpstream[] = []
  const upstreams: Upstream[] = []

  afterEach(async () => {
    await Promise.all(upstreams.splice(0).map((upstream) => upstream.stop()))
    await Promise.all(servers.splice(0).map((server) => server.close()))
  })

  /** A server that treats every request so, and the upstream that asks it. */
  async function upstream(behaviour: Behaviour, from = cache): Promise<{ server: ScriptedUpstream; asks: Upstream }> {
    const server = await startScriptedUpstream({ cache: from })
    server.script(/.*/, behaviour)
    servers.push(server)
    const asks = upstreamTo(server.url, cache)
    upstreams.push(asks)
    return { server, asks }
  }

  function stratum(
    members: readonly { readonly asks: Upstream }[],
    hedge: number,
  ): { substituter: Stratum; hedge: number } {
    return { substituter: new Stratum({ name: 'test', members: () => members.map(({ asks }) => asks) }), hedge }
  }

  test('dead, hung, slow, lying, captive and untrusted ones beside a good one cost no request, from the first on', async () => {
    const other = cache.add()
    const impostor = new SyntheticCache()
    const wanted = Array.from({ length: 20 }, (_, index) => cache.add({ name: `path-${index}` }))
    for (const { hash } of wanted) impostor.add({ hash })
    const dead = await upstream({})
    await dead.server.close()
    const bad = await Promise.all([
      upstream({ never: true }),
      upstream({ drip: { bytes: 1, every: 100 } }),
      upstream({ body: other.narinfo }),
      upstream({ html: true }),
      upstream({ redirect: 'http://127.0.0.1:9/login' }),
      upstream({ status: 503, headers: { 'retry-after': '1000' } }),
      upstream({ hangUp: 'reset' }),
      upstream({ raw: 'no HTTP at all\r\n\r\n' }),
      upstream({ endless: true }),
      upstream({}, impostor),
    ])
    const good = await upstream({})
    const strata = new Strata({ strata: [stratum([dead, ...bad, good], Infinity)] })

    for (const { hash, storePath } of wanted) {
      const found = await strata.find({ hash }, question())
      expect(found?.narinfo.storePath.path).toBe(storePath)
      expect(found?.from).toBe(good.asks.name)
    }
  })

  /** Its nix-cache-info is answered: what is under way then is our question alone. */
  const onlyNarinfos: Behaviour = { never: true, when: ({ path }) => path.endsWith('.narinfo') }

  test('a stratum of hung ones costs its hedge, and their connections are closed', async () => {
    const hung = await Promise.all([upstream(onlyNarinfos), upstream(onlyNarinfos)])
    const good = await upstream({})
    const strata = new Strata({ strata: [stratum(hung, 5), stratum([good], Infinity)] })

    expect((await strata.find({ hash: hello.hash }, question()))?.from).toBe(good.asks.name)

    // Nobody has closed the upstreams: it is the race that gave them up.
    await Promise.all(hung.map(({ server }) => server.idle()))
  })

  test('when all say 404 the next stratum is asked at once; when the last says so too, it is a miss', async () => {
    const absent = await upstream({}, new SyntheticCache())
    const dead = await upstream({ status: 404 })
    const good = await upstream({})
    const strata = new Strata({ strata: [stratum([absent, dead], Infinity), stratum([good], Infinity)] })

    expect((await strata.find({ hash: hello.hash }, question()))?.from).toBe(good.asks.name)
    expect(await strata.find({ hash: absentHash }, question())).toBeUndefined()
  })

  test('real GETs are raced: one request for each upstream, and no HEAD', async () => {
    const members = await Promise.all([upstream({}), upstream({}), upstream({ status: 404 })])
    const strata = new Strata({ strata: [stratum(members, Infinity)] })

    await strata.find({ hash: absentHash }, question())

    for (const { server } of members) {
      const asked = server.requests.filter(({ path }) => path.endsWith('.narinfo')).map(({ method }) => method)
      expect(asked).toEqual(['GET'])
    }
  })
})
