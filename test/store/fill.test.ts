// A fill: many clients follow one growing file, the last byte waits for the proof, and nothing wrong is kept or ends well.

import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open, readdir, rm, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { compress as zstdSync } from 'zstd-napi'

import { ProxyError } from '../../src/errors.ts'
import { sha256FromDigest } from '../../src/nix/hash.ts'
import { parseNarInfo, type NarInfo } from '../../src/nix/narinfo.ts'
import { Fill, type Rest } from '../../src/store/fill.ts'
import { diskError } from '../../src/store/gathered-writer.ts'
import type { Reservation } from '../../src/store/reservation.ts'
import { Verifier } from '../../src/store/verifier.ts'
import type { Substitute } from '../../src/substituter.ts'
import { SyntheticCache, type EntryOptions } from '../support/synthetic-cache.ts'

let dir: string
let verifier: Verifier
let commits: string[]

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'substrata-fill-'))
  verifier = new Verifier({ threads: 1 })
  commits = []
})

afterEach(async () => {
  expect((await readdir(dir)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  await verifier.close()
  await rm(dir, { recursive: true })
})

/** A place on disk of our own, which refuses after `room` bytes. */
async function reserve(room = Infinity): Promise<Reservation> {
  const path = join(dir, `${randomBytes(6).toString('hex')}.tmp`)
  const file = await open(path, 'wx+')
  let reserved = 0
  return {
    file,
    path,
    grow: (bytes) => {
      reserved += bytes
      return reserved > room
        ? Promise.reject(diskError(new ProxyError('store-full', 'store: no room')))
        : Promise.resolve()
    },
    commit: async (checked) => {
      commits.push(checked)
      await unlink(path)
    },
    discard: () => unlink(path).catch(() => {}),
  }
}

/** An upstream whose body is fed by hand. */
class Hand {
  readonly asked: number[] = []
  readonly blamed: string[] = []
  readonly substitute: Substitute
  readonly #parts: (Buffer | Error | undefined)[] = []
  #wake: (() => void) | undefined

  constructor(info: NarInfo, size: number | undefined, peer = false) {
    this.substitute = {
      narinfo: info,
      from: 'hand',
      signedBy: undefined,
      peer,
      open: (range) => {
        this.asked.push(range?.start ?? 0)
        return Promise.resolve({ size, body: this.#body() })
      },
      blame: (error) => this.blamed.push(error.code),
    }
  }

  give(part: Buffer): void {
    this.#push(part)
  }

  end(): void {
    this.#push(undefined)
  }

  #push(part: Buffer | Error | undefined): void {
    this.#parts.push(part)
    this.#wake?.()
  }

  async *#body(): AsyncGenerator<Uint8Array> {
    for (;;) {
      while (this.#parts.length === 0) await new Promise<void>((go) => (this.#wake = go))
      const part = this.#parts.shift()
      if (part === undefined) return
      if (part instanceof Error) throw part
      yield part
    }
  }
}

function made(options: EntryOptions = {}): { info: NarInfo; file: Buffer } {
  const entry = new SyntheticCache().add({ content: randomBytes(300_000), ...options })
  return { info: parseNarInfo(entry.narinfo, '/nix/store'), file: entry.file }
}

function fillOf(hand: Hand, room?: number): Fill {
  return new Fill({
    substitute: hand.substitute,
    elsewhere: () => Promise.resolve(undefined),
    reserve: () => reserve(room),
    verifier,
  })
}

const never = new AbortController().signal
const noRest = (): AsyncIterable<Uint8Array> => {
  throw new Error('the disk did not give out')
}

async function read(fill: Fill, start = 0, end?: number, signal = never): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of fill.follow(start, end, signal, noRest)) parts.push(Buffer.from(chunk))
  return Buffer.concat(parts)
}

test('three clients, one of them late, share one fetch and get the same bytes', async () => {
  const { info, file } = made({ compression: 'zstd' })
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  const [one, two] = [read(fill), read(fill)]
  hand.give(file.subarray(0, 100_000))
  await fill.opened
  const late = read(fill)
  hand.give(file.subarray(100_000))
  hand.end()
  for (const got of await Promise.all([one, two, late])) expect(got.equals(file)).toBe(true)
  await fill.over
  expect(hand.asked).toEqual([0])
  expect(commits).toEqual(['nar'])
})

test('a range of a growing file is served from it (case 79)', async () => {
  const { info, file } = made()
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  const [tail, middle] = [read(fill, 200_000), read(fill, 10, 19)]
  hand.give(file)
  hand.end()
  expect((await tail).equals(file.subarray(200_000))).toBe(true)
  expect((await middle).equals(file.subarray(10, 20))).toBe(true)
  await fill.over
})

test('the size may be unknown until the end (case 82)', async () => {
  const { info, file } = made({ fileHash: false })
  const hand = new Hand(info, undefined)
  const fill = fillOf(hand)
  hand.give(file)
  expect(await fill.opened).toBeUndefined()
  hand.end()
  expect((await read(fill)).equals(file)).toBe(true)
  await fill.over
  expect(commits).toEqual(['nar'])
})

describe.each([
  ['from an upstream', false],
  ['from a peer', true],
])('%s', (_, peer) => {
  test('a flipped bit is not kept, and no client gets the last byte (case 69)', async () => {
    const { info, file } = made({ compression: 'zstd' })
    const hand = new Hand(info, file.length, peer)
    const fill = fillOf(hand)
    const wrong = Buffer.from(file)
    wrong[1000]! ^= 1
    const got: number[] = []
    const reading = (async () => {
      for await (const chunk of fill.follow(0, undefined, never, noRest)) got.push(chunk.length)
    })()
    hand.give(wrong)
    hand.end()
    await expect(reading).rejects.toMatchObject({ code: 'damaged' })
    expect(got.reduce((sum, n) => sum + n, 0)).toBeLessThan(file.length)
    await fill.over
    expect(commits).toEqual([])
    expect(hand.blamed).toEqual(['damaged'])
  })
})

test('a right FileHash over a wrong NAR is not kept (case 70)', async () => {
  const { file } = made()
  const lie = new SyntheticCache().add({ content: 'another' })
  const { info } = made({ nar: file, fields: { NarHash: `sha256:${lie.narHash}` } })
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  hand.give(file)
  hand.end()
  await read(fill).catch(() => {})
  await fill.over
  expect(commits).toEqual([])
  expect(hand.blamed).toEqual(['damaged'])
})

test('from a peer a right FileHash is not enough: the last byte waits for NarHash (case 135)', async () => {
  const { file } = made()
  const lie = new SyntheticCache().add({ content: 'another' })
  const { info } = made({ nar: file, fields: { NarHash: `sha256:${lie.narHash}` } })
  const hand = new Hand(info, file.length, true)
  const fill = fillOf(hand)
  const reading = read(fill)
  hand.give(file)
  hand.end()
  await expect(reading).rejects.toMatchObject({ code: 'damaged' })
  await fill.over
  expect(commits).toEqual([])
})

test('a bomb from an upstream is left while it still comes, though its FileHash may fit (case 72)', async () => {
  const { info } = made({ compression: 'zstd' })
  const [bomb, rest] = [zstdSync(Buffer.alloc(16 * 1024 * 1024)), zstdSync(randomBytes(100_000))]
  const fileHash = sha256FromDigest(createHash('sha256').update(bomb).update(rest).digest())
  const size = bomb.length + rest.length
  const hand = new Hand({ ...info, fileHash, fileSize: size }, size)
  const fill = fillOf(hand)
  const reading = read(fill)
  hand.give(bomb)
  let at = 0
  const trickle = setInterval(() => hand.give(rest.subarray(at, ++at)), 5)
  await expect(reading).rejects.toMatchObject({ code: 'damaged' })
  clearInterval(trickle)
  expect(at).toBeLessThan(rest.length)
  await fill.over
  expect(commits).toEqual([])
  expect(hand.blamed).toEqual(['damaged'])
})

test('bytes after the end of a file whose length nobody said cost nobody anything (case 68)', async () => {
  const { info, file } = made({ compression: 'zstd' })
  const hand = new Hand(info, undefined)
  const fill = fillOf(hand)
  const reading = read(fill)
  hand.give(file.subarray(0, 1000))
  hand.give(Buffer.concat([file.subarray(1000), randomBytes(1000)]))
  expect((await reading).equals(file)).toBe(true)
  await fill.over
  expect(commits).toEqual(['nar'])
})

test('a FileSize that is too small takes nothing away from a right NAR (case 32)', async () => {
  const { info, file } = made({ compression: 'zstd', fields: { FileSize: '5000' } })
  const hand = new Hand(info, undefined)
  const fill = fillOf(hand)
  hand.give(file)
  hand.end()
  expect((await read(fill)).equals(file)).toBe(true)
  await fill.over
  expect(commits).toEqual(['nar'])
})

test('a right NAR under a wrong FileHash is taken (case 71)', async () => {
  const other = made()
  const { info, file } = made({ fields: { FileHash: `sha256:${other.info.fileHash}` } })
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  hand.give(file)
  hand.end()
  expect((await read(fill)).equals(file)).toBe(true)
  await fill.over
  expect(commits).toEqual(['nar'])
})

test('what cannot be decoded is kept by its FileHash from an upstream, and never from a peer (case 74)', async () => {
  const { info, file } = made({ fields: { Compression: 'bzip2' } })
  for (const peer of [false, true]) {
    const hand = new Hand(info, file.length, peer)
    const fill = fillOf(hand)
    const reading = read(fill)
    hand.give(file)
    hand.end()
    if (peer) await expect(reading).rejects.toMatchObject({ code: 'damaged' })
    else expect((await reading).equals(file)).toBe(true)
    await fill.over
  }
  expect(commits).toEqual(['file'])
})

test('a client that hangs up leaves the others and the fill alone (case 84)', async () => {
  const { info, file } = made()
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  const leaving = new AbortController()
  const [left, stays] = [read(fill, 0, undefined, leaving.signal), read(fill)]
  hand.give(file.subarray(0, 1000))
  await fill.opened
  leaving.abort()
  await expect(left).rejects.toMatchObject({ code: 'aborted' })
  hand.give(file.subarray(1000))
  hand.end()
  expect((await stays).equals(file)).toBe(true)
  await fill.over
  expect(commits).toEqual(['nar'])
})

test('a client that never reads holds up neither the fill nor its commit (case 83)', async () => {
  const { info, file } = made()
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  hand.give(file.subarray(0, 100_000))
  const slow = fill.follow(0, undefined, never, noRest)
  const { value } = await slow.next()
  expect(value).toBeDefined()
  hand.give(file.subarray(100_000))
  hand.end()
  await fill.over
  expect(commits).toEqual(['nar'])
  let size = value?.length ?? 0
  for await (const chunk of slow) size += chunk.length
  expect(size).toBe(file.length)
})

test('a disk that gives out in the middle costs no client anything but the store its copy (case 119)', async () => {
  const { info, file } = made({ fields: { FileSize: undefined } })
  const hand = new Hand(info, undefined)
  const fill = fillOf(hand, 150_000)
  const rests: Rest[] = []
  const parts: Buffer[] = []
  const reading = (async () => {
    const rest = async function* (what: Rest): AsyncGenerator<Uint8Array> {
      rests.push(what)
      yield file.subarray(what.start)
      await Promise.resolve()
    }
    for await (const chunk of fill.follow(0, undefined, never, rest)) parts.push(Buffer.from(chunk))
  })()
  hand.give(file.subarray(0, 100_000))
  hand.give(file.subarray(100_000))
  hand.end()
  await reading
  expect(Buffer.concat(parts).equals(file)).toBe(true)
  expect(rests.map(({ start }) => start)).toEqual([100_000])
  await fill.over
  expect(commits).toEqual([])
})

test('a cancelled fill tells its clients and leaves nothing', async () => {
  const { info, file } = made()
  const hand = new Hand(info, file.length)
  const fill = fillOf(hand)
  const reading = read(fill)
  hand.give(file.subarray(0, 10))
  await fill.opened
  fill.cancel('store: stopping')
  hand.end()
  await expect(reading).rejects.toMatchObject({ code: 'aborted' })
  await fill.over
})
