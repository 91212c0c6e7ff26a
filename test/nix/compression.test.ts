import { describe, expect, it } from 'vitest'

import {
  compressionOfExtension,
  extensionOf,
  isDecodable,
  isTakenFromPeers,
  parseCompression,
} from '../../src/nix/compression.ts'

// Every name of nix-protocol's narinfo grammar: what the newest clients accept.
const all = 'none br bzip2 compress grzip gzip lrzip lz4 lzip lzma lzop xz zstd'.split(' ')

describe('compression', () => {
  it('has every name that clients accept, each with an ending of its own', () => {
    const endings = all.map((name) => {
      const compression = parseCompression(name)
      expect(compression).toBe(name)
      const ending = compression && extensionOf(compression)
      expect(compressionOfExtension(ending ?? 'no ending')).toBe(name)
      expect(ending).toMatch(/^(\.[a-z0-9]+)?$/)
      return ending
    })
    expect(new Set(endings).size).toBe(all.length)
  })

  it.each([
    ['none', ''],
    ['xz', '.xz'],
    ['zstd', '.zst'],
    ['bzip2', '.bz2'],
    ['br', '.br'],
    ['lzip', '.lzip'],
    ['lz4', '.lz4'],
  ] as const)('%s has the ending %j, as in Nix', (compression, ending) => {
    expect(extensionOf(compression)).toBe(ending)
  })

  it('means bzip2 when nothing is said (case 39)', () => {
    expect(parseCompression('')).toBe('bzip2')
  })

  it.each(['XZ', 'zst', 'foo', ' xz', 'toString', '__proto__', 'constructor'])('knows no %j (case 39)', (text) => {
    expect(parseCompression(text)).toBeUndefined()
    expect(compressionOfExtension(`.${text}`)).toBe(text === 'zst' ? 'zstd' : undefined)
  })

  it('is checked where it can be decoded, and taken from peers only where that is cheap (case 74)', () => {
    const known = all.flatMap((name) => parseCompression(name) ?? [])
    expect(known.filter(isDecodable).sort()).toEqual(['br', 'gzip', 'none', 'xz', 'zstd'])
    expect(known.filter(isTakenFromPeers).sort()).toEqual(['none', 'xz', 'zstd'])
  })
})
