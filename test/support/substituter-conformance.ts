// What every Substituter promises, whatever it is made of: each implementation runs this suite on itself.
//
//   testSubstituter('an upstream', async () => {
//     const cache = new SyntheticCache()
//     const hello = cache.add({ content: randomBytes(300_000) })
//     const server = await startScriptedUpstream({ cache })
//     const upstream = new Upstream({ … })
//     return {
//       substituter: upstream,
//       has: { hash: hello.hash, file: hello.file },
//       lacks: absentHash,
//       cleanup: async () => { await upstream.stop(); await server.close() },
//     }
//   })

import { afterEach, beforeEach, describe, expect, test, type TestContext } from 'vitest'

import { codeOf, ProxyError } from '../../src/errors.ts'
import { isSha256 } from '../../src/nix/hash.ts'
import { narIdentity, type NarIdentity } from '../../src/nix/nar-url.ts'
import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'
import type { ByteRange, Nar, Substitute, Substituter } from '../../src/substituter.ts'
import { Trail } from '../../src/trail.ts'
import { question } from './scripted-substituter.ts'

/** One implementation, set up for one test. What is optional is skipped where it is left out. */
export interface SubstituterFixture {
  readonly substituter: Substituter
  /** A path that it has, and its whole NAR file as it travels: at least 1000 bytes, better more than fits into a socket. */
  readonly has: { readonly hash: StoreHash; readonly file: Uint8Array }
  /** A path of which it says that it has not got it: `absentHash`, for instance. */
  readonly lacks: StoreHash
  /** A path about which it cannot answer: somebody fails, and nobody has it. */
  readonly cannotAnswer?: StoreHash
  /** A path about which it says nothing at all; `asked` is fulfilled when the question has arrived there. */
  readonly hangs?: { readonly hash: StoreHash; readonly asked: () => Promise<void> }
  /** How many NARs have been opened where they lie (requests for a NAR, opened files). */
  readonly opened?: () => number
  /** Must leave nothing behind: sockets, timers, files. */
  cleanup(): Promise<void>
}

/** A store hash that no test makes. */
export const absentHash = storeHash('0'.repeat(32))

/** For tests: a text that is known to be a store hash. */
export function storeHash(text: string): StoreHash {
  if (!isStoreHash(text)) throw new Error(`not a store hash: ${text}`)
  return text
}

