import { randomBytes } from 'node:crypto'

import { afterEach, describe, expect, test } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../../src/errors.ts'
import { createLog, type Log } from '../../src/log.ts'
import { Trail } from '../../src/trail.ts'
import { staticPeers, type Peer, type PeerSource } from '../../src/upstreams/peer-source.ts'
import { Peers } from '../../src/upstreams/peers.ts'
import type { Resource } from '../../src/upstreams/resources.ts'
import { Strata } from '../../src/upstreams/strata.ts'
import { Stratum } from '../../src/upstreams/stratum.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { upstreamTo } from '../support/real-upstream.ts'
import { question, ScriptedSubstituter } from '../support/scripted-substituter.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { absentHash, bytesOf, rejection, storeHash, testSubstituter } from '../support/substituter-conformance.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const cache = new SyntheticCache()
const hello = cache.add({ content: randomBytes(100_000) })
const world = cache.add()
const broken = storeHash('1'.repeat(32))
const silent = storeHash('2'.repeat(32))

/** A neighbourhood: who is here, what stands at each address, and what time it is. */
class Neighbourhood {
  here: Peer[] = []
  now = 1000
  readonly made: string[] = []
  readonly lines: string[] = []
  readonly log: Log = createLog({ level: 'debug', format: 'text', write: (line) => this.lines.push(line) })
  readonly #at = new Map<string, ScriptedSubstituter>()
  readonly peers = new Peers<ScriptedSubstituter>({
    source: { peers: () => this.here },
    makeUpstream: (_peer, url) => {
      this.made.push(url.href)
      return this.at(url.href)
    },
    log: this.log,
    clock: () => this.now,
  })

  /** What stands at an address. */
  at(url: string): ScriptedSubstituter {
    const known = this.#at.get(url)
    if (known) return known
    const made = new ScriptedSubstituter(url, 'near')
    this.#at.set(url, made)
    return made
  }

  /** The stratum that they make up. */
  get stratum(): Stratum {
    return new Stratum({ name: 'near', members: () => this.peers.members() })
  }
}

function peer(id: string, ...urls: readonly string[]): Peer {
  return { id, urls, via: 'static', trust: 'transitive', presence: 'roaming' }
}

const wifi = 'http://10.69.1.7:8501/'
const tunnel = 'http://10.70.1.7:8501/'

testSubstituter('a peer with two addresses', async () => {
  const near = new Neighbourhood()
  near.here = [peer('bob', wifi, tunnel)]
  for (const url of [wifi, tunnel]) {
    near
      .at(url)
      .on(hello.hash, hello)
      .on(broken, new ProxyError('bad-status', `upstream ${url}: 503`))
      .on(silent, 'never')
  }
  const [bob] = near.peers.members()
  return {
    substituter: bob!,
    has: { hash: hello.hash, file: hello.file },
    lacks: absentHash,
    cannotAnswer: broken,
    hangs: { hash: silent, asked: () => near.at(tunnel).seen(silent) },
    opened: () => near.at(wifi).opened + near.at(tunnel).opened,
    cleanup: () => near.peers.stop(),
  }
})

describe('who is a member', () => {
  test('whoever is here now, and nobody else', () => {
    const near = new Neighbourhood()
    expect(near.peers.members()).toEqual([])

    near.here = [peer('bob', wifi), peer('eve', 'http://10.69.1.9:8501')]
    expect(near.peers.members().map(({ name }) => name)).toEqual(['bob', 'eve'])

    near.here = [peer('eve', 'http://10.69.1.9:8501')]
    expect(near.peers.members().map(({ name }) => name)).toEqual(['eve'])
  })

  test('a peer that was found on wifi and through a tunnel is one', async () => {
    const near = new Neighbourhood()
    near.here = [
      { ...peer('bob', wifi, 'http://10.69.1.7:8501'), via: 'mesh' },
      { ...peer('bob', tunnel), via: 'tunnel' },
    ]
    near.at(wifi).on(hello.hash, 'never')
    near.at(tunnel).on(hello.hash, hello)

    const members = near.peers.members()

    expect(members.map(({ name }) => name)).toEqual(['bob'])
    expect((await members[0]?.find({ hash: hello.hash }, question()))?.from).toBe(tunnel)
    expect(near.at(wifi).asked).toHaveLength(1)
  })

  test('none at all costs no request: the next stratum is asked at once', async () => {
    const near = new Neighbourhood()
    const far = new ScriptedSubstituter('far').on(hello.hash, hello)
    const strata = new Strata({
      strata: [
        { substituter: near.stratum, hedge: Infinity },
        { substituter: far, hedge: Infinity },
      ],
    })

    expect((await strata.find({ hash: hello.hash }, question()))?.from).toBe('far')
  })

  test('a dead and a silent one beside a good one cost no request', async () => {
    const near = new Neighbourhood()
    near.here = [peer('dead', 'http://10.0.0.1/'), peer('silent', 'http://10.0.0.2/'), peer('good', 'http://10.0.0.3/')]
    near.at('http://10.0.0.1/').on(hello.hash, new ProxyError('unreachable', 'upstream dead: refused'))
    near.at('http://10.0.0.2/').on(hello.hash, 'never')
    near.at('http://10.0.0.3/').on(hello.hash, hello)
    const trail = new Trail()

    const found = await near.stratum.find({ hash: hello.hash }, question({ trail }))

    expect(found?.from).toBe('http://10.0.0.3/')
    expect(trail.winner).toBe('http://10.0.0.3/')
    await near.at('http://10.0.0.2/').stopped(hello.hash)
  })
})

