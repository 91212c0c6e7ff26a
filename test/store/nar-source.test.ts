// A NAR that is being read survives the death of its giver, and is never opened slower than a hedge.

import { randomBytes } from 'node:crypto'

import { expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { parseNarInfo, type NarInfo } from '../../src/nix/narinfo.ts'
import { NarSource } from '../../src/store/nar-source.ts'
import type { Substitute } from '../../src/substituter.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const entry = new SyntheticCache().add({ content: randomBytes(100_000) })
const narinfo = parseNarInfo(entry.narinfo, '/nix/store')
const { file } = entry

/** A substitute that serves the file in chunks of 1000 bytes and dies after `dies` of them. */
function giver(from: string, dies = Infinity, info: NarInfo = narinfo): Substitute & { readonly opened: number[] } {
  const opened: number[] = []
  return {
    narinfo: info,
    from,
    signedBy: undefined,
    peer: false,
    opened,
    open: (range) => {
      const start = range?.start ?? 0
      opened.push(start)
      return Promise.resolve({ size: file.length, body: chunks(from, start, dies) })
    },
  }
}

async function* chunks(from: string, start: number, dies: number): AsyncGenerator<Uint8Array> {
  let given = 0
  for (let at = start; at < file.length; at += 1000) {
    if (given++ >= dies) throw new ProxyError('unreachable', `${from}: reset`)
    yield file.subarray(at, at + 1000)
  }
}

async function* oneByte(start: number): AsyncGenerator<Uint8Array> {
  yield file.subarray(start, start + 1)
  throw new ProxyError('unreachable', 'a: reset')
}

/** A body that says nothing until the signal fires. */
async function* silence(signal: AbortSignal, stopped: () => void): AsyncGenerator<Uint8Array> {
  await new Promise<void>((_, reject) => {
    signal.addEventListener('abort', () => {
      stopped()
      reject(new ProxyError('aborted', 'a: stopped'))
    })
  })
  yield file
}

function source(
  substitute: Substitute,
  others: readonly Substitute[] = [],
  signal = new AbortController().signal,
): NarSource {
  const all = [substitute, ...others]
  const elsewhere = (avoid: ReadonlySet<string>): Promise<Substitute | undefined> =>
    Promise.resolve(all.find((one) => !avoid.has(one.from)))
  return new NarSource({ substitute, elsewhere, signal })
}

async function read(from: NarSource): Promise<Buffer> {
  const size = await from.open(0)
  const parts: Buffer[] = []
  for await (const chunk of from.chunks(size)) parts.push(Buffer.from(chunk))
  return Buffer.concat(parts)
}

test('three deaths in one NAR are survived, each going on where the last one stopped (case 66)', async () => {
  const others = [giver('b', 5), giver('c', 7), giver('d')]
  const from = source(giver('a', 3), others)
  expect((await read(from)).equals(file)).toBe(true)
  expect(from.givers.map((one) => one.from)).toEqual(expect.arrayContaining(['a', 'b']))
})

test('a giver that breaks after the last byte has given everything: nobody is asked for the bytes behind it', async () => {
  const [broken, other] = [giver('a'), giver('b')]
  const body = async function* (): AsyncGenerator<Uint8Array> {
    yield file
    throw new ProxyError('unreachable', 'a: rubbish after the body')
  }
  const from = source({ ...broken, open: () => Promise.resolve({ size: file.length, body: body() }) }, [other])
  expect((await read(from)).equals(file)).toBe(true)
  expect(other.opened).toEqual([])
})

test('where nobody else has it, the same giver is tried again', async () => {
  const alone = giver('a', 30)
  expect((await read(source(alone))).equals(file)).toBe(true)
  expect(alone.opened.slice(0, 3)).toEqual([0, 30_000, 60_000])
})

test('a giver that brings nothing any more ends it with its own failure', async () => {
  let opened = 0
  const dying: Substitute = {
    ...giver('a'),
    open: () => {
      if (opened++ > 0) return Promise.reject(new ProxyError('unreachable', 'a: refused'))
      return Promise.resolve({ size: file.length, body: chunks('a', 0, 3) })
    },
  }
  await expect(read(source(dying))).rejects.toMatchObject({ code: 'unreachable' })
})

test('without a FileHash a compressed NAR is not spliced together: the death is the end', async () => {
  const unnamed: NarInfo = { ...narinfo, fileHash: undefined, compression: 'xz' }
  const b = giver('b', Infinity, unnamed)
  await expect(read(source(giver('a', 3, unnamed), [b]))).rejects.toThrow('a: reset')
  expect(b.opened).toEqual([])
})

test('a body shorter than it said is continued like any other death (case 67)', async () => {
  const short: Substitute = {
    ...giver('a'),
    open: () => Promise.resolve({ size: file.length, body: first(file.subarray(0, 5000)) }),
  }
  expect((await read(source(short, [giver('b')]))).equals(file)).toBe(true)
})

test('a body longer than it said is cut at what was promised (case 68)', async () => {
  const long: Substitute = {
    ...giver('a'),
    open: () => Promise.resolve({ size: file.length, body: first(Buffer.concat([file, file])) }),
  }
  expect((await read(source(long, [giver('b')]))).equals(file)).toBe(true)
})

test('one whose length is not that of its narinfo gives way to one that has all of it', async () => {
  const cut = file.subarray(0, 5000)
  const short: Substitute = { ...giver('a'), open: () => Promise.resolve({ size: cut.length, body: first(cut) }) }
  expect((await read(source(short, [giver('b')]))).equals(file)).toBe(true)
  // FileSize may be what is wrong (case 32).
  expect((await read(source(short))).equals(cut)).toBe(true)
})

test('a giver that does not answer is passed by after a hedge, and told to stop (case 85)', async () => {
  let stopped = false
  const silent: Substitute = {
    ...giver('a'),
    open: (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          stopped = true
          reject(new ProxyError('aborted', 'a: stopped'))
        })
      }),
  }
  expect((await read(source(silent, [giver('b')]))).equals(file)).toBe(true)
  expect(stopped).toBe(true)
})

