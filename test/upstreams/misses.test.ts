import { expect, test } from 'vitest'

import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'
import { Misses } from '../../src/upstreams/misses.ts'

function hash(n: number): StoreHash {
  const text = String(n).padStart(32, '0')
  if (!isStoreHash(text)) throw new Error(text)
  return text
}

test('case 91: a miss is believed for its time and no longer', () => {
  let now = 0
  const misses = new Misses({ ttl: 1000, clock: () => now })
  misses.add(hash(1))
  now = 999
  expect(misses.has(hash(1))).toBe(true)
  expect(misses.has(hash(2))).toBe(false)
  now = 1000
  expect(misses.has(hash(1))).toBe(false)
})

test('a path that was uploaded since is no longer missed', () => {
  const misses = new Misses({ ttl: 1000, clock: () => 0 })
  misses.add(hash(1))
  misses.forget(hash(1))
  expect(misses.has(hash(1))).toBe(false)
})

test('with no time to be believed, nothing is remembered', () => {
  const misses = new Misses({ ttl: 0, clock: () => 0 })
  misses.add(hash(1))
  expect(misses.has(hash(1))).toBe(false)
})

test('case 12: at most ten thousand are remembered, the newest', () => {
  const misses = new Misses({ ttl: 1000, clock: () => 0 })
  for (let n = 0; n <= 10_000; n += 1) misses.add(hash(n))
  expect(misses.has(hash(0))).toBe(false)
  expect(misses.has(hash(1))).toBe(true)
  expect(misses.has(hash(10_000))).toBe(true)
})
