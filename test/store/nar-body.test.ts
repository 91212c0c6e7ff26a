import { expect, test } from 'vitest'

import { BufferPool } from '../../src/store/nar-body.ts'

test('thousands of readers do not take a megabyte each: past some, buffers are small, until others are given back (case 83)', () => {
  const pool = new BufferPool()
  const taken = Array.from({ length: 1000 }, () => pool.take())
  const bytes = taken.reduce((sum, { length }) => sum + length, 0)
  expect(bytes).toBeLessThan(128 * 1024 * 1024)
  expect(taken.at(-1)?.length).toBe(64 * 1024)
  for (const buffer of taken.slice(-10)) pool.give(buffer)
  expect(pool.take().length).toBe(64 * 1024)
  const [first] = taken
  if (first) pool.give(first)
  expect(pool.take()).toBe(first)
})