test('a head with nothing after it is no answer: another is asked after a hedge, and the silent one told to stop (case 85)', async () => {
  let stopped = false
  const silent: Substitute = {
    ...giver('a'),
    open: (_, signal) => Promise.resolve({ size: file.length, body: silence(signal, () => (stopped = true)) }),
  }
  expect((await read(source(silent, [giver('b')]))).equals(file)).toBe(true)
  expect(stopped).toBe(true)
})

test('one that hangs where it should go on with a NAR is passed by after a hedge, too (case 85)', async () => {
  let stopped = false
  const silent: Substitute = {
    ...giver('b'),
    open: (_, signal) => Promise.resolve({ size: file.length, body: silence(signal, () => (stopped = true)) }),
  }
  const from = source(giver('a', 3), [silent, giver('c')])
  expect((await read(from)).equals(file)).toBe(true)
  expect(stopped).toBe(true)
  expect(from.givers.map((one) => one.from)).toEqual(['a', 'c'])
})

test('one that dies before its first byte, with nobody else to ask, is tried again', async () => {
  let deaths = 2
  const alone = giver('a')
  const open: Substitute['open'] = (range, signal) =>
    deaths-- > 0 ? Promise.resolve({ size: file.length, body: chunks('a', 0, 0) }) : alone.open(range, signal)
  expect((await read(source({ ...alone, open }))).equals(file)).toBe(true)
})

test('one that dies again and again after a byte is given up, long before the most deaths', async () => {
  let opened = 0
  const miser: Substitute = {
    ...giver('a'),
    open: (range) => {
      opened += 1
      const start = range?.start ?? 0
      return Promise.resolve({ size: file.length, body: oneByte(start) })
    },
  }
  await expect(read(source(miser))).rejects.toThrow('a: reset')
  expect(opened).toBe(9)
})

test('a giver that has lost the NAR is followed at once by another', async () => {
  const gone: Substitute = { ...giver('a'), open: () => Promise.reject(new ProxyError('gone', 'a: 404')) }
  expect((await read(source(gone, [giver('b')]))).equals(file)).toBe(true)
  await expect(read(source(gone))).rejects.toMatchObject({ code: 'gone' })
})

test('another size under the same FileHash is not taken', async () => {
  const other: Substitute = {
    ...giver('b'),
    open: () => Promise.resolve({ size: 7, body: first(Buffer.from('7 bytes')) }),
  }
  const from = source(giver('a', 3), [other, giver('c')])
  expect((await read(from)).equals(file)).toBe(true)
  expect(from.givers.map((one) => one.from)).not.toContain('b')
})

test('an abort ends it, and nobody else is asked', async () => {
  const stop = new AbortController()
  const b = giver('b')
  const from = source(giver('a', 3), [b], stop.signal)
  await from.open(0)
  const body = from.chunks(file.length)
  await body.next()
  stop.abort(new ProxyError('aborted', 'enough'))
  const rest = async (): Promise<void> => {
    for await (const chunk of body) void chunk
  }
  await expect(rest()).rejects.toThrow()
  expect(b.opened).toEqual([])
})

async function* first(bytes: Buffer): AsyncGenerator<Uint8Array> {
  await Promise.resolve()
  yield bytes
}