describe('addresses that cannot be used', () => {
  test.each([
    'nonsense',
    'ftp://10.0.0.1/',
    'file:///etc/passwd',
    'http://user@10.0.0.1/',
    'http://:word@10.0.0.1/',
    'http://[::1',
    '',
  ])('%j is passed over, said once, and spoils neither its peer nor the others (case 137)', async (bad) => {
    const near = new Neighbourhood()
    near.here = [peer('eve', bad), peer('bob', bad, wifi)]
    near.at(wifi).on(hello.hash, hello)

    for (const _again of [1, 2, 3]) expect(near.peers.members().map(({ name }) => name)).toEqual(['bob'])

    expect(near.made).toEqual([wifi])
    expect(near.lines).toHaveLength(2)
    expect(near.lines[0]).toMatch(/warn .*peer eve: /)
    expect((await near.stratum.find({ hash: hello.hash }, question()))?.from).toBe(wifi)
  })

  test('one for which no upstream can be made is passed over, and not tried again', () => {
    let tries = 0
    const lines: string[] = []
    const peers = new Peers({
      source: { peers: () => [peer('bob', wifi)] },
      makeUpstream: (): ScriptedSubstituter => {
        tries += 1
        throw new ProxyError('bad-address', 'upstream bob: not allowed')
      },
      log: createLog({ level: 'debug', format: 'text', write: (line) => lines.push(line) }),
    })

    expect([peers.members(), peers.members()]).toEqual([[], []])
    expect(tries).toBe(1)
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain('not allowed')
  })
})

describe('several addresses of one peer', () => {
  test('the next is tried when one is silent, and the silent one is told to stop (case 101)', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    near.at(wifi).on(hello.hash, 'never')
    near.at(tunnel).on(hello.hash, hello)

    const found = await near.stratum.find({ hash: hello.hash }, question())

    expect(found?.from).toBe(tunnel)
    await near.at(wifi).stopped(hello.hash)
  })

  test('the next is tried at once when one fails', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    near.at(wifi).on(hello.hash, new ProxyError('unreachable', 'upstream wifi: refused'))
    near.at(tunnel).on(hello.hash, hello)

    expect((await near.stratum.find({ hash: hello.hash }, question()))?.from).toBe(tunnel)
  })

  test('one that says no has spoken for the peer: the others are not asked', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]

    expect(await near.stratum.find({ hash: hello.hash }, question())).toBeUndefined()

    expect(near.at(wifi).asked).toHaveLength(1)
    expect(near.at(tunnel).asked).toHaveLength(0)
  })

  test('one that is passed over has not: the next is asked', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    for (const url of [wifi, tunnel]) near.at(url).on(hello.hash, hello)

    const found = await near.stratum.find({ hash: hello.hash }, question({ avoid: new Set([wifi]) }))

    expect(found?.from).toBe(tunnel)
    expect(near.at(wifi).asked).toEqual([])
  })

  test('the one that answered is tried first for a minute', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    near.at(wifi).on(hello.hash, new ProxyError('unreachable', 'upstream wifi: refused'))
    near.at(tunnel).on(hello.hash, hello).on(world.hash, world)
    near.at(wifi).on(world.hash, world)
    const askWorld = async (): Promise<string | undefined> =>
      (await near.stratum.find({ hash: world.hash }, question()))?.from

    await near.stratum.find({ hash: hello.hash }, question())
    expect(await askWorld()).toBe(tunnel)
    near.now += 59_999
    expect(await askWorld()).toBe(tunnel)
    near.now += 60_000
    expect(await askWorld()).toBe(wifi)
  })

  test('when none answers, both are named', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    near.at(wifi).on(hello.hash, new ProxyError('unreachable', 'upstream wifi: refused'))
    near.at(tunnel).on(hello.hash, new ProxyError('timeout', 'upstream tunnel: silent'))

    const error = await rejection(near.stratum.find({ hash: hello.hash }, question()))

    expect(codeOf(error)).toBe('unreachable')
    expect(messageOf(error)).toMatch(/upstream wifi: refused; upstream tunnel: silent/)
  })

  test('other things than narinfos are asked for over them in the same way', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    const log: Resource = { contentType: 'text/plain', size: 5, body: chunks('hello'), from: tunnel }
    near.at(wifi).onResource('log/x.drv', () => Promise.reject(new ProxyError('timeout', 'upstream wifi: silent')))
    near.at(tunnel).onResource('log/x.drv', async () => log)
    const [bob] = near.peers.members()

    const resource = await bob!.get('log/x.drv', question())

    expect(resource).toMatchObject({ contentType: 'text/plain', size: 5, from: tunnel })
    expect((await bytesOf(resource!)).toString()).toBe('hello')
    expect(await bob!.get('log/y.drv', question())).toBeUndefined()
  })
})

