// Promise: the first Ctrl-C stops in peace, the second at once, and one press of the keys is never taken for two.

import { expect, test } from 'vitest'

import { stopOnSignal } from '../../src/cli/stop.ts'

test('the second signal stops at once', () => {
  let now = 0
  let atOnce = 0
  const { hear, stop } = stopOnSignal({ atOnce: () => void atOnce++, clock: () => now })
  expect(stop.aborted).toBe(false)
  hear()
  expect([stop.aborted, atOnce]).toEqual([true, 0])
  now = 1000
  hear()
  expect(atOnce).toBe(1)
})

test('the same key press passed on by npm is not a second one', () => {
  let now = 0
  let atOnce = 0
  const { hear } = stopOnSignal({ atOnce: () => void atOnce++, clock: () => now })
  hear()
  now = 5
  hear()
  expect(atOnce).toBe(0)
})
