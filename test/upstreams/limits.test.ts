import { expect, test } from 'vitest'

import { limitsFor } from '../../src/upstreams/limits.ts'

test('a peer is asked less at once than a cache, and one that moves about is waited for less', () => {
  expect(limitsFor('cache')).toMatchObject({ connect: 3000, lookups: 64, missTtl: 10_000 })
  expect(limitsFor('stationary peer')).toMatchObject({ connect: 3000, lookups: 8, missTtl: 0 })
  expect(limitsFor('roaming peer')).toMatchObject({ connect: 800, lookups: 4, missTtl: 0 })
})

test('what the operator says goes before', () => {
  expect(limitsFor('roaming peer', { connect: 50 })).toMatchObject({ connect: 50, lookups: 4 })
})
