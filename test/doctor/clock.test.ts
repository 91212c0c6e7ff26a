// Promise: a clock that is wrong is told from a cache that is, and an answer that lay in a cache from one made now.

import { expect, test } from 'vitest'

import { judgeClock } from '../../src/doctor/clock.ts'

const now = Date.UTC(2026, 10, 21, 10, 0, 0)
/** An answer made so many seconds after our own time. */
const made = (seconds: number, headers: Record<string, string> = {}) => ({
  at: now,
  headers: { date: new Date(now + seconds * 1000).toUTCString(), ...headers },
})

test.each([
  [[made(0)], 'ok', 'agrees with that of a cache'],
  [[made(2), made(-20), made(1)], 'ok', 'agrees with that of 3 caches'],
  [[made(-90)], 'warning', 'is 90s ahead of the caches’'],
  [[made(600)], 'warning', 'is 10m behind the caches’'],
  [[made(7200), made(7201)], 'problem', 'is 2h behind the caches’'],
  // One of three is wrong itself.
  [[made(0), made(1), made(86_400)], 'ok', 'agrees'],
  // Made an hour ago, and kept since (RFC 9111).
  [[made(-3600, { age: '3600' })], 'ok', 'agrees'],
  [
    [
      { at: now, headers: {} },
      { at: now, headers: { date: 'soon' } },
    ],
    'note',
    'nobody who answered',
  ],
  [[], 'note', 'nobody who answered'],
] as const)('%j is %s', (visits, level, says) => {
  const finding = judgeClock(visits)
  expect(finding).toMatchObject({ level, about: 'clock' })
  expect(finding.says.replaceAll("'", '’')).toContain(says)
  expect(finding.do !== undefined).toBe(level === 'warning' || level === 'problem')
})
