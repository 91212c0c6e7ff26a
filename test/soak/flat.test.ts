// The soak's verdict: what rises is seen, what goes up and down is not taken for it.

import { expect, test } from 'vitest'

import { rise, settled } from './flat.ts'

test('a figure that stays or sways does not rise, one that grows does by as much as it grows', () => {
  expect(rise([7, 7, 7, 7])).toBe(0)
  expect(rise([1, 9, 1, 9, 1])).toBe(0)
  expect(rise([10, 12, 14, 16])).toBeCloseTo(6)
  expect(rise([9, 6, 3])).toBeCloseTo(-6)
  expect(rise([5])).toBe(0)
})

test('the first third is a program that gets warm, and does not count', () => {
  expect(settled([1, 2, 3, 4, 5, 6])).toEqual([3, 4, 5, 6])
})
