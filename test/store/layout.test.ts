// Names in the store: such that any file system can hold them, and few in any directory but the last.

import { basename, dirname, relative, sep } from 'node:path'

import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { encodeBase32 } from '../../src/nix/base32.ts'
import { compressionOfExtension, extensionOf, parseCompression, type Compression } from '../../src/nix/compression.ts'
import { sha256FromDigest } from '../../src/nix/hash.ts'
import { narFileName, parseNarFileName } from '../../src/nix/nar-url.ts'
import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'
import { commitEnding, Layout, marks, sidecarEnding } from '../../src/store/layout.ts'

const layout = new Layout({ root: '/store' })
const words = 'none xz zstd bzip2 gzip br lzip lz4 lzma compress grzip lrzip lzop'.split(' ')
const compressions = words.map((word) => parseCompression(word)).filter((one): one is Compression => one !== undefined)

const storeHashes = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes): StoreHash => {
  const hash = encodeBase32(bytes)
  if (!isStoreHash(hash)) throw new Error(`${hash} is none`)
  return hash
})
const digests = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => sha256FromDigest(bytes))

describe('a name in the store (case 130)', () => {
  test('has lower-case letters, digits, dashes and dots only, and room to spare below 255 bytes', () => {
    expect(compressions).toHaveLength(words.length)
    fc.assert(
      fc.property(storeHashes, digests, fc.constantFrom(...compressions), (hash, digest, compression) => {
        const file = narFileName(hash, { digest, compression })
        const written = `${file}.${Number.MAX_SAFE_INTEGER}`
        const paths = [
          layout.nar(file),
          layout.sidecar(file),
          `${layout.incoming}/${written}${sidecarEnding}`,
          `${layout.incoming}/${written}${commitEnding}`,
          `${layout.quarantine}/${file}`,
          ...marks.map((mark) => layout.mark(hash, mark)),
        ]
        for (const path of paths) {
          expect(relative('/store', path)).toMatch(/^[0-9a-z.\-/]+$/)
          expect(Buffer.byteLength(basename(path))).toBeLessThan(160)
        }
      }),
    )
  })

  test('lies in one of 1024 directories, with everything else of its store path', () => {
    fc.assert(
      fc.property(storeHashes, digests, digests, (hash, one, other) => {
        const shards = [one, other].map((digest) =>
          dirname(layout.nar(narFileName(hash, { digest, compression: 'xz' }))),
        )
        const all = [...shards, ...marks.map((mark) => dirname(layout.mark(hash, mark)))]
        expect(new Set(all).size).toBe(1)
        expect(relative(layout.nars, all[0] ?? '').split(sep)).toEqual([hash.slice(0, 2)])
        expect(hash.slice(0, 2)).toMatch(/^[0-9a-df-np-sv-z]{2}$/)
      }),
    )
  })

  test('is not known again with a letter in upper case: no two names differ by case alone', () => {
    fc.assert(
      fc.property(storeHashes, digests, fc.constantFrom(...compressions), fc.nat(), (hash, digest, compression, at) => {
        const file = narFileName(hash, { digest, compression })
        const place = at % file.length
        const letter = file[place] ?? ''
        const shouted = file.slice(0, place) + letter.toUpperCase() + file.slice(place + 1)
        const nar = compressionOfExtension(extensionOf(compression))
        expect(parseNarFileName(file)?.nar.compression).toBe(nar)
        if (shouted !== file) expect(parseNarFileName(shouted)).toBeUndefined()
      }),
    )
  })
})
