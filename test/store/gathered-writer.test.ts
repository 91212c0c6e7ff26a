// The gathered writer: what was written is what was given, in order, whatever the sizes; a full disk is said so.

import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
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

test('any other refusal of the disk is store-failed', () => {
  expect(diskError(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))).toMatchObject({ code: 'store-failed' })
  expect(diskError(Object.assign(new Error('quota'), { code: 'EDQUOT' }))).toMatchObject({ code: 'store-full' })
})
