// The verifier: what it calls proved is what was signed, in every compression, growing or whole; everything else is damaged.

import { createHash, randomBytes } from 'node:crypto'
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { compress as zstdSync } from 'zstd-napi'

import type { Compression } from '../../src/nix/compression.ts'
import { sha256FromDigest } from '../../src/nix/hash.ts'
import { Verifier, type Promised } from '../../src/store/verifier.ts'

let dir: string
let verifier: Verifier

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'substrata-verifier-'))
  verifier = new Verifier({ threads: 1 })
})

afterEach(async () => {
  await verifier.close()
  await rm(dir, { recursive: true })
})

/** 'nix-archive-1 ' forty times, as `xz` writes it (CRC64), and with a check that the decoder does not know (SHA-256). */
const small = Buffer.from('nix-archive-1 '.repeat(40))
const smallXz = Buffer.from(
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AIvABddADcaS3L9cBltLifBtXZUFZOPtlWOFAAAAADRZbAaeISduQABM7AEAAAAnT4e3rHEZ/sCAAAAAARZWg==',
  'base64',
)
const smallXzSha256 = Buffer.from(
  '/Td6WFoAAArh+wyhAgAhARYAAAB0L+Wj4AIvABddADcaS3L9cBltLifBtXZUFZOPtlWOFAAAAAAxL/O6ElagWTLg1GoaidroxKWESXW7vrEg1UGTzMVqvwABS7AEAAAAMbFvObbp3xwCAAAAAApZWg==',
  'base64',
)

function promised(nar: Uint8Array, compression: Compression): Promised {
  return { compression, narHash: sha256FromDigest(createHash('sha256').update(nar).digest()), narSize: nar.length }
}

async function whole(bytes: Uint8Array, promise: Promised): Promise<string> {
  const path = join(dir, `${randomBytes(8).toString('hex')}.nar`)
  await writeFile(path, bytes)
  return verifier.checkFile(path, bytes.length, promise)
}

const nar = Buffer.concat([randomBytes(700_000), Buffer.alloc(700_000, 'x')])
const packed: readonly (readonly [Compression, Buffer, Buffer])[] = [
  ['none', nar, nar],
  ['zstd', nar, zstdSync(nar)],
  ['gzip', nar, gzipSync(nar)],
  ['br', nar, brotliCompressSync(nar)],
  ['xz', small, smallXz],
]

describe.each(packed)('%s', (compression, plain, file) => {
  test('right bytes are proved', async () => {
    expect(await whole(file, promised(plain, compression))).toBe('nar')
  })

  test('one flipped bit is damaged', async () => {
    const wrong = Buffer.from(file)
    wrong[Math.floor(wrong.length / 2)]! ^= 1
    await expect(whole(wrong, promised(plain, compression))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('a NAR that ends early is damaged (case 67)', async () => {
    await expect(whole(file.subarray(0, -3), promised(plain, compression))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('bytes after the end are damaged (case 73)', async () => {
    const long = Buffer.concat([file, Buffer.from('garbage after the end')])
    await expect(whole(long, promised(plain, compression))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('another NAR than was signed is damaged (case 70)', async () => {
    const other = promised(Buffer.alloc(plain.length, 'y'), compression)
    await expect(whole(file, other)).rejects.toMatchObject({ code: 'damaged' })
  })

  test('a web page is damaged (case 75)', async () => {
    const page = Buffer.from('<html>Please log in</html>')
    await expect(whole(page, promised(plain, compression))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('a compressed body of no bytes is damaged (case 88)', async () => {
    await expect(whole(Buffer.alloc(0), promised(plain, compression))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('a file is proved while it grows', async () => {
    const path = join(dir, 'growing.nar')
    await writeFile(path, '')
    const check = verifier.check(path, promised(plain, compression))
    const third = Math.ceil(file.length / 3)
    for (let at = 0; at < file.length; at += third) {
      const part = file.subarray(at, at + third)
      await appendFile(path, part)
      check.grown(at + part.length, false)
    }
    check.grown(file.length, true)
    expect(await check.proof).toBe('nar')
  })
})

test('several zstd frames one after the other are one NAR (case 73)', async () => {
  const file = Buffer.concat([zstdSync(nar.subarray(0, 100_000)), zstdSync(nar.subarray(100_000))])
  expect(await whole(file, promised(nar, 'zstd'))).toBe('nar')
})

test('a bomb is left at its NarSize (case 72)', async () => {
  const bomb = zstdSync(Buffer.alloc(256 * 1024 * 1024))
  await expect(whole(bomb, { ...promised(nar, 'zstd'), narSize: 1000 })).rejects.toThrow(
    'longer than its NarSize of 1000',
  )
})

test('checks that go along with slow files leave room for those that somebody waits for', async () => {
  const path = join(dir, 'slow.nar')
  await writeFile(path, nar)
  const along = [1, 2, 3].map(() => verifier.checkAlong(path, promised(nar, 'none')))
  expect(along[2]).toBeUndefined()
  expect(await whole(small, promised(small, 'none'))).toBe('nar')
  along[0]?.abort()
  await along[0]?.proof.catch(() => {})
  const next = verifier.checkAlong(path, promised(nar, 'none'))
  next?.grown(nar.length, true)
  expect(await next?.proof).toBe('nar')
  along[1]?.abort()
})

test('what nobody can decode is said to be undecodable (case 74)', async () => {
  expect(await whole(randomBytes(100), promised(small, 'bzip2'))).toBe('undecodable')
  expect(await whole(smallXzSha256, promised(small, 'xz'))).toBe('undecodable')
})

test('a compression that is not the one named is damaged (case 40)', async () => {
  await expect(whole(smallXz, promised(small, 'zstd'))).rejects.toMatchObject({ code: 'damaged' })
})

test('a file that cannot be read is a failure of the store, not of the NAR', async () => {
  const missing = verifier.checkFile(join(dir, 'missing.nar'), 10, promised(small, 'none'))
  await expect(missing).rejects.toMatchObject({ code: 'store-failed' })
})

test('more checks than may run at once all come to an answer', async () => {
  const all = await Promise.all(Array.from({ length: 12 }, () => whole(smallXz, promised(small, 'xz'))))
  expect(all).toEqual(Array.from({ length: 12 }, () => 'nar'))
})

test('an abandoned check ends, and the next one runs', async () => {
  const path = join(dir, 'abandoned.nar')
  await writeFile(path, small.subarray(0, 10))
  const check = verifier.check(path, promised(small, 'none'))
  check.grown(10, false)
  check.abort()
  await expect(check.proof).rejects.toMatchObject({ code: 'aborted' })
  expect(await whole(small, promised(small, 'none'))).toBe('nar')
})