/** Runs the suite; `make` is called anew for every test. */
export function testSubstituter(name: string, make: () => Promise<SubstituterFixture>): void {
  describe(`${name} is a substituter`, () => {
    let fixture: SubstituterFixture

    beforeEach(async () => {
      fixture = await make()
    })
    afterEach(() => fixture.cleanup())

    /** Asks for the path that it has. */
    async function found(trail = new Trail()): Promise<Substitute> {
      const substitute = await fixture.substituter.find({ hash: fixture.has.hash }, question({ trail }))
      if (!substitute) throw new Error('it has not got the path that its fixture says it has')
      return substitute
    }

    /** The optional part of a fixture, or the test is skipped. */
    function optional<T>(part: T | undefined, context: TestContext): T {
      return part ?? context.skip('the fixture has no such case')
    }

    test('it has a name', () => {
      expect(fixture.substituter.name).not.toBe('')
    })

    test('a path that it has is found, and the narinfo is of that path', async () => {
      const { narinfo, from } = await found()

      expect(narinfo.storePath.hash).toBe(fixture.has.hash)
      expect(from).not.toBe('')
    })

    test('a path that it lacks is undefined', async () => {
      await expect(fixture.substituter.find({ hash: fixture.lacks }, question())).resolves.toBeUndefined()
    })

    test('a failure is a ProxyError, never a miss', async (context) => {
      const hash = optional(fixture.cannotAnswer, context)

      const error = await rejection(fixture.substituter.find({ hash }, question()))

      expect(error).toBeInstanceOf(ProxyError)
      expect(codeOf(error)).not.toBe('aborted')
    })

    test('after a failure, what it has is found as before', async (context) => {
      const hash = optional(fixture.cannotAnswer, context)

      await rejection(fixture.substituter.find({ hash }, question()))

      await expect(found()).resolves.toBeDefined()
    })

    test('the very bytes that were promised are found, others are not there', async () => {
      const { hash } = fixture.has
      const nar = narIdentity((await found()).narinfo)

      const same = await fixture.substituter.find({ hash, nar }, question())
      const other = await fixture.substituter.find({ hash, nar: otherThan(nar) }, question())

      expect(same?.narinfo.storePath.hash).toBe(hash)
      expect(other).toBeUndefined()
    })

    test('many who ask at once get the same answer', async () => {
      const all = await Promise.all(Array.from({ length: 20 }, () => found()))

      expect(new Set(all.map(({ narinfo }) => narinfo.storePath.path)).size).toBe(1)
      expect(new Set(all.map(({ narinfo }) => narinfo.narHash)).size).toBe(1)
    })

    test('the whole NAR can be opened', async () => {
      const nar = await open(await found())

      expect(same(await bytesOf(nar), fixture.has.file)).toBe(true)
      expect([fixture.has.file.length, undefined]).toContain(nar.size)
    })

    test.each<[string, (size: number) => ByteRange]>([
      ['a part in the middle', () => ({ start: 10, end: 499 })],
      ['the first byte', () => ({ start: 0, end: 0 })],
      ['the last byte', (size) => ({ start: size - 1 })],
      ['the rest from somewhere', () => ({ start: 500 })],
      ['what there is of a part that ends past the end', (size) => ({ start: 500, end: size + 500 })],
    ])('%s of the NAR can be opened', async (_what, rangeOf) => {
      const { file } = fixture.has
      const { start, end = file.length } = rangeOf(file.length)

      const nar = await open(await found(), rangeOf(file.length))

      expect(same(await bytesOf(nar), file.subarray(start, end + 1))).toBe(true)
      expect([file.length, undefined]).toContain(nar.size)
    })

    test('a part that begins past the end is a bad range', async () => {
      const substitute = await found()

      const error = await rejection(open(substitute, { start: fixture.has.file.length }).then(bytesOf))

      expect(error).toBeInstanceOf(ProxyError)
      expect(codeOf(error)).toBe('bad-range')
    })

    test('two can read the same NAR at once', async () => {
      const substitute = await found()
      const [one, other] = await Promise.all([open(substitute), open(substitute)])

      const [first, second] = await Promise.all([bytesOf(one), bytesOf(other)])

      expect(same(first, fixture.has.file)).toBe(true)
      expect(same(second, fixture.has.file)).toBe(true)
    })

    test('a reader who leaves early does not spoil it for the next', async () => {
      const substitute = await found()
      const left = await open(substitute)
      const reader = left.body[Symbol.asyncIterator]()
      await reader.next()
      await reader.return?.()

      expect(same(await bytesOf(await open(substitute)), fixture.has.file)).toBe(true)
    })

    test('looking opens nothing', async (context) => {
      const opened = optional(fixture.opened, context)
      const before = opened()

      await found()

      expect(opened()).toBe(before)
    })

    test.each(['has', 'lacks'] as const)('who has gone before asking for what it %s is told so', async (which) => {
      const hash = which === 'has' ? fixture.has.hash : fixture.lacks

      const error = await rejection(fixture.substituter.find({ hash }, question({ signal: AbortSignal.abort() })))

      expect(error).toBeInstanceOf(ProxyError)
      expect(codeOf(error)).toBe('aborted')
    })

    test('an abort ends a question at once', async (context) => {
      const { hash, asked } = optional(fixture.hangs, context)
      const controller = new AbortController()
      const answer = rejection(fixture.substituter.find({ hash }, question({ signal: controller.signal })))
      await asked()

      controller.abort()
      const error = await answer

      expect(error).toBeInstanceOf(ProxyError)
      expect(codeOf(error)).toBe('aborted')
    })

    test('who has gone before opening the NAR is told so', async () => {
      const substitute = await found()

      const error = await rejection(substitute.open(undefined, AbortSignal.abort()))

      expect(error).toBeInstanceOf(ProxyError)
      expect(codeOf(error)).toBe('aborted')
    })

    test('an abort in the middle of a NAR never looks like its end', async () => {
      const controller = new AbortController()
      const nar = await (await found()).open(undefined, controller.signal)
      const chunks: Buffer[] = []

      const outcome = await (async () => {
        for await (const chunk of nar.body) {
          chunks.push(Buffer.from(chunk))
          controller.abort()
        }
        return Buffer.concat(chunks).equals(fixture.has.file) ? 'all of it' : 'a short end'
      })().catch(codeOf)

      // What was under way already may still come; then it comes whole.
      expect(['all of it', 'aborted']).toContain(outcome)
    })

    test('whoever is to be avoided gives nothing', async () => {
      const { from } = await found()
      const trail = new Trail()
      const asking = question({ trail, avoid: new Set([from]) })

      const other = await fixture.substituter.find({ hash: fixture.has.hash }, asking)

      expect(other?.from).not.toBe(from)
      const said = trail.entries.filter(({ who }) => who === from).map(({ outcome }) => outcome.kind)
      expect(said.filter((kind) => kind !== 'skipped')).toEqual([])
    })

    test('the trail says who had it, and whose signature', async () => {
      const trail = new Trail()

      const { from, signedBy } = await found(trail)

      const entry = trail.entries.find(({ outcome }) => outcome.kind === 'found')
      expect(entry).toMatchObject({ who: from, outcome: { kind: 'found', signedBy } })
      expect(entry?.answeredAt).toBeGreaterThanOrEqual(entry?.askedAt ?? Infinity)
      expect([from, undefined]).toContain(trail.winner)
    })

    test('the trail says who was asked in vain', async () => {
      const trail = new Trail()

      await fixture.substituter.find({ hash: fixture.lacks }, question({ trail }))

      expect(trail.entries.length).toBeGreaterThan(0)
      expect(trail.entries.map(({ outcome }) => outcome.kind)).not.toContain('found')
      expect(trail.entries.map(({ outcome }) => outcome.kind)).not.toContain('pending')
      expect(trail.winner).toBeUndefined()
    })

    test('the trail says who failed, and why', async (context) => {
      const hash = optional(fixture.cannotAnswer, context)
      const trail = new Trail()

      await rejection(fixture.substituter.find({ hash }, question({ trail })))

      const failed = trail.entries.map(({ outcome }) => outcome).filter((outcome) => outcome.kind === 'failed')
      expect(failed.length).toBeGreaterThan(0)
      expect(failed.map(({ why }) => why)).not.toContain('')
    })
  })
}

/** What a promise is rejected with; a test fails when it is not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error
  }
  throw new Error(`expected a rejection, got ${String(value)}`)
}

/** All bytes of a body, copied: a chunk is valid only until the next one is asked for. */
export async function bytesOf({ body }: Pick<Nar, 'body'>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

/** Compared as a whole: a difference shown byte by byte takes seconds and tells nobody anything. */
function same(bytes: Uint8Array, wanted: Uint8Array): boolean {
  return Buffer.compare(bytes, wanted) === 0
}

function open(substitute: Substitute, range?: ByteRange): Promise<Nar> {
  return substitute.open(range, new AbortController().signal)
}

/** Another promise for the same path: the last letter of its digest is another. */
function otherThan({ digest, compression }: NarIdentity): NarIdentity {
  const other = digest.slice(0, -1) + (digest.endsWith('0') ? '1' : '0')
  if (!isSha256(other)) throw new Error(`not a digest: ${other}`)
  return { digest: other, compression }
}
