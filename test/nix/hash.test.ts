import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { encodeBase32 } from '../../src/nix/base32.ts'
import { isSha256, parseHash, parseSha256, sha256Digest, sha256FromDigest } from '../../src/nix/hash.ts'

const nix32 = '0zsjccqyvyl2n468sbd7z9r8kjrzlgvdsk7fiai6vdvzdc2ssskg'
// `nix hash to-base16`, `to-base64`, `to-sri`, Nix 2.8.0
const hex = '6f6aad056b7fb76da28aee4cddf6a33fcb8972faa72d8d0cb182faed3163527f'
const base64 = 'b2qtBWt/t22iiu5M3fajP8uJcvqnLY0MsYL67TFjUn8='

describe('sha256', () => {
  it('is one string however it was spelled (case 33)', () => {
    const spellings = [
      `sha256:${nix32}`,
      `sha256:${hex}`,
      `sha256:${hex.toUpperCase()}`,
      `sha256:${base64}`,
      `sha256-${base64}`,
      `sha256-${base64.replace('=', '')}`,
    ]
    expect(spellings.map(parseSha256)).toEqual(spellings.map(() => nix32))
  })

  it('goes from bytes to text and back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (digest) => {
        const hash = sha256FromDigest(digest)
        expect(isSha256(hash)).toBe(true)
        expect(sha256Digest(hash)).toEqual(digest)
        expect(parseSha256(`sha256:${hash}`)).toBe(hash)
      }),
    )
  })

  it.each([
    ['no algorithm', nix32],
    ['no prefix at all', ''],
    ['the prefix only', 'sha256:'],
    ['the algorithm in capitals', `SHA256:${nix32}`],
    ['nix32 in capitals', `sha256:${nix32.toUpperCase()}`],
    ['nix32 with spare bits set (case 35)', `sha256:2${nix32.slice(1)}`],
    ['nix32 in SRI', `sha256-${nix32}`],
    ['hex in SRI', `sha256-${hex}`],
    ['base64 with spare bits set', `sha256-${'A'.repeat(42)}B=`],
    ['base64url', `sha256-${'_'.repeat(43)}=`],
    ['64 letters that are not hex', `sha256:${hex.slice(0, -1)}g`],
    ['a letter too few', `sha256:${nix32.slice(1)}`],
    ['a letter too many', `sha256:0${nix32}`],
    ['a letter of no alphabet', `sha256:${nix32.slice(0, -1)}e`],
    ['something behind it', `sha256:${nix32} `],
    ['a newline behind it', `sha256:${nix32}\n`],
    ['two hashes in SRI', `sha256-${'A'.repeat(43)}= sha256-${'A'.repeat(43)}=`],
    ['another algorithm (case 34)', `sha512:${'0'.repeat(103)}`],
    ['another algorithm of the same length (case 34)', `blake3:${nix32}`],
    ['an unknown algorithm', `sha3:${nix32}`],
    ['a name that every object has', `constructor:${nix32}`],
  ])('refuses %s', (_, text) => {
    expect(parseSha256(text)).toBeUndefined()
  })

  it('is canonical or not taken, and nothing throws, whatever is given', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('sha256:', 'sha256-', ''),
        fc.string({ unit: 'binary', maxLength: 80 }),
        (prefix, text) => {
          const hash = parseSha256(prefix + text)
          expect(hash === undefined || isSha256(hash)).toBe(true)
        },
      ),
    )
  })

  it('is never made of another number of bytes', () => {
    expect(() => sha256FromDigest(new Uint8Array(31))).toThrow(TypeError)
    expect(() => sha256FromDigest(new Uint8Array(33))).toThrow(TypeError)
  })
})

describe('a hash of any algorithm', () => {
  it.each([
    ['md5', 16],
    ['sha1', 20],
    ['sha256', 32],
    ['sha512', 64],
    ['blake3', 32],
  ] as const)('%s is read in all four spellings', (algorithm, length) => {
    const digest = new Uint8Array(length).map((_, i) => i * 7 + 3)
    const bytes = Buffer.from(digest)
    const base64 = bytes.toString('base64')
    for (const text of [`:${encodeBase32(digest)}`, `:${bytes.toString('hex')}`, `:${base64}`, `-${base64}`]) {
      const hash = parseHash(algorithm + text)
      expect(hash?.algorithm).toBe(algorithm)
      expect(Buffer.compare(hash?.digest ?? new Uint8Array(), digest)).toBe(0)
    }
  })
})