describe('the upstreams of peers', () => {
  test('there is one for each address, started once, and it outlives the race', () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]

    near.peers.members()
    near.peers.members()

    expect(near.made).toEqual([wifi, tunnel])
    expect(near.at(wifi).started).toBe(1)
    expect(near.peers.upstreams()).toEqual([near.at(wifi), near.at(tunnel)])
  })

  test('a peer that is back within a minute finds its upstream as it was (case 106)', () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi)]
    near.peers.members()

    near.here = []
    near.now += 59_999
    near.peers.members()
    near.here = [peer('bob', wifi)]
    near.peers.members()

    expect(near.made).toEqual([wifi])
    expect(near.at(wifi).ended).toBe(0)
  })

  test('that of a peer that has been gone for a minute is closed', () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi), peer('eve', tunnel)]
    near.peers.members()

    near.here = [peer('eve', tunnel)]
    near.now += 60_000
    near.peers.members()

    expect(near.at(wifi).ended).toBe(1)
    expect(near.at(tunnel).ended).toBe(0)
    expect(near.peers.upstreams()).toEqual([near.at(tunnel)])
  })

  test('an address at which another peer is now, or one that is trusted otherwise, gets a new one', () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi)]
    near.peers.members()
    near.here = [peer('eve', wifi)]
    near.peers.members()
    near.here = [{ ...peer('eve', wifi), trust: 'untrusted' }]
    near.peers.members()

    expect(near.made).toEqual([wifi, wifi, wifi])
  })

  test('of ten thousand who come and go no more than 256 are kept (case 137)', () => {
    const near = new Neighbourhood()
    for (let wave = 0; wave < 100; wave += 1) {
      near.here = Array.from({ length: 100 }, (_, index) => peer(`p${wave}-${index}`, `http://10.0.${wave}.${index}/`))
      expect(near.peers.members()).toHaveLength(100)
      near.now += 1
      near.here = []
      near.peers.members()
      expect(near.peers.upstreams().length).toBeLessThanOrEqual(256)
    }
    const closed = near.made.filter((url) => near.at(url).ended > 0)
    expect(closed).toHaveLength(10_000 - near.peers.upstreams().length)
    expect(near.peers.upstreams().at(-1)).toBe(near.at('http://10.0.99.99/'))
  })

  test('when there are too many, those that have been gone longest are closed', () => {
    const near = new Neighbourhood()
    const bob = peer('bob', wifi)
    near.here = [bob]
    near.peers.members()
    near.now += 1
    near.here = [bob, ...Array.from({ length: 300 }, (_, index) => peer(`p${index}`, `http://10.0.1.1:${index + 1}/`))]
    near.peers.members()
    near.now += 1
    near.here = [bob]
    near.peers.members()

    near.now += 1
    near.here = Array.from({ length: 200 }, (_, index) => peer(`q${index}`, `http://10.0.2.1:${index + 1}/`))
    near.peers.members()
    near.here = []
    near.peers.members()

    expect(near.at(wifi).ended).toBe(0)
    expect(near.at('http://10.0.1.1:1/').ended).toBe(1)
    expect(near.peers.upstreams()).toHaveLength(256)
  })

  test('of ten thousand who are all here no more than 1024 addresses are used, always the same (case 137)', () => {
    const near = new Neighbourhood()
    near.here = Array.from({ length: 10_000 }, (_, index) =>
      peer(`p${index}`, `http://10.0.${Math.floor(index / 250)}.${index % 250}/`),
    )

    expect(near.peers.members()).toHaveLength(1024)
    expect(near.peers.members()).toHaveLength(1024)
    expect(near.made).toHaveLength(1024)
  })

  test('all are closed in the end', async () => {
    const near = new Neighbourhood()
    near.here = [peer('bob', wifi, tunnel)]
    near.peers.members()

    await near.peers.stop()

    expect([near.at(wifi).ended, near.at(tunnel).ended]).toEqual([1, 1])
    expect(near.peers.upstreams()).toEqual([])
  })
})

