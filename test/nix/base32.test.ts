import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { decodeBase32, encodeBase32 } from '../../src/nix/base32.ts'

const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex')

describe('nix32', () => {
  // `nix hash to-base32`, Nix 2.8.0
  it.each([
    ['', ''],
    ['1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f', '0z3wgiy7qz3wgiy7qz3wgiy7qz'],
    ['ffffffffffffffffffffffffffffffff', '7zzzzzzzzzzzzzzzzzzzzzzzzz'],
    ['000102030405060708090a0b0c0d0e0f10111213', '2c91240g1q6hq2qa1440f1h50h1h4080'],
    [
      '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03',
      '00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq',
    ],
    ['f572d396fae9206628714fb2ce00f72e94f2258f', 'iwjz551fyw0cxcjgf4l6c879zabd6wpm'],
  ])('writes and reads the bytes %s as %s', (bytes, text) => {
    expect(encodeBase32(Buffer.from(bytes, 'hex'))).toBe(text)
    expect(hex(decodeBase32(text))).toBe(bytes)
  })

  it('gives back every byte string', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        expect(hex(decodeBase32(encodeBase32(bytes)))).toBe(hex(bytes))
      }),
    )
  })

  it('has one spelling for each byte string (case 35)', () => {
    const letters = fc.constantFrom(...'0123456789abcdfghijklmnpqrsvwxyz'.split(''))
    fc.assert(
      fc.property(fc.string({ unit: letters, maxLength: 60 }), (text) => {
        const bytes = decodeBase32(text)
        expect(bytes === undefined || encodeBase32(bytes) === text).toBe(true)
      }),
    )
    expect(decodeBase32('0z')).toBeDefined()
    expect(decodeBase32('8z')).toBeUndefined() // bit 8 of one byte
    expect(decodeBase32(`2${'0'.repeat(51)}`)).toBeUndefined()
    expect(decodeBase32(`1${'0'.repeat(51)}`)).toHaveLength(32)
  })

  it('refuses lengths that no whole number of bytes has', () => {
    const lengths = Array.from({ length: 17 }, (_, n) => n).filter((n) => decodeBase32('0'.repeat(n)))
    expect(lengths).toEqual([0, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16])
  })

  it.each(['e', 'o', 't', 'u', 'A', '-', ' ', '\u0000', 'é', '💧'])('refuses the letter %j', (letter) => {
    expect(decodeBase32(`000${letter}0000`.slice(0, 8))).toBeUndefined()
  })
})
