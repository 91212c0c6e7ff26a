import { describe, expect, test } from 'vitest'

import { notModified, rangeHolds } from '../../src/server/conditional.ts'
import { parseRange, rangeWithin } from '../../src/server/range.ts'

/** What a header asks of a file of 1000 bytes. */
const of1000 = (header: string) => {
  const asked = parseRange(header)
  return asked ? (rangeWithin(asked, 1000) ?? 'outside') : 'whole'
}

describe('a Range header (case 78)', () => {
  test.each([
    ['bytes=0-99', { start: 0, end: 99 }],
    ['bytes=999-', { start: 999, end: 999 }],
    ['bytes=0-', { start: 0, end: 999 }],
    ['bytes=100-5000', { start: 100, end: 999 }],
    ['bytes=0-0', { start: 0, end: 0 }],
    ['bytes=-1', { start: 999, end: 999 }],
    ['bytes=-500', { start: 500, end: 999 }],
    ['bytes=-5000', { start: 0, end: 999 }],
    ['Bytes= 5-6 ', { start: 5, end: 6 }],
    ['bytes=5-99999999999999999999999', { start: 5, end: 999 }],
  ])('%s is one range', (header, range) => expect(of1000(header)).toEqual(range))

  test.each(['bytes=1000-', 'bytes=1000-1001', 'bytes=-0', 'bytes=99999999999999999999-'])(
    '%s lies outside',
    (header) => expect(of1000(header)).toBe('outside'),
  )

  test.each([
    '',
    'bytes=',
    'bytes=-',
    'bytes=5-3',
    'bytes=99999999999999999999-9007199254740991',
    'bytes=0-1,3-4',
    'bytes=a-b',
    'items=0-1',
    'bytes 0-1',
    '0-1',
    'bytes=+1-2',
  ])('%j is ignored', (header) => expect(of1000(header)).toBe('whole'))

  test('never becomes a number that is not exact', () => {
    expect(parseRange('bytes=99999999999999999999-')).toEqual({
      kind: 'from',
      start: Number.MAX_SAFE_INTEGER,
      end: undefined,
    })
  })

  test('no part of an empty file can be had', () => {
    expect(rangeWithin({ kind: 'from', start: 0, end: undefined }, 0)).toBeUndefined()
    expect(rangeWithin({ kind: 'last', length: 5 }, 0)).toBeUndefined()
  })

  test('offsets beyond 4 GiB are whole (case 87)', () => {
    expect(rangeWithin({ kind: 'from', start: 2 ** 32 + 1, end: undefined }, 6e9)).toEqual({
      start: 2 ** 32 + 1,
      end: 6e9 - 1,
    })
  })
})

describe('a condition', () => {
  test('If-None-Match is compared weakly, and may name several or any', () => {
    expect(notModified('"a"', '"a"')).toBe(true)
    expect(notModified('"b", W/"a"', '"a"')).toBe(true)
    expect(notModified('*', '"a"')).toBe(true)
    expect(notModified('"b"', '"a"')).toBe(false)
    expect(notModified('a', '"a"')).toBe(false)
    expect(notModified(undefined, '"a"')).toBe(false)
  })

  test('If-Range is compared strongly', () => {
    expect(rangeHolds(undefined, '"a"')).toBe(true)
    expect(rangeHolds('"a"', '"a"')).toBe(true)
    expect(rangeHolds('W/"a"', '"a"')).toBe(false)
    expect(rangeHolds('"b"', '"a"')).toBe(false)
    expect(rangeHolds('Wed, 21 Oct 2015 07:28:00 GMT', '"a"')).toBe(false)
    expect(rangeHolds('"a"', undefined)).toBe(false)
  })
})
