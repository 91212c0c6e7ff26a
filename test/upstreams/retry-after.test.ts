import { expect, test } from 'vitest'

import { retryAfter } from '../../src/upstreams/retry-after.ts'

const now = Date.parse('2026-01-01T00:00:00Z')

test.each([
  ['7', 7000],
  [' 7 ', 7000],
  ['60', 60_000],
  ['61', 60_000],
  ['1000000000', 60_000],
  ['9'.repeat(400), 60_000],
  ['Thu, 01 Jan 2026 00:00:09 GMT', 9000],
  ['Fri, 02 Jan 2099 00:00:00 GMT', 60_000],
  ['Wed, 31 Dec 2025 23:59:59 GMT', undefined],
  ['0', undefined],
  ['-5', undefined],
  ['soon', undefined],
  ['', undefined],
  [undefined, undefined],
])('case 94: Retry-After %j means %s ms', (header, ms) => {
  expect(retryAfter(header, now)).toBe(ms)
})
