import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { decodeBase64 } from '../../src/nix/base64.ts'

describe('base64', () => {
  it('reads what was written, with or without its padding', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64')
        expect(decodeBase64(text, bytes.length)).toEqual(bytes)
        expect(decodeBase64(text.replaceAll('=', ''), bytes.length)).toEqual(bytes)
      }),
    )
  })

  it.each([
    ['another length', 'AAAA', 2],
    ['half of its padding', 'AA=', 1],
    ['too much padding', 'AAAA=', 3],
    ['padding only', '====', 0],
    ['white space', 'AA AA', 3],
    ['a newline', 'AAAA\n', 3],
    ['the URL alphabet', '-_-_', 3],
    ['spare bits that are set', 'AB==', 1],
    ['something after its padding', 'AA==AA==', 1],
  ])('refuses %s', (_, text, length) => {
    expect(decodeBase64(text, length)).toBeUndefined()
  })
})
