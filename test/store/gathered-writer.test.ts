// The gathered writer: what was written is what was given, in order, whatever the sizes; a full disk is said so.

import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readFile, rm, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { diskError, GatheredWriter } from '../../src/store/gathered-writer.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'substrata-writer-'))
})
afterEach(() => rm(dir, { recursive: true }))

test('chunks of all sizes come out as one file, and are reported in order', async () => {
  const file = await open(join(dir, 'f'), 'w+')
  const reported: Buffer[] = []
  const writer = new GatheredWriter({ file, written: (bytes) => reported.push(Buffer.from(bytes)) })
  const chunks = [1, 65_536, 3_000_000, 0, 17, 1_048_576, 1_048_577].map((size) => randomBytes(size))
  for (const chunk of chunks) await writer.write(chunk)
  await writer.flush()
  await file.close()
  const all = Buffer.concat(chunks)
  expect((await readFile(join(dir, 'f'))).equals(all)).toBe(true)
  expect(Buffer.concat(reported).equals(all)).toBe(true)
})

test('a chunk may be used again as soon as it was taken', async () => {
  const file = await open(join(dir, 'f'), 'w+')
  const writer = new GatheredWriter({ file, written: () => {} })
  const buffer = Buffer.alloc(1000)
  for (let n = 0; n < 100; n++) await writer.write(buffer.fill(n))
  await writer.flush()
  await file.close()
  const got = await readFile(join(dir, 'f'))
  expect([...got].every((byte, at) => byte === Math.floor(at / 1000))).toBe(true)
})

test('a full disk rejects as store-full, now and from then on', async () => {
  const file = await open('/dev/full', 'w')
  const writer = new GatheredWriter({ file, written: () => {} })
  await writer.write(Buffer.from('x'))
  await expect(writer.flush()).rejects.toMatchObject({ code: 'store-full' })
  await expect(writer.write(Buffer.from('y'))).rejects.toMatchObject({ code: 'store-full' })
  await file.close()
})

/** A file whose writes take as long as the test says, take at most so many bytes, and fail from some byte on. */
function slowFile({ most = Infinity, failsAt = Infinity } = {}) {
  const bytes = Buffer.alloc(20 * 1024 * 1024)
  const waiting: (() => void)[] = []
  let [under, mostUnder, writes] = [0, 0, 0]
  const file = {
    writev: async (buffers: readonly Buffer[], position: number) => {
      mostUnder = Math.max(mostUnder, ++under)
      writes++
      await new Promise<void>((resolve) => waiting.push(resolve))
      under--
      const all = Buffer.concat(buffers)
      const end = Math.min(position + Math.min(all.length, most), Math.max(position, failsAt))
      if (end === position) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      return { bytesWritten: all.copy(bytes, position, 0, end - position), buffers }
    },
  }
  return { file: file as unknown as FileHandle, bytes, waiting, seen: () => ({ mostUnder, writes }) }
}

/** Lets one write after the other go on until all is over. */
async function letGo(waiting: (() => void)[], all: Promise<void>): Promise<void> {
  const state = { over: false }
  const finished = all.finally(() => (state.over = true))
  finished.catch(() => {})
  while (!state.over) {
    waiting.pop()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await finished
}

test.each([Infinity, 1_048_576, 700_000, 3_000_000])(
  'a disk that takes %i bytes at once gets all of them, by one write at a time',
  async (most) => {
    const { file, bytes, waiting, seen } = slowFile({ most })
    const reported: Buffer[] = []
    const writer = new GatheredWriter({ file, written: (part) => reported.push(Buffer.from(part)) })
    const chunk = randomBytes(10_000_000)
    await letGo(
      waiting,
      writer.write(chunk).then(() => writer.flush()),
    )
    expect(Buffer.concat(reported).equals(chunk)).toBe(true)
    expect(bytes.subarray(0, chunk.length).equals(chunk)).toBe(true)
    expect(seen().mostUnder).toBe(1)
    // Two blocks of a mebibyte together, but for the first.
    if (most === Infinity) expect(seen().writes).toBe(6)
  },
)

test.each([0, 1, 500_000, 1_048_576, 3_000_000])(
  'a disk that is full after %i bytes: these are reported and nothing after them, whatever was written besides',
  async (failsAt) => {
    const { file, waiting } = slowFile({ failsAt })
    const reported: Buffer[] = []
    const writer = new GatheredWriter({ file, written: (part) => reported.push(Buffer.from(part)) })
    const chunk = randomBytes(8_000_000)
    const finished = letGo(
      waiting,
      writer.write(chunk).then(() => writer.flush()),
    )
    await expect(finished).rejects.toMatchObject({ code: 'store-full' })
    while (waiting.length > 0) waiting.pop()?.()
    await expect(writer.flush()).rejects.toMatchObject({ code: 'store-full' })
    expect(Buffer.concat(reported).equals(chunk.subarray(0, failsAt))).toBe(true)
  },
)

test('any other refusal of the disk is store-failed', () => {
  expect(diskError(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))).toMatchObject({ code: 'store-failed' })
  expect(diskError(Object.assign(new Error('quota'), { code: 'EDQUOT' }))).toMatchObject({ code: 'store-full' })
})
