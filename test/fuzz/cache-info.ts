// A nix-cache-info from anybody: it is always read, and what we could write of it is read by Nix as we have read it.

import assert from 'node:assert/strict'

import { parseCacheInfo, printCacheInfo } from '../../src/nix/cache-info.ts'
import { nixReadsCacheInfo } from './nix-reads.ts'
import { pure } from './target.ts'

export const cacheInfo = pure({
  name: 'cache-info',
  samples: [
    'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n',
    '\uFEFFStoreDir:/nix/store\r\n\r\nPriority:   10  ',
  ],
  words: ['StoreDir', 'WantMassQuery', 'Priority', ': ', '/nix/store', '__proto__: x\n', 'constructor: 1\n', '<html>'],
  check: (input) => {
    const read = parseCacheInfo(input.toString())
    const { storeDir = '/nix/store', wantMassQuery, priority = 0 } = read
    assert(Number.isSafeInteger(priority) && priority >= 0)
    assert(storeDir !== '' && storeDir === storeDir.trim() && !storeDir.includes('\n'))
    const said = { storeDir, wantMassQuery, priority }
    const printed = printCacheInfo(said)
    assert.deepEqual(parseCacheInfo(printed), said)
    const nix = nixReadsCacheInfo(printed)
    assert.deepEqual(nix, { StoreDir: storeDir, WantMassQuery: wantMassQuery ? '1' : '0', Priority: String(priority) })
    return Object.entries(read)
      .map(([key, value]) => `${key} ${typeof value === 'number' ? String(value).length : typeof value}`)
      .join(', ')
  },
})
