import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { encodeBase32 } from '../../src/nix/base32.ts'
import { parseCompression } from '../../src/nix/compression.ts'
import { sha256FromDigest } from '../../src/nix/hash.ts'
import { narFileName, narIdentity, narUrl, parseNarFileName, sameNar } from '../../src/nix/nar-url.ts'
import { read, signed, storeHash, withLine } from './samples.ts'

const hash = 'fy61h3nzdpyjw8kfgli303i0hc5flmn4'
const fileHash = '1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n'
const narHash = '0aih5h8g9qqfkd9zqbnxbsnx2ki0s0wly06s2rwz0wfsm22ndz3x'

describe('our NAR URL', () => {
  it('names the store path and the bytes of the file', () => {
    expect(narUrl(read(signed))).toBe(`nar/${hash}-${fileHash}.nar.xz`)
  })

  it('names the NAR itself where no FileHash is given (case 31)', () => {
    expect(narUrl(read(withLine('FileHash')))).toBe(`nar/${hash}-${narHash}.nar.xz`)
  })

  it('owes nothing to the URL of the sender (cases 59, 60)', () => {
    expect(narUrl(read(withLine('URL', 'URL: ../../x?y=z')))).toBe(narUrl(read(signed)))
  })

  it('has no ending where nothing is compressed', () => {
    expect(narUrl(read(withLine('Compression', 'Compression: none')))).toBe(`nar/${hash}-${fileHash}.nar`)
  })

  it('is the same however the hash was spelled (case 33)', () => {
    const hex = '1523f5609a1b1d9be09a2a2ae7fd6a6a9ea53a1bb2e20ff1a0ab2d9c6d4f0e54'
    const [one, other] = [hex, hex.toUpperCase()].map((text) =>
      narUrl(read(withLine('FileHash', `FileHash: sha256:${text}`))),
    )
    expect(one).toBe(other)
  })
})

describe('a NAR file name', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

  it('can be read back', () => {
    const compressions = fc.constantFrom(
      ...'none br bzip2 compress grzip gzip lrzip lz4 lzip lzma lzop xz zstd'.split(' '),
    )
    fc.assert(
      fc.property(bytes(20), bytes(32), compressions, (path, digest, name) => {
        const hash = storeHash(encodeBase32(path))
        const nar = { digest: sha256FromDigest(digest), compression: parseCompression(name)! }
        expect(parseNarFileName(narFileName(hash, nar))).toEqual({ hash, nar })
      }),
    )
  })

  it.each([
    ['another ending', `${hash}-${fileHash}.nar.zip`],
    ['two endings', `${hash}-${fileHash}.nar.xz.xz`],
    ['an ending in capitals', `${hash}-${fileHash}.nar.XZ`],
    ['no .nar', `${hash}-${fileHash}.xz`],
    ['a final dot', `${hash}-${fileHash}.nar.`],
    ['a narinfo (case 65)', `${hash}-${fileHash}.narinfo`],
    ['a query', `${hash}-${fileHash}.nar.xz?x=y`],
    ['one hash only', `${fileHash}.nar.xz`],
    ['a store hash of other letters', `${hash.replace('f', 'e')}-${fileHash}.nar.xz`],
    ['a digest in hex', `${hash}-${'0'.repeat(64)}.nar.xz`],
    ['a digest with spare bits', `${hash}-z${fileHash.slice(1)}.nar.xz`],
    ['a directory before it', `nar/${hash}-${fileHash}.nar.xz`],
    ['a newline behind it', `${hash}-${fileHash}.nar.xz\n`],
    ['nothing', ''],
  ])('is not one with %s', (_, name) => {
    expect(parseNarFileName(name)).toBeUndefined()
  })
})

describe('NAR identity', () => {
  it('is the same for the same bytes, and differs by digest and by compression (cases 60, 61, 64)', () => {
    const nar = narIdentity(read(signed))
    expect(sameNar(nar, narIdentity(read(withLine('URL', 'URL: elsewhere'))))).toBe(true)
    expect(sameNar(nar, narIdentity(read(withLine('FileHash'))))).toBe(false)
    expect(sameNar(nar, narIdentity(read(withLine('Compression', 'Compression: zstd'))))).toBe(false)
  })
})
