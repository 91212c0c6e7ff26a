import { randomBytes } from 'node:crypto'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { narIdentity } from '../../src/nix/nar-url.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import type { Asking, ByteRange, Nar, Substitute } from '../../src/substituter.ts'
import { Trail } from '../../src/trail.ts'
import type { Upstream, UpstreamOptions } from '../../src/upstreams/upstream.ts'
import { upstreamTo } from '../support/real-upstream.ts'
import { question } from '../support/scripted-substituter.ts'
import { startScriptedUpstream, type Behaviour, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { absentHash, bytesOf, rejection, storeHash, testSubstituter } from '../support/substituter-conformance.ts'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'

const info = '/nix-cache-info'
const never = new AbortController().signal

let cache: SyntheticCache
let server: ScriptedUpstream
let hello: SyntheticEntry
const upstreams: Upstream[] = []

beforeEach(async () => {
  cache = new SyntheticCache()
  hello = cache.add({ content: randomBytes(300_000), compression: 'zstd' })
  server = await startScriptedUpstream({ cache })
})
afterEach(async () => {
  await Promise.all(upstreams.splice(0).map((upstream) => upstream.stop()))
  await server.close()
})

function upstreamWith(options: Partial<UpstreamOptions> = {}): Upstream {
  const upstream = upstreamTo(server.url, cache, { name: 'u', ...options })
  upstreams.push(upstream)
  return upstream
}

/** Asks for a path, `hello` unless said otherwise, and tells what came of it as the trail has it. */
async function ask(upstream: Upstream, entry: Pick<SyntheticEntry, 'hash'> = hello, parts: Partial<Asking> = {}) {
  const trail = new Trail()
  let found: Substitute | undefined
  let failure: unknown
  try {
    found = await upstream.find({ hash: entry.hash }, question({ trail, ...parts }))
  } catch (error) {
    failure = error
  }
  return { found, failure, outcome: trail.entries[0]?.outcome }
}

async function found(upstream: Upstream, entry: SyntheticEntry = hello): Promise<Substitute> {
  const answer = await ask(upstream, entry)
  if (answer.found === undefined) throw new Error('not found', { cause: answer.failure ?? answer.outcome })
  return answer.found
}

async function open(upstream: Upstream, range?: ByteRange, entry = hello, signal = never): Promise<Nar> {
  return (await found(upstream, entry)).open(range, signal)
}

/** A cache whose narinfo of `hello` reads otherwise. */
function retold(edit: (text: string) => string): void {
  cache.put(hello.narinfoPath, edit(hello.narinfo))
}

testSubstituter('an upstream', async () => {
  const own = new SyntheticCache()
  const entry = own.add({ content: randomBytes(300_000), compression: 'zstd' })
  const failing = storeHash('1'.repeat(32))
  const silent = storeHash('2'.repeat(32))
  const scripted = await startScriptedUpstream({ cache: own })
  scripted.script(`/${failing}.narinfo`, { status: 500 })
  scripted.script(`/${silent}.narinfo`, { never: true })
  const upstream = upstreamTo(scripted.url, own)
  return {
    substituter: upstream,
    has: entry,
    lacks: absentHash,
    cannotAnswer: failing,
    hangs: { hash: silent, asked: () => scripted.seen(`/${silent}.narinfo`) },
    opened: () => scripted.count(/^\/nar\//),
    cleanup: async () => {
      await upstream.stop()
      await scripted.disconnected()
      await scripted.close()
    },
  }
})

describe('what is sent', () => {
  test('every request says who asks, through whom, and for plain bytes', async () => {
    const upstream = upstreamWith({ userAgent: 'substrata/1.2.3' })
    const { found } = await ask(upstream, hello, { loop: ['a', 'b'] })
    await bytesOf(await found!.open({ start: 5 }, never))
    const sent = server.requests.filter(({ path }) => path !== info)
    expect(sent.map(({ path }) => path)).toEqual([hello.narinfoPath, hello.narPath])
    for (const { headers } of sent) {
      expect(headers).toMatchObject({
        'cdn-loop': 'a, b, this-proxy',
        'accept-encoding': 'identity',
        'user-agent': 'substrata/1.2.3',
      })
      expect(headers).not.toHaveProperty('cache-control')
      expect(headers).not.toHaveProperty('authorization')
    }
    expect(sent[1]?.headers.range).toBe('bytes=5-')
  })

  test('case 140: a peer is asked only for what it has', async () => {
    await found(upstreamWith({ peer: true }))
    expect(server.requests.every(({ headers }) => headers['cache-control'] === 'only-if-cached')).toBe(true)
  })

  test('credentials and headers of the operator go along', async () => {
    const credentials = { login: 'me', password: 'pass:wörd' }
    await found(upstreamWith({ credentials, headers: { 'X-Token': 'secret', 'User-Agent': 'mine' } }))
    const { headers } = server.requests.find(({ path }) => path === hello.narinfoPath)!
    expect(headers).toMatchObject({
      authorization: `Basic ${Buffer.from('me:pass:wörd').toString('base64')}`,
      'x-token': 'secret',
      'user-agent': 'mine',
    })
  })

  test('case 55: to another host that a narinfo names, and that is allowed, go neither credentials nor those headers', async () => {
    const cdn = await startScriptedUpstream({ cache })
    try {
      const url = `http://127.0.0.1:${cdn.port}/files/x?sig=1`
      const entry = cache.add({ url })
      const options = { allowedHosts: [cdn.url.host], headers: { 'x-token': 'secret' } }
      const upstream = upstreamWith({ ...options, credentials: { login: 'me', password: 'secret' } })
      expect(Buffer.compare(await bytesOf(await open(upstream, undefined, entry)), entry.file)).toBe(0)
      expect(cdn.requests.map(({ url }) => url)).toEqual(['/files/x?sig=1'])
      expect(Object.keys(cdn.requests[0]!.headers)).not.toEqual(expect.arrayContaining(['authorization']))
      expect(cdn.requests[0]!.headers).not.toHaveProperty('x-token')
    } finally {
      await cdn.close()
    }
  })

  test('a base path is kept, with or without slash at its end, and what else stands in the URL is not', async () => {
    const nested = await startScriptedUpstream({ cache, basePath: '/team/cache/' })
    try {
      for (const path of ['/team/cache', '/team/cache/']) {
        const url = new URL(`http://me:secret@127.0.0.1:${nested.port}${path}?priority=10#x`)
        const upstream = upstreamTo(url, cache, { name: 'nested' })
        upstreams.push(upstream)
        await bytesOf(await open(upstream))
        expect(upstream.status().url).toBe(`http://127.0.0.1:${nested.port}/team/cache/`)
      }
      expect(nested.requests.every(({ url }) => url.startsWith('/team/cache/') && !url.includes('priority'))).toBe(true)
    } finally {
      await nested.close()
    }
  })
})

describe('whom to believe', () => {
  test('a narinfo with a signature of a trusted key is found, and the key named', async () => {
    const { found, outcome } = await ask(upstreamWith())
    expect(found).toMatchObject({ from: 'u', signedBy: 'cache.test-1', peer: false })
    expect(outcome).toEqual({ kind: 'found', signedBy: 'cache.test-1' })
  })

  test('several keys may be trusted', async () => {
    const keys = [new SyntheticCache({ keyName: 'other-1' }), cache].map(({ publicKey }) => parsePublicKey(publicKey))
    expect(await found(upstreamWith({ keys }))).toMatchObject({ signedBy: 'cache.test-1' })
  })

  test('cases 46, 47, 49, 53: one that nobody we trust has signed is a miss, and the trail says why', async () => {
    const upstream = upstreamWith()
    const stranger = new SyntheticCache({ keyName: 'stranger-1' })
    const impostor = new SyntheticCache({ keyName: cache.keyName })
    const fingerprint = cache.fingerprint(hello.storePath, hello.narHash, hello.nar.length, [])
    const sig = (line: string | undefined) => (text: string) =>
      text.replace(/^Sig: .*\n/m, line === undefined ? '' : `Sig: ${line}\n`)
    const edits = [
      [sig(undefined), ': it has none'],
      [sig(stranger.sign(fingerprint)), ', only of stranger-1'],
      [sig(impostor.sign(fingerprint)), ': that of cache.test-1 is wrong'],
      [(text: string) => text.replace(/^NarSize: .*$/m, 'NarSize: 1'), ': that of cache.test-1 is wrong'],
      [
        (text: string) => text.replace(/^References: $/m, `References: ${hello.baseName}`),
        ': that of cache.test-1 is wrong',
      ],
    ] as const
    for (const [edit, which] of edits) {
      retold(edit)
      const { found, failure, outcome } = await ask(upstream)
      expect([found, failure]).toEqual([undefined, undefined])
      expect(outcome).toEqual({ kind: 'refused', why: `no signature of a trusted key${which}` })
    }
    expect(upstream.health.state).toBe('ok')
    retold((text) => text)
    await found(upstream)
  })

  test('case 48: a content-addressed path proves itself; a false claim does not', async () => {
    const upstream = upstreamWith()
    const proved = cache.add({ contentAddressed: true, signed: false })
    expect(await found(upstream, proved)).toMatchObject({ signedBy: 'ca' })
    const claimed = cache.add({ signed: false, fields: { CA: `fixed:r:sha256:${hello.narHash}` } })
    expect(await ask(upstream, claimed)).toMatchObject({ found: undefined, outcome: { kind: 'refused' } })
  })

  test('case 48: of a peer, the proof must be about the very NAR it sends', async () => {
    const flat = cache.add({ content: 'fetched', contentAddressed: 'flat', signed: false })
    const whole = cache.add({ contentAddressed: true, signed: false })
    expect(await found(upstreamWith(), flat)).toMatchObject({ signedBy: 'ca' })
    expect(await ask(upstreamWith({ peer: true }), flat)).toMatchObject({
      found: undefined,
      outcome: { kind: 'refused' },
    })
    expect(await found(upstreamWith({ peer: true }), whole)).toMatchObject({ signedBy: 'ca' })
  })

  test('cases 46, 143: without keys the client decides', async () => {
    const unsigned = cache.add({ signed: false })
    expect(await found(upstreamWith({ keys: [] }), unsigned)).toMatchObject({ signedBy: undefined })
  })

  test('case 64: the very bytes that are wanted, or none', async () => {
    const upstream = upstreamWith()
    const nar = narIdentity(parseNarInfo(hello.narinfo, '/nix/store'))
    const trail = new Trail()
    expect(await upstream.find({ hash: hello.hash, nar }, question())).toBeDefined()
    const other = { ...nar, compression: 'xz' as const }
    expect(await upstream.find({ hash: hello.hash, nar: other }, question({ trail }))).toBeUndefined()
    expect(trail.entries[0]?.outcome).toEqual({ kind: 'refused', why: 'has other bytes' })
  })

  test('a peer may not send what costs too much to check', async () => {
    const entry = cache.add({ compression: 'gzip' })
    expect(await found(upstreamWith(), entry)).toMatchObject({ peer: false })
    const { found: none, outcome } = await ask(upstreamWith({ peer: true }), entry)
    expect([none, outcome]).toEqual([undefined, { kind: 'refused', why: 'gzip is not taken from peers' }])
    expect(await found(upstreamWith({ peer: true }))).toMatchObject({ peer: true })
  })
})

describe('what counts as a narinfo', () => {
  const failures: [string, string, Behaviour][] = [
    ['case 16: a captive portal', 'bad-narinfo', { html: true }],
    ['case 17: a redirect to a login page', 'bad-narinfo', { redirect: 'http://login.example.com/' }],
    ['case 41: ten megabytes', 'bad-narinfo', { body: 'X: '.padEnd(10_000_000, 'y') }],
    ['case 41: an endless body', 'bad-narinfo', { endless: true }],
    ['case 42: a bomb', 'bad-narinfo', { body: 'X: '.padEnd(50_000_000, 'y'), encoding: 'gzip' }],
    ['case 42: an encoding we do not know', 'damaged', { headers: { 'content-encoding': 'compress' } }],
    [
      'case 43: gzip that is not declared',
      'bad-narinfo',
      { encoding: 'gzip', headers: { 'content-encoding': undefined } },
    ],
    ['a cut body', 'unreachable', { cutAfter: 50 }],
    ['case 99: 204', 'bad-status', { status: 204, body: '' }],
    ['case 99: 206', 'bad-status', { lie206: { contentRange: 'bytes 0-9/100', start: 0, end: 9 } }],
    ['case 99: 304', 'bad-status', { status: 304, body: '' }],
    ['case 95: 500', 'bad-status', { status: 500 }],
    ['case 94: 503', 'bad-status', { status: 503 }],
    ['504 from one that is no peer', 'bad-status', { status: 504 }],
    ['451', 'bad-status', { status: 451 }],
    ['case 104: no HTTP', 'damaged', { raw: 'hello\r\n' }],
    ['a hang-up', 'unreachable', { hangUp: 'close' }],
    ['case 20: a path of another store', 'bad-narinfo', { body: 'StorePath: /gnu/store/x\n' }],
  ]

  test.each(failures)('%s is %s: a failure, never a miss', async (_, code, behaviour) => {
    const upstream = upstreamWith()
    server.script(hello.narinfoPath, behaviour)
    const { failure, outcome } = await ask(upstream)
    expect(failure).toBeInstanceOf(ProxyError)
    expect(failure).toMatchObject({ code, message: expect.stringMatching(/^upstream u: \S/) })
    expect(outcome).toMatchObject({ kind: 'failed', code })
    expect(upstream.health.failuresInARow).toBe(1)
    server.unscript()
    await found(upstream)
    expect(upstream.health.failuresInARow).toBe(0)
    await server.idle()
  })

  test('case 18: the narinfo of another path is a failure', async () => {
    const other = cache.add()
    server.script(hello.narinfoPath, { body: other.narinfo })
    const { failure } = await ask(upstreamWith())
    expect(failure).toMatchObject({ code: 'bad-narinfo', message: expect.stringContaining(other.storePath) })
  })

  test('case 41: a byte now and then is given up in time', async () => {
    server.script(hello.narinfoPath, { drip: { bytes: 1, every: 20 } })
    const { failure } = await ask(upstreamWith({ limits: { narinfo: 100 } }))
    expect(failure).toMatchObject({ code: 'timeout', message: 'upstream u: no whole answer within 100 ms' })
    await server.idle()
  })

  test('case 85: silence is given up in time', async () => {
    server.script(hello.narinfoPath, { never: true })
    const { failure } = await ask(upstreamWith({ limits: { firstByte: 50 } }))
    expect(failure).toMatchObject({ code: 'timeout', message: 'upstream u: no first byte within 50 ms' })
    await server.idle()
  })

  test.each(['gzip', 'br', 'zstd'] as const)('case 42: %s is taken off, though we asked for none', async (encoding) => {
    server.script(hello.narinfoPath, { encoding })
    expect(await found(upstreamWith())).toMatchObject({ signedBy: 'cache.test-1' })
  })

  test('case 44: its Content-Type says nothing', async () => {
    server.script(hello.narinfoPath, { headers: { 'content-type': 'text/html' } })
    expect(await found(upstreamWith())).toMatchObject({ signedBy: 'cache.test-1' })
  })

  test('cases 54, 55, 56: with a NAR somewhere it may not be, it is a failure that is logged once and costs no health', async () => {
    const lines: string[] = []
    const log = createLog({ level: 'debug', format: 'text', write: (line) => lines.push(line) })
    const upstream = upstreamWith({ log })
    for (const url of [
      '../../etc/passwd',
      'http://169.254.169.254/x',
      'file:///etc/passwd',
      'https://cdn.example.org/x',
    ]) {
      retold((text) => text.replace(/^URL: .*$/m, `URL: ${url}`))
      expect(await ask(upstream)).toMatchObject({ failure: { code: 'bad-address' }, outcome: { kind: 'failed' } })
    }
    expect(upstream.health.failuresInARow).toBe(0)
    expect(lines).toHaveLength(1)
  })
})

describe('misses', () => {
  test.each([404, 410])('case 91: %i is a miss, and believed for a while', async (status) => {
    let now = 0
    const upstream = upstreamWith({ clock: () => now })
    server.script(hello.narinfoPath, { status, body: 'not here' })
    expect(await ask(upstream)).toMatchObject({ found: undefined, outcome: { kind: 'missed' } })
    server.unscript()
    expect(await ask(upstream)).toMatchObject({
      found: undefined,
      outcome: { kind: 'skipped', why: 'said no a moment ago' },
    })
    now += 10_000
    await found(upstream)
    expect(server.count(hello.narinfoPath)).toBe(2)
  })

  test('what was uploaded since is asked for again', async () => {
    const upstream = upstreamWith()
    server.script(hello.narinfoPath, { status: 404, times: 1 })
    expect(await ask(upstream)).toMatchObject({ found: undefined })
    upstream.forget(hello.hash)
    await found(upstream)
  })

  test("a peer's miss is not believed for a moment, 504 is one, too", async () => {
    const upstream = upstreamWith({ peer: true })
    server.script(hello.narinfoPath, { status: 504, times: 1 })
    server.script(hello.narinfoPath, { status: 404, times: 1 })
    expect(await ask(upstream)).toMatchObject({ outcome: { kind: 'missed' } })
    expect(await ask(upstream)).toMatchObject({ outcome: { kind: 'missed' } })
    await found(upstream)
  })

  test('case 92: 403 is a miss that is not remembered, as long as not everything is 403', async () => {
    const upstream = upstreamWith()
    server.script(hello.narinfoPath, { status: 403, times: 1 })
    expect(await ask(upstream)).toMatchObject({ found: undefined, failure: undefined, outcome: { kind: 'missed' } })
    await found(upstream)
  })

  test('case 92: where nix-cache-info is 403 as well, 403 is a failure, and one is enough', async () => {
    server.script(/./, { status: 403 })
    const upstream = upstreamWith()
    upstream.start()
    await server.seen(info)
    await until(async () => (await ask(upstream)).failure !== undefined)
    expect(upstream.status()).toMatchObject({ state: 'open', lastFailure: 'upstream u: 403 Forbidden' })
  })

  test('whoever is to be avoided is passed over', async () => {
    const { found, outcome } = await ask(upstreamWith(), hello, { avoid: new Set(['u']) })
    expect([found, outcome]).toEqual([undefined, { kind: 'skipped', why: 'has just failed this question' }])
    expect(server.connectionsEver).toBe(0)
  })
})

describe('NARs', () => {
  test('the whole, and where it was asked for as its narinfo says', async () => {
    const nar = await open(upstreamWith())
    expect(nar.size).toBe(hello.file.length)
    expect(Buffer.compare(await bytesOf(nar), hello.file)).toBe(0)
  })

  test.each(['/nar/x.nar?hash=1&X-Amz-Signature=a%2Fb', 'files/6f3c9f0e', 'x'])(
    'cases 57, 58, 59: at %s',
    async (url) => {
      const entry = cache.add({ url })
      await bytesOf(await open(upstreamWith(), undefined, entry))
      expect(server.requests.at(-1)?.url).toBe(new URL(url, 'http://x').href.slice('http://x'.length))
    },
  )

  test('case 82: without Content-Length its size is not known, unless it travels as it is', async () => {
    const plain = cache.add({ content: randomBytes(5000) })
    server.script(/^\/nar\//, { chunked: true })
    const upstream = upstreamWith()
    const packed = await open(upstream)
    expect(packed.size).toBeUndefined()
    expect(Buffer.compare(await bytesOf(packed), hello.file)).toBe(0)
    const nar = await open(upstream, undefined, plain)
    expect(nar.size).toBe(plain.nar.length)
    expect(Buffer.compare(await bytesOf(nar), plain.nar)).toBe(0)
  })

  test.each([404, 410, 403])('case 58: %i is gone, and no fault of the upstream', async (status) => {
    const upstream = upstreamWith()
    server.script(hello.narPath, { status })
    expect(await rejection(open(upstream))).toMatchObject({ code: 'gone' })
    expect(upstream.health.failuresInARow).toBe(0)
  })

  const bad: [string, string, ByteRange | undefined, Behaviour][] = [
    [
      'case 76: 206 without Range',
      'damaged',
      undefined,
      { lie206: { contentRange: 'bytes 0-9/100', start: 0, end: 9 } },
    ],
    ['case 76: 200 to a Range', 'damaged', { start: 5 }, { ignoreRange: true }],
    ['case 76: another part', 'damaged', { start: 5 }, { lie206: { contentRange: 'bytes 6-9/100', start: 6, end: 9 } }],
    ['case 76: no Content-Range', 'damaged', { start: 5 }, { lie206: { contentRange: undefined, start: 5, end: 9 } }],
    ['case 77: a Content-Encoding', 'damaged', undefined, { encoding: 'gzip' }],
    ['case 88: nothing', 'damaged', undefined, { body: '' }],
    ['case 95: 500', 'bad-status', undefined, { status: 500 }],
    ['case 93: 401', 'bad-status', undefined, { status: 401 }],
    ['case 85: silence', 'timeout', undefined, { never: true }],
    ['a hang-up', 'unreachable', undefined, { hangUp: 'reset' }],
    ['case 56: a redirect into our network', 'bad-address', undefined, { redirect: 'http://127.0.0.1:1/x' }],
  ]

  test.each(bad)('%s fails as %s before any byte', async (_, code, range, behaviour) => {
    const upstream = upstreamWith({ limits: { firstByte: 100 } })
    server.script(hello.narPath, behaviour)
    const failure = await rejection(open(upstream, range))
    expect(failure).toBeInstanceOf(ProxyError)
    expect(failure).toMatchObject({ code, message: expect.stringMatching(/^upstream u: \S/) })
    await server.idle()
  })

  const broken: [string, string, Behaviour][] = [
    ['cases 66, 67: cut', 'damaged', { cutAfter: 1000 }],
    ['case 67: cut without a length', 'damaged', { cutAfter: 1000, chunked: true }],
    ['case 68: endless', 'damaged', { endless: true }],
    ['case 86: stalled', 'timeout', { stallAfter: 1000 }],
    ['case 136: dripping', 'timeout', { drip: { bytes: 10, every: 10 } }],
  ]

  test.each(broken)('a body that is %s ends as %s, and counts', async (_, code, behaviour) => {
    const upstream = upstreamWith({ limits: { lowSpeed: { bytesPerSecond: 10_000, window: 100 } } })
    server.script(hello.narPath, behaviour)
    const failure = await rejection(open(upstream).then(bytesOf))
    expect(failure).toBeInstanceOf(ProxyError)
    expect(failure).toMatchObject({ code, message: expect.stringMatching(/^upstream u: \S/) })
    expect(upstream.health.failuresInARow).toBe(1)
    await server.idle()
  })

  test('case 68: a clean end that comes too early is cut, where the length is known', async () => {
    const plain = cache.add({ content: randomBytes(5000) })
    server.script(plain.narPath, { chunked: true, endAfter: 3000 })
    const failure = await rejection(open(upstreamWith(), undefined, plain).then(bytesOf))
    expect(failure).toMatchObject({
      code: 'damaged',
      message: `upstream u: cut after 3000 of ${plain.nar.length} bytes`,
    })
  })

  test('whoever leaves, before or within the body, frees the socket, and blames nobody', async () => {
    const upstream = upstreamWith()
    server.script(hello.narPath, { endless: true })
    const unread = await open(upstream)
    await unread.body[Symbol.asyncIterator]().return?.()
    for await (const _ of (await open(upstream)).body) break
    const controller = new AbortController()
    const aborted = await open(upstream, undefined, hello, controller.signal)
    controller.abort()
    expect(await rejection(bytesOf(aborted))).toMatchObject({ code: 'aborted' })
    await server.idle()
    expect(upstream.health.failuresInARow).toBe(0)
  })

  test('many are open at once, but not too many; the next waits for its turn, or gives up', async () => {
    const upstream = upstreamWith({ limits: { transfers: 2 } })
    const substitute = await found(upstream)
    const [one, two] = [await substitute.open(undefined, never), await substitute.open(undefined, never)]
    const controller = new AbortController()
    const hasty = rejection(substitute.open(undefined, controller.signal))
    const third = substitute.open(undefined, never)
    expect(server.count(hello.narPath)).toBe(2)
    controller.abort()
    expect(await hasty).toMatchObject({ code: 'aborted' })
    await bytesOf(one)
    expect(Buffer.compare(await bytesOf(await third), hello.file)).toBe(0)
    await two.body[Symbol.asyncIterator]().return?.()
    expect(server.count(hello.narPath)).toBe(3)
  })

  test('a turn that came to nothing goes to the next', async () => {
    const upstream = upstreamWith({ limits: { transfers: 1 } })
    const substitute = await found(upstream)
    for (const behaviour of [{ hangUp: 'close' }, { status: 404 }] as const) {
      server.script(hello.narPath, behaviour)
      await rejection(substitute.open(undefined, never))
    }
    expect(await upstream.get('log/x.drv', question())).toBeUndefined()
    server.script(hello.narPath, { ignoreRange: true, endless: true })
    expect(await rejection(substitute.open({ start: 5 }, never))).toMatchObject({ code: 'damaged' })
    server.unscript()
    expect(Buffer.compare(await bytesOf(await substitute.open(undefined, never)), hello.file)).toBe(0)
  })

  test('case 69: what proves bad later counts, too', async () => {
    const upstream = upstreamWith()
    const { found } = await ask(upstream)
    found?.blame?.(new ProxyError('damaged', 'upstream u: NarHash is wrong'))
    expect(upstream.status()).toMatchObject({ failuresInARow: 1, lastFailure: 'upstream u: NarHash is wrong' })
  })
})

describe('health', () => {
  test('case 95: after three failures nobody waits, and the failure is never a miss', async () => {
    const upstream = upstreamWith()
    server.script(/./, { status: 500 })
    for (let n = 0; n < 3; n += 1) await ask(upstream)
    const before = server.count(hello.narinfoPath)
    const { failure, outcome } = await ask(upstream)
    expect(failure).toMatchObject({ code: 'unreachable', message: 'upstream u: circuit open' })
    expect((failure as Error).cause).toMatchObject({ message: 'upstream u: 500 Internal Server Error' })
    expect(outcome).toEqual({ kind: 'skipped', why: 'circuit open' })
    expect(server.count(hello.narinfoPath)).toBe(before)
    expect(upstream.status()).toMatchObject({ state: 'open', lastFailure: 'upstream u: 500 Internal Server Error' })
  })

  test('case 106: when the link is back, so is the upstream, without any client having asked', async () => {
    const lines: string[] = []
    let changed = (): void => {}
    const write = (line: string) => {
      lines.push(line.slice(25).trimEnd())
      changed()
    }
    const log = createLog({ level: 'info', format: 'text', write })
    const upstream = upstreamWith({ log, random: () => 0 })
    await found(upstream)
    await server.down()
    while (upstream.health.state === 'ok') await ask(upstream)
    expect(lines).toEqual(['warn  upstream u: connection refused; not asked until it answers again'])
    const back = new Promise<void>((resolve) => (changed = resolve))
    await server.up()
    await back
    expect(lines.slice(1)).toEqual(['info  upstream u: is back'])
    await found(upstream)
  })

  test('when the circuit opens, connections that may be dead are not kept', async () => {
    const upstream = upstreamWith({ random: () => 1 })
    await found(upstream)
    server.script(hello.narinfoPath, { status: 500, body: 'no' })
    while (upstream.health.state === 'ok') await ask(upstream)
    await server.disconnected()
    expect(upstream.health.state).toBe('open')
  })

  test('case 93: one 401 is enough, it is neither a miss nor forwarded, and it is logged once', async () => {
    const lines: string[] = []
    const log = createLog({ level: 'warn', format: 'text', write: (line) => lines.push(line.slice(25).trimEnd()) })
    const upstream = upstreamWith({ log })
    server.script(/./, { status: 401 })
    expect(await ask(upstream)).toMatchObject({ failure: { code: 'bad-status' }, outcome: { kind: 'failed' } })
    expect(await ask(upstream)).toMatchObject({ failure: { code: 'unreachable' }, outcome: { kind: 'skipped' } })
    expect(lines).toEqual(['warn  upstream u: 401 Unauthorized; not asked until it answers again'])
  })

  test('case 94: with Retry-After it is left alone for that time', async () => {
    let now = 0
    const upstream = upstreamWith({ clock: () => now })
    server.script(hello.narinfoPath, { status: 429, headers: { 'retry-after': '1000000000' }, times: 1 })
    expect(await ask(upstream)).toMatchObject({ failure: { code: 'bad-status' } })
    expect(await ask(upstream)).toMatchObject({
      failure: { code: 'unreachable' },
      outcome: { kind: 'skipped', why: 'cooling down for 60 s' },
    })
    expect(upstream.status().state).toBe('cooldown')
    now += 60_000
    await found(upstream)
  })

  test('case 2: an upstream for another store has nothing of ours', async () => {
    cache.put(info, 'StoreDir: /other/store\n')
    const upstream = upstreamWith()
    upstream.start()
    await until(async () => upstream.status().state === 'disabled')
    expect(await ask(upstream)).toMatchObject({
      found: undefined,
      failure: undefined,
      outcome: { kind: 'skipped', why: 'is for /other/store' },
    })
  })

  test('case 105: a question that was given up is nobody’s fault, stays pending in the trail, and frees the socket', async () => {
    const upstream = upstreamWith()
    server.script(hello.narinfoPath, { never: true })
    for (let n = 0; n < 4; n += 1) {
      const controller = new AbortController()
      const answer = ask(upstream, hello, { signal: controller.signal })
      await server.seen(hello.narinfoPath, n + 1)
      controller.abort(new ProxyError(n % 2 === 0 ? 'aborted' : 'timeout', 'the reason of somebody else'))
      expect(await answer).toMatchObject({ failure: { code: 'aborted' }, outcome: { kind: 'pending' } })
    }
    await server.idle()
    expect(upstream.health.failuresInARow).toBe(0)
  })

  test('no request waits for nix-cache-info', async () => {
    server.script(info, { never: true })
    const upstream = upstreamWith()
    upstream.start()
    await server.seen(info)
    await found(upstream)
    expect(upstream.status().verified).toBe(false)
  })

  test('case 12: so many narinfos are asked for at once, the others follow', async () => {
    const upstream = upstreamWith({ limits: { lookups: 3 } })
    let most = 0
    server.script(/\.narinfo$/, { delay: 5, when: () => (most = Math.max(most, server.underWay)) >= 0 })
    server.script(info, { status: 404 })
    upstream.start()
    await server.seen(info)
    await server.idle()
    const entries = Array.from({ length: 12 }, () => cache.add())
    const answers = await Promise.all(entries.map((entry) => ask(upstream, entry)))
    expect(answers.every(({ found }) => found !== undefined)).toBe(true)
    expect(most).toBe(3)
  })

  test('who stands in line when the circuit opens is sent away without asking', async () => {
    const upstream = upstreamWith({ limits: { lookups: 1 } })
    server.script(/./, { status: 500 })
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(upstream)))
    expect(server.count(hello.narinfoPath)).toBeLessThanOrEqual(3)
    expect(answers.at(-1)).toMatchObject({ failure: { code: 'unreachable' }, outcome: { kind: 'skipped' } })
  })

  test('the status tells what there is to know, and no secret', async () => {
    const upstream = upstreamWith({ credentials: { login: 'me', password: 'secret' } })
    await found(upstream)
    await until(async () => upstream.status().verified)
    const status = upstream.status()
    expect(status).toMatchObject({
      name: 'u',
      url: server.url.href,
      stratum: 'test',
      peer: false,
      state: 'ok',
      lastFailure: undefined,
      failuresInARow: 0,
    })
    expect(status.latency).toBeGreaterThan(0)
    expect(JSON.stringify(status)).not.toContain('secret')
  })

  test('stopping ends everything that runs, and leaves no socket', async () => {
    const upstream = upstreamWith()
    server.script(hello.narPath, { endless: true })
    const nar = await open(upstream)
    server.script(hello.narinfoPath, { never: true })
    const running = ask(upstream)
    await server.seen(hello.narinfoPath, 2)
    await upstream.stop()
    expect((await running).failure).toMatchObject({ code: 'aborted' })
    await expect(bytesOf(nar)).rejects.toMatchObject({ code: 'aborted' })
    await server.disconnected()
    expect((await ask(upstream)).failure).toMatchObject({ code: 'aborted' })
  })
})

describe('other things', () => {
  const get = (upstream: Upstream, path: string, range?: ByteRange, trail = new Trail()) =>
    upstream.get(path, question({ trail }), range)

  test('case 114: a log comes as it is', async () => {
    cache.put('/log/x.drv', 'a log\n', 'text/plain; charset=utf-8')
    const trail = new Trail()
    const resource = await get(upstreamWith(), 'log/x.drv', undefined, trail)
    expect(resource).toMatchObject({ contentType: 'text/plain; charset=utf-8', size: 6, from: 'u' })
    expect(String(await bytesOf(resource!))).toBe('a log\n')
    expect(trail.entries[0]?.outcome).toEqual({ kind: 'found', signedBy: undefined })
  })

  test.each(['gzip', 'br', 'zstd'] as const)('a log that is stored as %s is decoded', async (encoding) => {
    cache.put('/log/x.drv', 'a log\n'.repeat(1000))
    server.script('/log/x.drv', { encoding })
    const resource = await get(upstreamWith(), 'log/x.drv')
    expect(resource?.size).toBeUndefined()
    expect(String(await bytesOf(resource!))).toBe('a log\n'.repeat(1000))
  })

  test('case 62: a NAR under the URL of other software, with its query, whole or in part', async () => {
    const upstream = upstreamWith()
    const path = `${hello.narPath.slice(1)}?hash=1`
    expect(Buffer.compare(await bytesOf((await get(upstream, path))!), hello.file)).toBe(0)
    const part = await get(upstream, path, { start: 10, end: 19 })
    expect(part?.size).toBe(hello.file.length)
    expect(Buffer.compare(await bytesOf(part!), hello.file.subarray(10, 20))).toBe(0)
    expect(server.requests.at(-1)?.url).toBe(`/${path}`)
  })

  test('cases 76, 77: a NAR with an encoding, or another part than was asked for, is refused', async () => {
    const upstream = upstreamWith()
    const path = hello.narPath.slice(1)
    server.script(hello.narPath, { encoding: 'gzip', times: 1 })
    expect(await rejection(get(upstream, path))).toMatchObject({ code: 'damaged' })
    server.script(hello.narPath, { ignoreRange: true, times: 1 })
    expect(await rejection(get(upstream, path, { start: 1 }))).toMatchObject({ code: 'damaged' })
  })

  test('what is not there is a miss, and what fails a failure', async () => {
    const upstream = upstreamWith()
    const trail = new Trail()
    expect(await get(upstream, 'log/y.drv', undefined, trail)).toBeUndefined()
    server.script('/log/y.drv', { status: 500 })
    expect(await rejection(get(upstream, 'log/y.drv', undefined, trail))).toMatchObject({ code: 'bad-status' })
    expect(trail.entries.map(({ outcome }) => outcome.kind)).toEqual(['missed', 'failed'])
  })

  test('a path never leads out of the upstream', async () => {
    const nested = await startScriptedUpstream({ cache, basePath: '/team/' })
    try {
      const upstream = upstreamTo(nested.url, cache)
      upstreams.push(upstream)
      for (const path of ['../x', '/x', '//127.0.0.1/x', 'log/../../x', 'http://127.0.0.1/x']) {
        const failure = await rejection(
          get(upstream, path).then((found) => found ?? Promise.reject(new Error('asked'))),
        )
        expect(nested.requests.filter(({ url }) => !url.startsWith('/team/'))).toEqual([])
        expect(failure).toBeDefined()
      }
    } finally {
      await nested.close()
    }
  })
})

/** Looks again and again, a turn at a time; bounded by the test's own limit. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}