describe('peers that are real servers', () => {
  const servers: ScriptedUpstream[] = []
  const near: Peers<Upstream>[] = []

  afterEach(async () => {
    await Promise.all(near.splice(0).map((peers) => peers.stop()))
    await Promise.all(servers.splice(0).map((server) => server.close()))
  })

  async function start(): Promise<ScriptedUpstream> {
    const server = await startScriptedUpstream({ cache })
    servers.push(server)
    return server
  }

  function peersOf(source: PeerSource): Peers<Upstream> {
    const peers = new Peers({
      source,
      makeUpstream: ({ id, presence }, url) =>
        upstreamTo(url, cache, { name: id, stratum: 'near', peer: true, presence }),
    })
    near.push(peers)
    return peers
  }

  testSubstituter('a peer of the configuration', async () => {
    const server = await startScriptedUpstream({ cache })
    server.script(`/${broken}.narinfo`, { status: 500 })
    server.script(`/${silent}.narinfo`, { never: true })
    const peers = new Peers({
      source: staticPeers([{ id: 'bob', urls: [server.url.href], trust: 'transitive', presence: 'stationary' }]),
      makeUpstream: ({ id, presence }, url) => upstreamTo(url, cache, { name: id, peer: true, presence }),
    })
    return {
      substituter: peers.members()[0]!,
      has: { hash: hello.hash, file: hello.file },
      lacks: absentHash,
      cannotAnswer: broken,
      hangs: { hash: silent, asked: () => server.seen(`/${silent}.narinfo`) },
      opened: () => server.count(hello.narPath),
      cleanup: async () => {
        await peers.stop()
        await server.close()
      },
    }
  })

  test('are asked only for what they hold; that they would have to fetch it is a miss (case 140)', async () => {
    const server = await start()
    server.script(`/${absentHash}.narinfo`, { status: 504 })
    const peers = peersOf(
      staticPeers([{ id: 'bob', urls: [server.url.href], trust: 'transitive', presence: 'roaming' }]),
    )
    const stratum = new Stratum({ name: 'near', members: () => peers.members() })

    expect(await stratum.find({ hash: absentHash }, question({ loop: ['another'] }))).toBeUndefined()
    const found = await stratum.find({ hash: hello.hash }, question())
    await bytesOf(await found!.open(undefined, new AbortController().signal))

    expect(found).toMatchObject({ from: 'bob', peer: true })
    const asked = server.requests.filter(({ path }) => path !== '/nix-cache-info')
    expect(asked.map(({ headers }) => headers['cache-control'])).toEqual(asked.map(() => 'only-if-cached'))
    expect(asked[0]?.headers['cdn-loop']).toBe('another, this-proxy')
  })

  test('one of two addresses that is dead, and one that is hung, cost no request (case 101)', async () => {
    const [dead, hung, good] = await Promise.all([start(), start(), start()])
    await dead.down()
    hung.script(/\.narinfo$/, { never: true })
    const urls = [hung, dead, good].map(({ url }) => url.href)
    const peers = peersOf(staticPeers([{ id: 'bob', urls, trust: 'transitive', presence: 'roaming' }]))
    const stratum = new Stratum({ name: 'near', members: () => peers.members() })

    const found = await stratum.find({ hash: hello.hash }, question())

    expect(found?.narinfo.storePath.path).toBe(hello.storePath)
    await hung.idle()
    await peers.stop()
    await Promise.all([hung.disconnected(), good.disconnected()])
  })
})

async function* chunks(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text)
}
