import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { parseCacheInfo, printCacheInfo } from '../../src/nix/cache-info.ts'

const nothing = { storeDir: undefined, wantMassQuery: false, priority: undefined }

describe('nix-cache-info', () => {
  it('is read', () => {
    expect(parseCacheInfo('StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n')).toEqual({
      storeDir: '/nix/store',
      wantMassQuery: true,
      priority: 40,
    })
  })

  it('is read with CRLF, a byte order mark, odd spacing, unknown lines and without a final newline', () => {
    expect(parseCacheInfo('\uFEFFStoreDir:/nix/store\r\n\r\nX: y\r\nnonsense\r\nPriority:   10  ')).toEqual({
      storeDir: '/nix/store',
      wantMassQuery: false,
      priority: 10,
    })
  })

  it('says nothing when it is empty or HTML (case 3)', () => {
    expect(parseCacheInfo('')).toEqual(nothing)
    expect(parseCacheInfo('<!DOCTYPE html>\n<html style="color: red">\n')).toEqual(nothing)
  })

  it.each(['ten', '-1', '1000000000000', '1e3', '0x10', '4.5', '', '40 or so'])(
    'has no priority where it says %j (case 4)',
    (text) => {
      expect(parseCacheInfo(`Priority: ${text}\n`)).toEqual(nothing)
    },
  )

  it('wants mass queries only where it says 1', () => {
    expect(parseCacheInfo('WantMassQuery: true').wantMassQuery).toBe(false)
  })

  it('has no store directory where the line is empty', () => {
    expect(parseCacheInfo('StoreDir: \n')).toEqual(nothing)
  })

  it('never throws, and never gives a priority that is no whole number', () => {
    const values = fc.oneof(fc.string({ unit: 'binary' }), fc.double().map(String), fc.bigInt().map(String))
    fc.assert(
      fc.property(values, (value) => {
        const { priority } = parseCacheInfo(`Priority: ${value}`)
        expect(priority === undefined || Number.isSafeInteger(priority)).toBe(true)
      }),
    )
  })

  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.nat(999_999_999), (wantMassQuery, priority) => {
        const info = { storeDir: '/nix/store', wantMassQuery, priority }
        expect(parseCacheInfo(printCacheInfo(info))).toEqual(info)
      }),
    )
  })

  it('is written as Nix writes it', () => {
    expect(printCacheInfo({ storeDir: '/nix/store', wantMassQuery: true, priority: 30 })).toBe(
      'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n',
    )
  })

  it('is never written with a priority on which a client would stop', () => {
    expect(() => printCacheInfo({ storeDir: '/nix/store', wantMassQuery: true, priority: NaN })).toThrow(TypeError)
    expect(() => printCacheInfo({ storeDir: '/nix/store', wantMassQuery: true, priority: 1.5 })).toThrow(TypeError)
  })
})
